"""Paths in a job, as a process that runs in another folder finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_dist.spec.job import JobSpec
from tests.helpers import SMALL


def test_files_are_absolute_wherever_a_component_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg.pth").touch()
    term = {"use": "perceptual", "weights": "vgg.pth"}
    stages = [{"name": "one", "objective": term, "for": "1 steps"}]
    job = {key: value for key, value in SMALL.items() if key not in ("objective", "until")}
    spec = JobSpec.model_validate({**job, "stages": stages}).with_absolute_paths()
    assert spec.stages is not None and spec.stages[0].objective[0].args["weights"] == str(tmp_path / "vgg.pth")
    alone = JobSpec.model_validate({**SMALL, "objective": ["non_saturating", term]}).with_absolute_paths()
    assert alone.objective is not None and alone.objective[1].args["weights"] == str(tmp_path / "vgg.pth")


def test_random_weights_are_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random").touch()
    spec = JobSpec.model_validate({**SMALL, "objective": {"use": "perceptual", "weights": "random"}})
    assert spec.with_absolute_paths().objective == spec.objective

"""A rehearsal in one process; with data that are there, and on Ray: tests/ray/test_readme.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import ROOT

JOB = str(ROOT / "tests" / "ray" / "job.yaml")


def test_data_that_are_not_at_hand_are_stood_in_for(gan_dist: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    changes = ["data.source=/no/such/photos", "objective=non_saturating", "resources.workers=1"]
    words = [word for change in changes for word in ("-o", change)]
    code, told = gan_dist("submit", JOB, "--local", "--smoke", "--name", "rehearsal", *words)
    assert code == 0, told
    assert "data.source '/no/such/photos' is not at hand: rehearsing on random images" in " ".join(told.split())
    assert "full run  25,600 samples at" in told
    run = RunFolder(Folder.at(tmp_path / "runs" / "rehearsal"))
    assert run.status()["seen"] == 384 and json.loads(run.folder.read("request.json"))["mode"] == "smoke"

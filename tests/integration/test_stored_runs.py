"""A run stored by a release goes on, and says what it was made with; the data are not blamed for other versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import gan_dist
from gan_dist.execution.preflight import resume_problems
from gan_dist.runs.checkpoint import OWN_CHECKSUM, _canonical, _checksum
from gan_dist.runs.run_folder import RunFolder
from tests.helpers import ASSETS, SMALL, request_of, rows_of, small, stop_at, train

STORED = sorted((ASSETS / "runs").glob("*"))
SHORT: dict[str, Any] = {
    "until": "4 steps",
    "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "4 steps"},
}


def store(folder: Path) -> None:
    """Store the run of a release, as CONTRIBUTING says."""
    made = train(small(**SHORT), folder)
    made.run.folder.write_json("request.json", request_of(small(**SHORT), Path("small-1")).record())
    made.run.update(status="succeeded", attempt=1, seen=32, until=32)
    for name in ("grids", "tensorboard", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name)
def test_the_run_of_a_release_goes_on(stored: Path, tmp_path: Path) -> None:
    here = tmp_path / "small-20260101-000000-abcd"
    shutil.copytree(stored, here)
    run = gan_dist.train(resume=here, until="6 steps")
    assert run.status == "succeeded" and run.seen == 48
    assert gan_dist.load(run).sample(2).shape == (2, 1, 8, 8)


def remade(run: RunFolder, **changes: dict[str, str]) -> None:
    """Let the newest checkpoint say that it was made with something else."""
    (newest,) = (run.folder.local / "checkpoints").iterdir()  # type: ignore[operator]
    meta = json.loads((newest / "meta.json").read_text())
    for key, values in changes.items():
        meta[key] |= values
    meta.pop(OWN_CHECKSUM)
    meta[OWN_CHECKSUM] = _checksum(_canonical(meta))
    (newest / "meta.json").write_text(json.dumps(meta))


@pytest.fixture
def stopped(tmp_path: Path) -> RunFolder:
    return train(
        small(every={"report": "1 steps", "grid": "1000 steps", "checkpoint": "100 steps"}),
        tmp_path / "run",
        stop_at(2),
    ).run


def test_versions_are_named_where_the_same_files_read_otherwise(stopped: RunFolder) -> None:
    facts = rows_of(small()).facts
    remade(stopped, versions={"pillow": "1.0"}, data={"checksum": "x"})
    (said,) = resume_problems(stopped, facts)
    assert said.startswith("data.source: they are read here as other samples") and "pillow 1.0 (here " in said
    remade(stopped, data={"size": 4})
    assert resume_problems(stopped, facts) == [
        "data.source: the data are not those this run was trained on: size was 4 and is now 8"
    ]


def test_a_run_that_goes_on_elsewhere_says_so(stopped: RunFolder) -> None:
    remade(stopped, versions={"torch": "1.0"}, machine={"instructions": "abacus"})
    events = train(small(), str(stopped.folder.local), attempt=2).events
    (said,) = [str(event["text"]) for event in events if event["event"] == "warning"]
    assert "not bit for bit" in said and "torch 1.0 (here " in said and "instructions abacus (here " in said


def test_results_name_format_versions_and_machine(tmp_path: Path, cli) -> None:
    run = gan_dist.train({**SMALL, **SHORT}, storage=str(tmp_path))
    code, said, _ = cli("results", run.id, "--storage", str(tmp_path))
    assert code == 0 and "checkpoints of format 1" in said and "torch " in said
    (line,) = [line for line in said.splitlines() if line.startswith("machine ")]
    assert "cpu " in line and "instructions " in line

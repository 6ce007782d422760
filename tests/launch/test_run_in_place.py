"""`gan-dist run`, called once and again as a scheduler would, with a driver that trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan_dist.events import Emit
from gan_dist.launch import driver
from gan_dist.launch.run_in_place import wait_until_free
from gan_dist.runs.lease import take
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import small, stop_at, train

Cli = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """The requests that drivers were given; each stops its run, until one is told to finish."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.json").write_text(small(name="small", until="4 steps").model_dump_json(by_alias=True))
    requests: list[RunRequest] = []

    def drive(request: RunRequest, emit: Emit, connect: Callable[[], None]) -> int:
        requests.append(request)
        run = RunFolder(Folder(request.uri))
        run.folder.write_json("request.json", request.record())
        done = len(requests) == 2
        status, code = ("succeeded", 0) if done else ("stopped", 3)
        train(request.job(), run.folder.uri, stop_at(10 if done else 1), attempt=request.attempt)
        run.update(status="running", attempt=request.attempt)  # as of a driver that died before it could say more
        emit({"event": "end", "status": status, "exit_code": code, "message": "", "summary": []})
        return code

    monkeypatch.setattr(driver, "drive", drive)
    return requests


def test_called_again_it_goes_on_and_in_the_end_does_nothing(driven: list[RunRequest], cli: Cli) -> None:
    words = ("run", "job.json", "--name", "faces", "--storage", "here")
    assert [cli(*words)[0] for _ in range(4)] == [3, 0, 0, 0]
    assert [(one.attempt, one.resume) for one in driven] == [(1, False), (2, True)]
    assert "run faces is finished" in cli(*words)[1]


def test_a_rehearsal_is_not_gone_on_with(driven: list[RunRequest], cli: Cli) -> None:
    assert cli("run", "job.json", "--name", "faces", "--smoke")[0] == 3
    for more in ((), ("--smoke",)):
        code, _, told = cli("run", "job.json", "--name", "faces", *more)
        assert code == 2 and "a rehearsal is not gone on with" in told


def test_a_finished_run_that_is_asked_for_more_goes_on(driven: list[RunRequest], cli: Cli) -> None:
    words = ("run", "job.json", "--name", "faces", "--storage", "here")
    for _ in range(2):
        cli(*words)
    cli(*words, "-o", "until=8 steps")
    assert len(driven) == 3


def test_a_wrong_job_is_refused(driven: list[RunRequest], cli: Cli) -> None:
    code, _, told = cli("run", "job.json", "--name", "faces", "-o", "objective=hing")
    assert code == 2 and "hinge" in told and driven == []


def test_a_writer_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    run = RunFolder(Folder.at(tmp_path / "faces"))
    lease = take(run.folder, 1)
    told: list[str] = []
    wait_until_free(run, told.append, patience_s=0.0)
    assert len(told) == 1 and "faces is held by attempt 1" in told[0]
    lease.release()
    told.clear()
    wait_until_free(run, told.append)
    assert told == []

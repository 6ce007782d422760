"""The loss of one of Ray's processes is told as that, and what a person's code raised in one as itself."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError, WorkerCrashedError

from gan_dist.errors import DataError, ProcessLost
from gan_dist.execution import attempt as attempts
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.ray import run
from gan_dist.execution.ray.losses import telling_losses
from gan_dist.runs.mirror import Mirror
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import AttemptLog
from gan_dist.runs.storage import Folder
from tests.helpers import small

LOST = [ActorDiedError(), ActorUnavailableError("gone", None), WorkerCrashedError(), NodeDiedError("gone")]


def wrapped(cause: Exception) -> RayTaskError:
    return RayTaskError("read", "Traceback ...", cause)


@pytest.mark.parametrize("error", [*LOST, wrapped(WorkerCrashedError())], ids=lambda one: type(one).__name__)
def test_a_lost_process_is_no_defect(error: Exception, tmp_path: Any) -> None:
    told = list[dict[str, Any]]()

    def job(attempt: Attempt) -> dict[str, Any]:
        with telling_losses():
            raise error

    request = RunRequest("r", str(tmp_path / "r"), small().model_dump_json(by_alias=True))
    attempt = Attempt(request, told.append)
    assert attempt.run(job) == 1
    assert isinstance(attempt.error, ProcessLost)
    message = attempt.folder.status()["message"]
    assert message.startswith("the cluster lost a process: ") and "defect" not in message and "\n" not in message


def test_what_a_task_raised_stays_what_it_is() -> None:
    with pytest.raises(RayTaskError), telling_losses():
        raise wrapped(DataError("damaged"))


def test_an_attempt_that_does_not_end_in_its_grace_is_ended(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[int]()
    monkeypatch.setattr(attempts.os, "_exit", ended.append)
    spec = small(resources={"stop_grace": 1})
    attempt = Attempt(RunRequest("r", str(tmp_path / "r"), spec.model_dump_json(by_alias=True)), lambda event: None)

    def job(attempt: Attempt) -> dict[str, Any]:
        attempt.stop.set()
        attempt.hurry.set()
        while not ended:
            time.sleep(0.05)
        return {"ending": "stopped", "seen": 0, "values": {}}

    attempt.run(job)
    assert ended == [3]
    assert attempt.folder.lease_holder() is None


@pytest.mark.parametrize(("seen", "code"), [(48, 0), (40, 1)])
def test_a_loss_after_the_last_checkpoint_costs_nothing(
    seen: int, code: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "newest_described", lambda folder: SimpleNamespace(seen=seen))

    def lost(attempt: Attempt, reading: Any) -> dict[str, Any]:
        attempt.until = 48
        raise ActorDiedError()

    monkeypatch.setattr(run, "run_attempt_on_ray", lost)
    request = RunRequest("r", str(tmp_path / "r"), small().model_dump_json(by_alias=True))
    attempt = Attempt(request, lambda event: None)
    assert attempt.run(lambda attempt: run.run_job(attempt, reading=None)) == code  # type: ignore[arg-type]


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_ends_nothing() -> None:
    log = AttemptLog(FULL.open("w"), Mirror(Folder("/dev"), print))
    for _ in range(3):
        log.write("a line\n" * 2000)
    log.close()

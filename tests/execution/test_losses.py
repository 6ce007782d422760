"""The loss of one of Ray's processes is told as that, and what a person's code raised in one as itself."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError, WorkerCrashedError

from gan_dist.errors import DataError, ProcessLost
from gan_dist.execution import attempt as attempts
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.ray.run import telling_losses
from gan_dist.runs.request import RunRequest
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

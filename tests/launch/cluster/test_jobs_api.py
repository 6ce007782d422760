"""A stop is said until a job that runs has heard it: Ray loses one that comes before the job runs."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.launch.cluster import jobs_api
from gan_dist.launch.cluster.jobs_api import StopRequest


class Starting:
    """A cluster that hears a stop only while the job runs; `statuses` are what it answers in turn."""

    def __init__(self, *statuses: str) -> None:
        self.statuses, self.now = list(statuses), ""
        self.asked: list[str] = []
        self.said = '@gan-dist {"event": "stage", "text": "starting"}'

    def logs(self, job: str) -> str:
        return self.said

    def info(self, job: str) -> dict[str, Any]:
        self.now = self.statuses.pop(0)
        return {"status": self.now}

    def stop(self, job: str) -> bool:
        self.asked.append(self.now)
        return True


@pytest.mark.parametrize(
    ("statuses", "asked"),
    [
        (("RUNNING", "RUNNING"), ["RUNNING"]),
        (("PENDING", "RUNNING", "RUNNING"), ["PENDING", "RUNNING"]),
        (("PENDING", "PENDING", "PENDING", "RUNNING"), ["PENDING", "RUNNING"]),
    ],
)
def test_the_last_word_is_said_to_a_running_job(statuses: tuple[str, ...], asked: list[str]) -> None:
    cluster: Any = Starting(*statuses)
    stopping = StopRequest(cluster, "job")
    for _ in statuses:
        stopping.ask()
    assert cluster.asked == asked


def test_a_pending_job_is_told_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "STOP_AGAIN_S", 0.0)
    cluster: Any = Starting("PENDING", "PENDING", "PENDING")
    stopping = StopRequest(cluster, "job")
    for _ in range(3):
        stopping.ask()
    assert cluster.asked == ["PENDING"] * 3


def test_a_job_whose_shell_only_starts_is_not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(jobs_api.time, "monotonic", lambda: next(clock))
    cluster: Any = Starting("RUNNING", "RUNNING", "RUNNING")
    said, cluster.said = cluster.said, ""
    stopping = StopRequest(cluster, "job")
    stopping.ask()
    cluster.said = "Running entrypoint for job x: python -m gan_dist.launch.driver"  # Ray's own word
    stopping.ask()
    assert cluster.asked == []
    cluster.said += f"\n{said}\n"
    stopping.ask()
    assert cluster.asked == ["RUNNING"]


def test_a_job_that_says_nothing_is_asked_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 19.0, 21.0])
    monkeypatch.setattr(jobs_api.time, "monotonic", lambda: next(clock))
    cluster: Any = Starting("RUNNING", "RUNNING", "RUNNING")
    cluster.said = ""
    stopping = StopRequest(cluster, "job")
    for expected in ([], [], ["RUNNING"]):
        stopping.ask()
        assert cluster.asked == expected

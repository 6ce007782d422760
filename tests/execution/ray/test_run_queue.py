"""The queue of a cluster's runs: who goes when, and what those that wait are told."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from gan_dist.execution.ray import run_queue
from gan_dist.execution.ray.run_queue import FORGET_S, Place, RunQueue, Turn

CLUSTER = {"CPU": 4.0, "GPU": 0.0}


def place(run: str, cpus: float = 2.0, gpus: float = 0.0, priority: int = 0, most: float | None = None) -> Place:
    most = cpus if most is None else most
    return Place(key=run, run=run, owner="ada", cpus=cpus, gpus=gpus, most_cpus=most, most_gpus=gpus, priority=priority)


def test_runs_go_while_there_is_room_and_then_in_the_order_that_they_came() -> None:
    queue = RunQueue()
    assert [queue.ask(place(run), CLUSTER, False) for run in ("a", "b")] == ["", ""]
    first = queue.ask(place("c"), CLUSTER, False)
    assert first == "waiting for 2 CPUs: 0 free of 4; a of ada, b of ada hold the rest"
    small = queue.ask(place("d", cpus=1.0), CLUSTER, False)
    assert small == "waiting for 1 CPU: 0 free of 4; a of ada, b of ada hold the rest; 1 run ahead"
    queue.leave("a")
    assert queue.ask(place("d", cpus=1.0), CLUSTER, False) == "waiting; 1 run ahead", "c came first"
    assert queue.ask(place("c"), CLUSTER, False) == ""
    assert "0 free of 4" in queue.ask(place("d", cpus=1.0), CLUSTER, False)


def test_a_large_one_is_not_passed_by_small_ones_for_ever() -> None:
    queue = RunQueue()
    queue.ask(place("a"), CLUSTER, False)
    assert "2 free of 4; a of ada holds the rest" in queue.ask(place("large", cpus=4.0), CLUSTER, False)
    assert queue.ask(place("small"), CLUSTER, False) == "waiting; 1 run ahead"


def test_priority_goes_first_among_those_that_wait() -> None:
    queue, waiting = RunQueue(), [place("low", 4.0, priority=-1), place("plain", 4.0), place("high", 4.0, priority=5)]
    holder = "a"
    queue.ask(place(holder, cpus=4.0), CLUSTER, False)
    for one in waiting:
        queue.ask(one, CLUSTER, False)
    for expected in ("high", "plain", "low"):
        queue.leave(holder)
        went = [one.run for one in waiting if not queue.ask(one, CLUSTER, False)]
        assert went == [expected]
        holder = expected
        waiting = [one for one in waiting if one.run != expected]


def test_gpus_count_too() -> None:
    queue, cluster = RunQueue(), {"CPU": 8.0, "GPU": 1.0}
    assert queue.ask(place("a", cpus=1.0, gpus=1.0), cluster, False) == ""
    assert "waiting for 1 GPU: 0 free of 1" in queue.ask(place("b", cpus=1.0, gpus=1.0), cluster, False)


def test_a_driver_that_is_not_heard_of_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(run_queue.time, "monotonic", lambda: now[0])
    queue = RunQueue()
    assert queue.ask(place("a", cpus=4.0), CLUSTER, False) == ""
    assert queue.ask(place("b"), CLUSTER, False)
    now[0] += FORGET_S / 2
    assert queue.ask(place("b"), CLUSTER, False)
    now[0] += FORGET_S / 2 + 1
    assert queue.ask(place("b"), CLUSTER, False) == ""


def test_a_queue_that_was_started_again_learns_who_holds_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits asks more often than who holds, and is the first to be heard."""
    now = [1000.0]
    monkeypatch.setattr(run_queue.time, "monotonic", lambda: now[0])
    queue = RunQueue(restarted=True)
    assert "learns who holds what" in queue.ask(place("b"), CLUSTER, False)
    assert queue.ask(place("a", cpus=4.0), CLUSTER, True) == ""
    now[0] += 2 * run_queue.RENEW_EVERY_S + 1
    assert "a of ada holds the rest" in queue.ask(place("b"), CLUSTER, False)
    queue.leave("a")
    assert queue.ask(place("b"), CLUSTER, False) == ""


def test_what_an_elastic_run_may_have_in_time_is_held() -> None:
    queue = RunQueue()
    assert queue.ask(place("elastic", cpus=1.0, most=4.0), CLUSTER, False) == ""
    assert "0 free of 4" in queue.ask(place("b"), CLUSTER, False)


def test_two_runs_of_one_name_are_two() -> None:
    queue = RunQueue()
    one, other = (replace(place("faces", cpus=4.0), key=key, owner=key) for key in ("01", "02"))
    assert queue.ask(one, CLUSTER, False) == ""
    assert "faces of 01 holds the rest" in queue.ask(other, CLUSTER, False)
    queue.leave("02")
    assert queue.ask(replace(other, key="03"), CLUSTER, False) != ""


def test_a_turn_tells_what_changes_and_ends_with_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    stop = threading.Event()
    answers = iter(["waiting; 2 runs ahead", "waiting; 2 runs ahead", "waiting; 1 run ahead"])

    def ask(self: Any, granted: bool) -> str:
        why = next(answers)
        if why == "waiting; 1 run ahead":
            stop.set()
        return why

    monkeypatch.setattr(Turn, "_ask", ask)
    monkeypatch.setattr(run_queue, "ASK_EVERY_S", 0.0)
    Turn(place("a")).wait(told.append, stop)
    assert told == ["waiting; 2 runs ahead", "waiting; 1 run ahead"]

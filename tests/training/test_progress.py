"""What is said while a run trains: when a stage begins, and where it stands, also where reports are far between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gan_dist
from tests.helpers import SMALL

STAGES = [
    {"name": "first", "objective": "hinge", "for": "3 steps"},
    {"name": "second", "objective": "non_saturating", "for": "4 steps"},
]
JOB = {key: value for key, value in SMALL.items() if key not in ("objective", "until")} | {"version": 1}


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    monkeypatch.setenv("GAN_DIST_HOME", str(folder / "home"))
    gan_dist.train({**JOB, "stages": STAGES, **changes}, storage=str(folder / "runs"), on_event=events.append)  # type: ignore[arg-type]
    return events


def progress(events: list[dict[str, Any]]) -> list[tuple[int, int, str, bool]]:
    found = [event for event in events if event["event"] == "progress"]
    assert all(event["until"] == 56 and event["rate"] > 0 and event["eta"] >= 0 for event in found)
    return [(one["seen"], one["stage_until"], one["stage"], bool(one["losses"])) for one in found]


def test_a_stage_is_told_and_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = told(tmp_path, monkeypatch)
    assert progress(events) == [(n, 24, "first", True) for n in (8, 16, 24)] + [
        (n, 56, "second", True) for n in (32, 40, 48, 56)
    ]
    texts = [event["text"] for event in events if event["event"] == "stage"]
    assert texts.count("stage second") == 1 and "stage first" not in texts
    last = [one for one in events if one["event"] == "progress"][-1]
    assert last["eta"] == 0


def test_nobody_waits_long_for_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reports only the time is told, by rank 0 alone."""
    rare = {"report": "1000 steps", "grid": "1000 steps", "checkpoint": "1000 steps"}
    assert [seen for seen, *_ in progress(told(tmp_path / "quiet", monkeypatch, every=rare))] == [56]
    monkeypatch.setattr("gan_dist.training.callbacks.LONGEST_SILENCE_S", 0.0)
    found = progress(told(tmp_path / "slow", monkeypatch, every=rare))
    assert [seen for seen, *_ in found] == [16, 24, 40, 48, 56], "a stage's first iteration has no pace yet"
    assert [has_losses for *_, has_losses in found] == [False] * 4 + [True]

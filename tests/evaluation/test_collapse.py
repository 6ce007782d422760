"""Warnings of collapse: when they come and go, on made-up histories and in a real run that is made to collapse."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.evaluation.collapse import DIVERSITY, CollapseMonitor, watch_reports
from gan_dist.generation.samples import mean_nearest_distance
from gan_dist.spec.job import JobSpec
from tests.helpers import SMALL, Trained, kill_at, small, train

END = 10_000


def history(tag: str, values: Sequence[float], first: int = 5000, **others: float) -> list[dict[str, float]]:
    return [{"seen": first + 100 * number, tag: value, **others} for number, value in enumerate(values)]


def told(reports: Sequence[dict[str, float]]) -> list[list[str]]:
    watch = CollapseMonitor(END)
    return [watch.add(report) for report in reports]


def when(reports: Sequence[dict[str, float]]) -> list[int]:
    """At which reports something is told."""
    return [number for number, texts in enumerate(told(reports)) if texts]


@pytest.mark.parametrize(
    ("tag", "healthy", "falling", "again"),
    [
        (DIVERSITY, [1.0, 0.9, 0.5, 0.4, 0.6], [0.3, 0.2], [0.6]),
        ("metric/coverage_random_1k", [0.1, 0.8, 0.5, 0.41], [0.3, 0.2], [0.7]),
        ("metric/recall_random_1k", [0.1, 0.8, 0.5, 0.41], [0.3, 0.2], [0.7]),
        ("metric/fd_random_2k", [9.0, 2.0, 3.9, 2.0], [4.5, 8.0], [2.5]),
        ("metric/fid_legacy", [9.0, 2.0, 3.9, 2.0], [4.5, 8.0], [2.5]),
        ("D/accuracy", [0.9, *[0.997] * 7, 0.9], [1.0] * 8, [0.9]),
        ("D/hinge/accuracy", [0.9, *[0.997] * 7, 0.9], [1.0] * 8, [0.9]),
        ("metric/duplicates_1k", [0.1, 0.25, 0.2], [0.4, 0.5], [0.15]),
    ],
)
def test_it_is_told_once_when_it_begins_and_once_when_it_is_over(
    tag: str, healthy: list[float], falling: list[float], again: list[float]
) -> None:
    whole = [*healthy, *falling, *falling[-1:] * 3, *again, *falling]
    begins, ends = len(healthy) + len(falling) - 1, len(healthy) + len(falling) + 3
    assert when(history(tag, whole)) == [begins, ends, len(whole) - 1]
    texts = told(history(tag, whole))
    assert "What usually helps: " in texts[begins][0] and texts[ends][0].startswith(f"over: {tag} is ")


def test_one_bad_value_and_values_between_the_limits_say_nothing() -> None:
    assert when(history("metric/fd_random_2k", [2, 9, 2, 9, 3.5, 9, 2])) == []
    begun = [2.0, 9.0, 9.0]
    assert when(history("metric/fd_random_2k", [*begun, 3.5, 9.0, 3.5, 9.0])) == [2], "3.5 is neither"


def test_what_is_no_number_says_nothing() -> None:
    assert when(history("metric/fd_random_2k", [float("nan"), 2.0, float("nan"), 5.0, 6.0])) == [4]


def test_what_has_not_learnt_yet_is_no_collapse() -> None:
    assert when(history(DIVERSITY, [0.01] * 5, first=0)) == []
    assert when(history(DIVERSITY, [0.01] * 5, first=2400)) == [1], "at the quarter"
    assert when(history(DIVERSITY, [0.5, 0.01, 0.01], first=0)) == [2], "it had learnt"
    noise = [3.0, 2.0, 0.7, 0.5]
    assert when(history(DIVERSITY, noise)) == [], "noise lies further apart than real samples, and that may end"


def test_sentences_nearer_to_each_other_than_to_the_data() -> None:
    tag, bleu = "metric/self_bleu2_1k", "metric/bleu2_1k"
    learning = [{"seen": 100.0 * n, tag: 0.1 * n, bleu: 0.1 * n + 0.05} for n in range(5)]
    assert when(learning) == [], "both rise while it learns"
    bought = [{"seen": 500.0 + 100 * n, tag: 0.7 + 0.1 * n, bleu: 0.5 + 0.01 * n} for n in range(3)]
    assert when([*learning, *bought]) == [6]
    assert when([{"seen": 0.0, tag: 0.2}, *history(tag, [0.9] * 3)]) == [], "without BLEU nothing is known"


def test_kinds_that_lose_variety_count_as_collapse_and_others_do_not() -> None:
    job = small()
    assert watch_reports(history(DIVERSITY, [1.0, 0.01, 0.01]), job, END).collapsed == (
        "samples are alike: their distance to the nearest other one is 0.01 of that of real samples"
    )
    assert watch_reports(history(DIVERSITY, [1.0, 0.01, 0.01, 1.0]), job, END).collapsed is None
    assert watch_reports(history("D/accuracy", [1.0] * 9), job, END).collapsed is None


def hinted(**changes: Any) -> str:
    watch = watch_reports([], small(**changes), END)
    return "".join(text for report in history(DIVERSITY, [1.0, 0.01, 0.01]) for text in watch.add(report))


def test_advice_leaves_out_what_the_job_has() -> None:
    assert "penalties: [{use: r1}]" in hinted()
    assert "penalties" not in hinted(penalties=[{"use": "r1"}]) and "larger batch" in hinted(penalties=[{"use": "r1"}])


@pytest.mark.parametrize(
    ("ema", "settled"),
    [
        (None, 0),
        ({"half_life": 500}, 2000),
        ({"half_life": "500", "start": "1k"}, 3000),
        ({"half_life": {"linear": {"from": 100, "to": 500, "over": "1k"}}}, 2000),
        ({"half_life": 5000, "ramp_up": 0.05}, 0),
    ],
)
def test_nothing_is_said_of_averages_that_have_not_settled(ema: Any, settled: int) -> None:
    watch = watch_reports([], small(ema=ema), 0)
    reports = history(DIVERSITY, [1.0, *[0.01] * 40], first=800)
    first = next(report["seen"] for report in reports if watch.add(report))
    assert first == max(1000, settled + 100)


def test_a_rehearsal_and_the_first_iterations_raise_no_alarm() -> None:
    job = small()
    watch = watch_reports([], job, 6 * job.batch)
    assert not any(watch.add({"seen": step * job.batch, DIVERSITY: 0.01, "D/accuracy": 1.0}) for step in range(99))


def test_distance_to_the_nearest() -> None:
    pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert mean_nearest_distance(pixels) == 0
    pixels[1], pixels[2, 0, 0, 0] = 255, 51  # from black: 2 and 0.2; between them: 1.91
    assert mean_nearest_distance(pixels) == pytest.approx((0.2 + (3 + 0.8**2) ** 0.5 + 0.2) / 3, rel=1e-6)
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5], [9, 9, 9, 4]])
    assert mean_nearest_distance(ids) == pytest.approx((0.25 + 0.25 + 0.75) / 3)


COLLAPSING: dict[str, Any] = {
    **SMALL,
    "seed": 1,
    "optimizer": {"lr": 1e-3, "generator": {"lr": 100.0}},
    "until": "120 steps",
    "every": {"report": "2 steps", "grid": "4 steps", "checkpoint": "50 steps"},
}


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(JobSpec.model_validate(COLLAPSING), tmp_path_factory.mktemp("collapsed"))


def warnings(run: Trained) -> list[str]:
    return [event["text"] for event in run.events if event["event"] == "warning" and "alike" in event["text"]]


def test_a_run_that_collapses_says_so_once_while_it_trains(collapsed: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (text,) = warnings(collapsed)
    # A step of 10 makes of a rounding anywhere another last digit.
    assert re.match(r"at 800 samples: samples are alike: their distance to the nearest other one is 0\.0\d+ ", text)
    board: Any = EventAccumulator(str(collapsed.local / "tensorboard"))
    board.Reload()
    (shown,) = [one for one in board.Tensors("warnings/text_summary") if b"alike" in one.tensor_proto.string_val[0]]
    assert shown.step == 800
    last = [event for event in collapsed.events if event["event"] == "progress"][-1]
    assert any("samples are alike" in one for one in last["warnings"])


def test_a_resumed_run_does_not_warn_again_and_logs_the_same(collapsed: Trained, tmp_path: Path) -> None:
    spec = JobSpec.model_validate(COLLAPSING)
    assert train(spec, tmp_path, kill_at(112)).result == {"ending": "killed"}
    resumed = train(spec, tmp_path, attempt=2)
    assert warnings(resumed) == []
    lines = [(run.local / "scalars.jsonl").read_text().splitlines() for run in (collapsed, resumed)]
    values = [[_exact(json.loads(line)) for line in each] for each in lines]
    assert values[0] == values[1] and any(DIVERSITY in one for one in values[0])


def _exact(report: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in report.items() if key.split("/")[0] not in ("time", "speed", "memory")}

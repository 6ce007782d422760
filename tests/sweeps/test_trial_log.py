"""The record of a sweep and what is told from it: recovery, ranking, noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_dist.runs.storage import Folder
from gan_dist.sweeps.ranking import describe_noise, pool_noise, rank_configurations
from gan_dist.sweeps.results import SweepProgress
from gan_dist.sweeps.trial_log import History, Leg, LegResult, State, TrialLog
from tests.sweeps.simulated import END, opened, result_of, section, simulate


def filled(folder: str | Path) -> TrialLog:
    log = TrialLog(Folder.at(folder))
    log.record_header({"tag": "metric/fd"})
    for number in range(3):
        leg = Leg(number=number, values={"batch": number})
        log.record_leg(leg, f"run-{number}")
        log.record_result(leg, LegResult(state="finished", seen=100, values=(float(number),)))
    log.record_seconds(12.5)
    return log


def test_a_record_reads_back(tmp_path: Path) -> None:
    log = filled(tmp_path)
    again = TrialLog(Folder.at(tmp_path))
    assert again.history == log.history and again.seconds == 12.5
    assert again.header is not None and again.header["tag"] == "metric/fd"


def test_a_record_cut_anywhere_is_read_up_to_there_and_written_on(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "trials.jsonl"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        log = TrialLog(Folder.at(tmp_path))
        assert path.read_bytes() == content[:length], "reading changes nothing: others read while one writes"
        legs = len(log.history.legs)
        assert legs == content[:length].count(b'"what": "leg"') or content[:length].count(b"\n") < content.count(b"\n")
        leg = Leg(number=9, values={})
        log.record_leg(leg, "run-9")
        again = TrialLog(Folder.at(tmp_path))
        assert len(again.history.legs) == legs + 1 and again.history.legs[9, 0, 0] == leg


def test_a_record_on_an_object_store_is_the_record_on_a_disk(tmp_path: Path, bucket: str) -> None:
    filled(tmp_path)
    log = filled(f"{bucket}/sweep")
    assert TrialLog(Folder(f"{bucket}/sweep")).history == log.history == TrialLog(Folder.at(tmp_path)).history
    log.record_seconds(20.0)
    again = TrialLog(Folder(f"{bucket}/sweep"))
    assert again.seconds == 20.0
    again.record_seconds(21.0)
    assert Folder(f"{bucket}/sweep").read("trials.jsonl").count(b"\n") == 10


def test_a_damaged_line_within_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{broken\n", *lines[2:]]))
    with pytest.raises(ValueError, match=r"trials.jsonl:2: this line of the sweep's record is damaged"):
        TrialLog(Folder.at(tmp_path))


def history_of(*values: tuple[float | None, ...], failure: State = "diverged") -> History:
    history = History()
    for number, each in enumerate(values):
        for repetition, value in enumerate(each):
            leg = Leg(number=number, repetition=repetition, values={"batch": number})
            history.legs[leg.key] = leg
            ended = ("finished", (value,)) if value is not None else (failure, ())
            history.results[leg.key] = LegResult(state=ended[0], seen=100, values=ended[1])
    return history


def test_ranking_is_by_the_mean_over_seeds_and_failures_come_last() -> None:
    rows = rank_configurations(history_of((3.0, 5.0), (None, 1.0), (1.0, 2.0)))
    assert [(row.number, row.means, row.state) for row in rows] == [
        (2, (1.5,), "finished"),
        (0, (4.0,), "finished"),
        (1, (), "diverged"),
    ]
    assert rows[1].spreads == pytest.approx((2**0.5,)) and rows[2].spreads == ()


def test_what_was_trained_to_the_end_ranks_before_what_was_left_at_a_rung(tmp_path: Path) -> None:
    rows = rank_configurations(simulate(section(trials=9, scheduler="asha"), tmp_path))
    assert [row.seen for row in rows] == sorted((row.seen for row in rows), reverse=True)
    states = [row.state for row in rows]
    assert set(states) == {"finished", "reached"} and states == sorted(states)
    for seen in {row.seen for row in rows}:
        means = [row.means for row in rows if row.seen == seen]
        assert means == sorted(means)


def test_one_that_trains_still_shows_how_far_it_is() -> None:
    history = history_of((1.0,))
    history.legs[1, 0, 0] = Leg(number=1, values={"batch": 1})
    assert [(row.number, row.state, row.seen) for row in rank_configurations(history, lambda number: 40)] == [
        (0, "finished", 100),
        (1, "training", 40),
    ]


def test_the_noise_is_pooled_over_configurations() -> None:
    rows = rank_configurations(history_of((1.0, 3.0), (2.0, 2.0, 2.0), (9.0,)))
    deviation, freedom = pool_noise(rows) or (0.0, 0)
    assert freedom == 3 and deviation == pytest.approx((2 / 3) ** 0.5)


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (history_of((1.0,), (2.0,)), "each was trained once, so how much of that is the seed's doing is not known"),
        (history_of((1.0, 1.2), (9.0, 9.2)), "56.6 standard errors of that difference: more than the seeds explain"),
        (
            history_of((1.0, 3.0), (2.0, 3.0)),
            "0.4 standard errors of that difference: within what the seeds alone may do",
        ),
        (history_of((1.0, 1.0), (2.0, 2.0)), "seed noise: none was seen (2 repeats); the best leads the second by 1"),
        (history_of((1.0,)), "fewer than two configurations were trained to the end; nothing can be said"),
    ],
)
def test_the_line_on_seed_noise(history: History, words: str) -> None:
    assert words in describe_noise(rank_configurations(history))


def test_what_is_expected_covers_what_has_been_seen_and_what_still_trains(tmp_path: Path) -> None:
    """More than the rule's share go on when few are there to be compared with."""
    search = opened(section(trials=9, scheduler="asha"), tmp_path)
    progress, spent = SweepProgress(search, END, ["fd"]), list[int]()
    while (leg := search.ask()) is not None:
        result = result_of(leg, lambda values, seen: 1 / (1 + leg.number))
        assert progress.expected() >= sum(progress.seen.values()) + result.seen - progress.seen.get(leg.trial, 0)
        search.tell(leg, result)
        progress.update(leg, result.seen)
        spent.append(progress.expected())
    assert spent[0] == 9 * 100 + 3 * 200 + 600 < spent[-1] == sum(progress.seen.values())
    assert progress.event()["until"] == progress.event()["seen"]

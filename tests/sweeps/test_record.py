"""The record of a sweep and what is told from it: recovery, ranking, noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_dist.runs.storage import Folder
from gan_dist.sweeps.reports.progress import Board
from gan_dist.sweeps.search.history import History, Outcome, Task
from gan_dist.sweeps.search.ranking import noise_words, pooled, ranking
from gan_dist.sweeps.search.trial_log import Ledger
from tests.sweeps.simulated import END, opened, outcome_of, section, simulate


def filled(folder: str | Path) -> Ledger:
    ledger = Ledger(Folder.at(folder))
    ledger.begin({"tag": "metric/fd"})
    for number in range(3):
        task = Task(number, 0, 0, {"batch": number})
        ledger.give(task, f"run-{number}")
        ledger.end(task, Outcome("finished", 100, float(number)))
    ledger.spend(12.5)
    return ledger


def test_a_record_reads_back(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    again = Ledger(Folder.at(tmp_path))
    assert again.history == ledger.history and again.seconds == 12.5
    assert again.began is not None and again.began["tag"] == "metric/fd"


def test_a_record_cut_anywhere_is_read_up_to_there_and_written_on(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / "trials.jsonl"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        ledger = Ledger(Folder.at(tmp_path))
        assert path.read_bytes() == content[:length], "reading changes nothing: others read while one writes"
        tasks = len(ledger.history.tasks)
        assert tasks == content[:length].count(b'"what": "task"') or content[:length].count(b"\n") < content.count(
            b"\n"
        )
        task = Task(9, 0, 0, {})
        ledger.give(task, "run-9")
        again = Ledger(Folder.at(tmp_path))
        assert len(again.history.tasks) == tasks + 1 and again.history.tasks[9, 0, 0] == task


def test_a_record_on_an_object_store_is_the_record_on_a_disk(tmp_path: Path, bucket: str) -> None:
    filled(tmp_path)
    ledger = filled(f"{bucket}/sweep")
    assert Ledger(Folder(f"{bucket}/sweep")).history == ledger.history == Ledger(Folder.at(tmp_path)).history
    ledger.spend(20.0)
    again = Ledger(Folder(f"{bucket}/sweep"))
    assert again.seconds == 20.0
    again.spend(21.0)
    assert Folder(f"{bucket}/sweep").read("trials.jsonl").count(b"\n") == 10


def test_a_damaged_line_within_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{broken\n", *lines[2:]]))
    with pytest.raises(ValueError, match=r"trials.jsonl:2: this line of the sweep's record is damaged"):
        Ledger(Folder.at(tmp_path))


def history_of(*values: tuple[float | None, ...], kind: str = "diverged") -> History:
    history = History()
    for number, each in enumerate(values):
        for repetition, value in enumerate(each):
            task = Task(number, repetition, 0, {"batch": number})
            history.give(task)
            history.end(task, Outcome("finished" if value is not None else kind, 100, value))  # type: ignore[arg-type]
    return history


def test_ranking_is_by_the_mean_over_seeds_and_failures_come_last() -> None:
    rows = ranking(history_of((3.0, 5.0), (None, 1.0), (1.0, 2.0)))
    assert [(row.number, row.mean, row.state) for row in rows] == [
        (2, 1.5, "finished"),
        (0, 4.0, "finished"),
        (1, None, "diverged"),
    ]
    assert rows[1].spread == pytest.approx(2**0.5) and rows[2].spread is None


def test_what_was_trained_to_the_end_ranks_before_what_was_left_at_a_rung(tmp_path: Path) -> None:
    rows = ranking(simulate(section(trials=9, scheduler="asha"), tmp_path))
    assert [row.seen for row in rows] == sorted((row.seen for row in rows), reverse=True)
    assert [row.state for row in rows[:2]] == ["finished", "reached"]
    for seen in {row.seen for row in rows}:
        means = [row.mean for row in rows if row.seen == seen]
        assert means == sorted(means)


def test_one_that_trains_still_shows_how_far_it_is() -> None:
    history = history_of((1.0,))
    history.give(Task(1, 0, 0, {"batch": 1}))
    assert [(row.number, row.state, row.seen) for row in ranking(history, lambda number: 40)] == [
        (0, "finished", 100),
        (1, "training", 40),
    ]


def test_the_noise_is_pooled_over_configurations() -> None:
    rows = ranking(history_of((1.0, 3.0), (2.0, 2.0, 2.0), (9.0,)))
    deviation, freedom = pooled(rows) or (0.0, 0)
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
    assert words in noise_words(ranking(history))


def test_what_is_expected_covers_what_has_been_seen_and_what_still_trains(tmp_path: Path) -> None:
    """More than the rule's share go on when few are there to be compared with."""
    search = opened(section(trials=9, scheduler="asha"), tmp_path)
    board, spent = Board(search, END, ["fd"]), list[int]()
    while (task := search.next()) is not None:
        outcome = outcome_of(task, lambda values, seen: 1 / (1 + task.number))
        assert board.expected() >= sum(board.seen.values()) + outcome.seen - board.seen.get(task.trial, 0)
        search.told(task, outcome)
        board.progress(task, outcome.seen)
        spent.append(board.expected())
    assert spent[0] == 9 * 100 + 3 * 200 + 600 < spent[-1] == sum(board.seen.values())
    assert board.event()["until"] == board.event()["seen"]

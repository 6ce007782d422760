"""Numbers of training: their means over workers, and which of them stopped being finite first, on any worker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan_dist.errors import StorageError
from gan_dist.runs.storage import Folder
from gan_dist.training.run_logger import FOLD, RunLogger, Stats, show_storage_errors_once
from tests.helpers import CPU

NAN = float("nan")


def alone(value: Tensor) -> Tensor:
    return value


def added(**values: float) -> Stats:
    stats = Stats(CPU)
    for name, value in values.items():
        stats.add(name, torch.tensor(value), 1.0)
    return stats


def test_means_are_over_all_that_was_added_and_start_over() -> None:
    stats = Stats(CPU)
    for number in range(2 * FOLD + 1):
        stats.add("a", torch.tensor(2.0 * number), 2.0)
    assert stats.means(alone) == {"a": float(FOLD)} and stats.means(alone) == {}


def test_the_first_bad_phase_is_named_in_its_order() -> None:
    stats = added(fine=1.0)
    stats.next_iteration()
    stats.add("zebra", torch.tensor(NAN), 1.0)
    stats.add("fine", torch.tensor(1.0), 1.0)
    stats.add("ant", torch.tensor(float("inf")), 1.0)
    stats.next_phase()
    stats.add("later", torch.tensor(NAN), 1.0)
    assert stats.not_finite(alone) == ["zebra", "ant"]
    stats.next_iteration()
    stats.add("fine", torch.tensor(NAN), 1.0)
    assert stats.not_finite(alone) == ["zebra", "ant"], "judged an iteration later"


def test_one_bad_value_of_several_counts() -> None:
    stats = added(a=NAN)
    stats.add("a", torch.tensor(1.0), 1.0)
    assert stats.not_finite(alone) == ["a"]


def test_what_is_bad_elsewhere_is_named_here() -> None:
    stats = added(a=1.0, b=1.0)
    assert stats.not_finite(lambda flags: flags + torch.tensor([0.0, 1.0])) == ["b"]


def test_all_may_be_well() -> None:
    assert added(a=1.0).not_finite(alone) == [] and Stats(CPU).not_finite(alone) == []


def test_a_board_that_cannot_be_written_shows_no_traceback_of_its_thread(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    show_storage_errors_once()
    journal = RunLogger(Folder.at(tmp_path / "r"), 0, print)
    journal.scalars({"loss/D": 1.0}, 8)
    shutil.rmtree(tmp_path / "r")
    with pytest.raises((OSError, StorageError)):
        for seen in range(16, 800, 8):
            journal.scalars({"loss/D": 1.0}, seen)
    assert "Traceback" not in capfd.readouterr().err

"""How a run computes: what `auto` becomes, that it stays so, and what a GPU's libraries may choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.errors import UsageError
from gan_dist.training import arithmetic, micro_batch
from gan_dist.training.arithmetic import library_choices, resolve_precision
from gan_dist.training.batches import BatchFactory
from gan_dist.training.micro_batch import choose_micro_batch
from gan_dist.training.state import TrainState
from tests.helpers import CPU, Trained, assert_same_state, small, stop_at, train

GPU = torch.device("cuda", 0)


class Worker(LocalRuntime):
    """One that hears what is told, and whose sums count other workers' words too."""

    def __init__(self, device: torch.device = CPU, others: float = 0.0) -> None:
        self.told: list[str] = []
        super().__init__(device, lambda event: self.told.append(str(event.get("text", event))), lambda: False)
        self.others = others

    def sum(self, value: Tensor) -> Tensor:
        return value + self.others


def device_with(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "has_bf16", lambda device: bf16)


@pytest.mark.parametrize(
    ("here", "began", "becomes", "told"),
    [
        (True, None, "bf16", ""),
        (False, None, "fp32", ""),
        (True, "bf16", "bf16", ""),
        (False, "fp32", "fp32", ""),
        (True, "fp32", "fp32", "goes on with fp32, as it began"),
        (False, "bf16", "fp32", "goes on with fp32, though it began with bf16, which a device here does not have"),
    ],
)
def test_auto_stays_what_it_was(
    here: bool, began: str | None, becomes: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device_with(here, monkeypatch)
    worker = Worker()
    assert resolve_precision("auto", began, worker) == becomes
    assert told in " ".join(worker.told) and bool(worker.told) == bool(told)


def test_one_worker_without_bf16_decides_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    device_with(True, monkeypatch)
    assert resolve_precision("auto", None, Worker(others=1.0)) == "fp32"


def test_a_format_that_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    device_with(False, monkeypatch)
    assert [resolve_precision(one, "bf16", Worker()) for one in ("fp32", "fp16", "bf16", "fp64")] == [
        "fp32",
        "fp16",
        "bf16",
        "fp64",
    ]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(UsageError, match=r"bf16, but Tesla V100 has none; use fp16, fp32 or auto"):
        resolve_precision("bf16", None, Worker(GPU))


def test_a_run_goes_on_in_the_format_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the checkpoint says bf16, so that the same bits follow; without it, float32 follows, with a word."""
    spec = small(precision="auto")
    device_with(True, monkeypatch)
    straight = train(spec, tmp_path / "straight")
    began = train(spec, tmp_path / "run", stop_at(3))
    assert began.newest.meta["resolved"] == {"lane": 4, "precision": "bf16"}
    assert_same_state(train(small(precision="bf16"), tmp_path / "asked").newest, straight.newest)
    again = train(spec, tmp_path / "run", attempt=2)
    assert_same_state(straight.newest, again.newest)
    device_with(False, monkeypatch)
    longer = train(small(precision="auto", until="8 steps"), tmp_path / "run", attempt=3)
    assert any("though it began with bf16" in text for text in told(longer))
    assert longer.newest.meta["resolved"] == {"lane": 4, "precision": "bf16"}  # where it can, it goes on so


def told(trained: Trained) -> list[str]:
    return [event["text"] for event in trained.events if event["event"] == "warning"]


def test_fast_is_only_for_the_time_of_training() -> None:
    before = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    assert before == (False, "highest")
    worker = Worker(GPU)
    with pytest.raises(KeyError), library_choices("fast", worker):
        assert torch.backends.cudnn.benchmark and torch.get_float32_matmul_precision() == "high"
        raise KeyError
    assert (torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()) == before
    assert "cuDNN chooses kernels by their speed" in worker.told[0] and "same bits" in worker.told[0]


@pytest.mark.parametrize(("determinism", "device"), [("exact", GPU), ("fast", CPU)])
def test_nothing_is_chosen_otherwise(determinism: str, device: torch.device) -> None:
    worker = Worker(device)
    with library_choices(determinism, worker):
        assert not torch.backends.cudnn.benchmark and torch.get_float32_matmul_precision() == "highest"
    assert worker.told == []


@pytest.mark.parametrize(
    ("began", "fits", "chosen", "told"),
    [
        (None, 16, 16, False),
        (None, 5, 4, False),
        (4, 16, 4, False),  # a GPU that is free now would take more
        (8, 2, 2, True),
        (64, 16, 16, False),  # more workers: a smaller share
    ],
)
def test_a_micro_batch_begins_where_it_began(
    began: int | None, fits: int, chosen: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Feed:
        share, lane = 16, 1

    monkeypatch.setattr(micro_batch, "_fits_everywhere", lambda state, feed, run, size: size <= fits)
    worker = Worker(GPU)
    state, feed = TrainState.__new__(TrainState), Feed()
    state.nets = {}
    asked: dict[str, Any] = {"state": state, "feed": feed, "run": worker}
    assert choose_micro_batch("auto", began, **asked) == chosen
    assert any("no more fit" in text for text in worker.told) == told
    assert choose_micro_batch(3, began, **asked) == 3


def test_a_micro_batch_that_was_halved_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU takes its whole share unless its run began with less."""

    def halved(asked: int | str, began: int | None, *, feed: BatchFactory, **others: Any) -> int:
        return began or feed.share // 2

    monkeypatch.setattr("gan_dist.training.trainer.choose_micro_batch", halved)
    begun = train(small(), tmp_path / "run", stop_at(3))
    assert begun.newest.meta["resolved"] == {"lane": 4, "micro_batch": 4}
    monkeypatch.undo()
    again = train(small(), tmp_path / "run", attempt=2)
    assert {"event": "micro_batch", "samples": 4, "share": 8} in again.events
    assert again.newest.meta["resolved"] == {"lane": 4, "micro_batch": 4}


def test_lanes_of_another_size_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another version cuts batches otherwise, other numbers follow."""
    train(small(), tmp_path / "run", stop_at(3))
    monkeypatch.setattr("gan_dist.distributed.lanes.LEAST_LANE", 2)
    again = train(small(), tmp_path / "run", attempt=2)
    assert any("its lanes had 4 samples, here 2" in text for text in told(again))

"""Serving batches from blocks in memory, from the accelerator, or from shards as they come, by one plan."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.data.facts import DataFacts, UnpairedFacts
from gan_dist.data.order import DomainOrder, Positions, ServingOrder, WeightedPlan, domain_order
from gan_dist.data.prepare import Prepared
from gan_dist.data.shards import ShardReader
from gan_dist.errors import DataError
from gan_dist.spec.data import DataSpec, ImageData, TextData

Block = NDArray[Any]
AHEAD = 2
DEVICE_SHARE = 0.2


class Memory:
    """Decoded blocks viewed in place (in Ray's object store, or this process), gathered by position.

    Args:
        blocks: samples of each block in canonical order, [N, ...].
        labels: class of each sample in canonical order, [count].
        facts: what was read.
        seed, batch: of the run; they fix the order.
        vectors: whose rows the labels are, [M, K]; None where these are classes.
    """

    def __init__(
        self,
        *,
        blocks: Sequence[Block],
        labels: Positions,
        facts: DataFacts,
        seed: int,
        batch: int,
        vectors: NDArray[np.float32] | None = None,
    ) -> None:
        self.blocks, self.labels, self.facts, self.vectors = list(blocks), labels, facts, vectors
        lengths = tuple(len(block) for block in blocks)
        self.plan = _order_in_memory(facts, seed, batch, lengths, labels)
        self._ends = np.cumsum(lengths)

    def positions(self, reals_drawn: int) -> Positions:
        """Positions of the whole global batch that comes after `reals_drawn` samples; of two domains [batch, 2]."""
        return self.plan.positions(reals_drawn)

    def rows(self, positions: Positions) -> tuple[Tensor, Tensor]:
        """Block uint8 [n, C, S, S] and labels [n] at canonical positions [n]; at [n, 2] two samples make one, by
        channels."""
        return rows_at(positions, lambda flat: gather_rows(self.blocks, self._ends, flat), self.labels)


class OnDevice:
    """The whole set as one tensor on the accelerator; batches are gathered there."""

    def __init__(self, memory: Memory, device: torch.device) -> None:
        self.facts, self.labels, self.plan, self.device = memory.facts, memory.labels, memory.plan, device
        self.vectors = memory.vectors
        self._samples = torch.cat([torch.tensor(block, device=device) for block in memory.blocks])
        self._labels = torch.tensor(memory.labels, device=device)

    def positions(self, reals_drawn: int) -> Positions:
        return self.plan.positions(reals_drawn)

    def rows(self, positions: Positions) -> tuple[Tensor, Tensor]:
        at = torch.from_numpy(positions).to(self.device, non_blocking=True)
        if at.ndim == 1:
            return self._samples[at], self._labels[at]
        return self._samples[at].flatten(1, 2), self._labels[at[:, 0]]


class Stream:
    """Shards read as the plan comes to them, a window in use and the next one on its way.

    Args:
        found: where the shards are.
        window: how many shards are mixed at a time.
        seed, batch: of the run.
    """

    def __init__(self, found: Prepared, window: int, seed: int, batch: int) -> None:
        self.facts, self.labels, self.vectors = found.facts, found.column("label"), found.vectors
        self.plan = _order_of_shards(self.facts, seed, batch, tuple(found.shards.values()), window)
        self._shards = ShardReader(found.folder, found.records, self.labels)
        self._ends = np.cumsum(self.plan.shards)
        self._starts = self._ends - self.plan.shards
        self._held: OrderedDict[int, Future[Block]] = OrderedDict()
        self._window: object = None
        self._free: list[Block] = []  # memory of shards that were let go
        self._readers = ThreadPoolExecutor(AHEAD, thread_name_prefix="shards")

    def positions(self, reals_drawn: int) -> Positions:
        """As `Memory.positions`; the shards of this window and the next are sent for."""
        if (window := self.plan.window_at(reals_drawn)) != self._window:
            self._window = window
            for shard in self.plan.shards_from(reals_drawn, AHEAD):
                self._send_for(shard, use_again=True)
        return self.plan.positions(reals_drawn)

    def rows(self, positions: Positions) -> tuple[Tensor, Tensor]:
        return rows_at(positions, self._gathered, self.labels)

    def _gathered(self, positions: Positions) -> Tensor:
        shards = np.searchsorted(self._ends, positions, side="right")
        numbers, inside = shards.tolist(), (positions - self._starts[shards]).tolist()
        blocks = {number: self._send_for(number).result() for number in set(numbers)}
        return _gather(blocks, numbers, inside)

    def _send_for(self, shard: int, *, use_again: bool = False) -> Future[Block]:
        """The shard, read or being read; what was not asked for longest is let go.

        Args:
            use_again: whether its memory is free then; while a batch is gathered, it may be of that batch.
        """
        if shard not in self._held:
            while len(self._held) >= (AHEAD + 1) * self.plan.window:
                _, dropped = self._held.popitem(last=False)
                if use_again and dropped.done() and dropped.exception() is None:
                    self._free.append(dropped.result())
            into = self._free.pop().reshape(-1).view(np.uint8) if self._free else None
            self._held[shard] = self._readers.submit(self._shards.read, shard, into)
        self._held.move_to_end(shard)
        return self._held[shard]


def _order_in_memory(
    facts: DataFacts, seed: int, batch: int, lengths: tuple[int, ...], labels: Positions
) -> ServingOrder | WeightedPlan | DomainOrder:
    if isinstance(facts, UnpairedFacts):
        return DomainOrder(seed, batch, source=(facts.source_count,), target=(facts.target_count,))
    weights = facts.class_weights
    return WeightedPlan(seed, batch, labels, weights) if weights else ServingOrder(seed, batch, lengths)


def _order_of_shards(
    facts: DataFacts, seed: int, batch: int, shards: tuple[int, ...], window: int
) -> ServingOrder | DomainOrder:
    if isinstance(facts, UnpairedFacts):
        return domain_order(seed, batch, shards, facts.source_count, window)
    return ServingOrder(seed, batch, shards, window)


def rows_at(positions: Positions, gather: Callable[[Positions], Tensor], labels: Positions) -> tuple[Tensor, Tensor]:
    """Samples and labels at positions [n]; at [n, k] k samples [C, H, W] make one [k * C, H, W], and the label is that
    of the first."""
    if positions.ndim == 1:
        return gather(positions), torch.from_numpy(labels[positions])
    samples = gather(positions.reshape(-1))
    return samples.reshape(len(positions), -1, *samples.shape[2:]), torch.from_numpy(labels[positions[:, 0]])


def gather_rows(blocks: Sequence[Block], ends: Positions, positions: Positions) -> Tensor:
    """The samples at positions, [n, ...], out of blocks that end at `ends`."""
    if len(ends) == 1:
        return torch.from_numpy(np.take(blocks[0], positions, axis=0))
    block = np.searchsorted(ends, positions, side="right")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return _gather(blocks, block.tolist(), (positions - starts[block]).tolist())


def _gather(blocks: Sequence[Block] | dict[int, Block], numbers: list[int], inside: list[int]) -> Tensor:
    """Row by row: of many blocks each holds few of a batch, and a selection costs more than a row."""
    rows = [blocks[number][at] for number, at in zip(numbers, inside, strict=True)]
    return torch.from_numpy(np.concatenate(rows).reshape(len(rows), *rows[0].shape))


def load_into_memory(found: Prepared, seed: int, batch: int) -> Memory:
    """Prepared data read into this process, in one piece."""
    labels = found.column("label")
    shards = ShardReader(found.folder, found.records, labels)
    record = found.records[0]
    samples = np.empty((len(labels), *record["shape"]), record["dtype"])
    first = 0
    for number, shard in enumerate(found.records):
        into = samples[first : first + shard["rows"]]
        shards.read(number, into.reshape(-1).view(np.uint8))
        first += shard["rows"]
    return Memory(blocks=[samples], labels=labels, facts=found.facts, seed=seed, batch=batch, vectors=found.vectors)


def move_to_device(rows: Memory, asked: str, device: torch.device) -> Memory | OnDevice:
    """Rows moved to the accelerator, where the job asks for it or, left open, where they take little of it."""
    held = sum(block.nbytes for block in rows.blocks)
    if asked == "device" or (asked == "auto" and device.type == "cuda" and held <= _room(device)):
        return OnDevice(rows, device)
    return rows


def _room(device: torch.device) -> float:
    """Bytes of the device that samples may take beside the networks."""
    free, _ = torch.cuda.mem_get_info(device)
    return DEVICE_SHARE * free


class Ingest(Protocol):
    """An ingest: the positions of a global batch, and the samples at positions. `labels` [N] are by position: classes,
    or rows of `vectors` [M, K]."""

    @property
    def facts(self) -> DataFacts: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def vectors(self) -> NDArray[np.float32] | None: ...
    def positions(self, reals_drawn: int) -> NDArray[np.int64]: ...
    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]: ...


SHARE = 0.5
GIB = 2**30


@dataclass(frozen=True)
class IngestChoice:
    """`window` is how many shards a stream mixes at a time; 0 where all samples are mixed. `why` is for people."""

    kind: Literal["memory", "stream"]
    window: int
    why: str


def has_class_weights(data: DataSpec) -> bool:
    """Whether classes are served in another proportion than that of the data."""
    return isinstance(data, ImageData | TextData) and data.class_weights != "data"


def choose_ingest(data: DataSpec, held: int, room: int, before: int | None) -> IngestChoice:
    """The ingest of a run.

    Args:
        held: bytes of the decoded samples.
        room: bytes of memory that samples may lie in on each machine.
        before: the window of an earlier attempt, whose order goes on; None for a fresh run.

    Raises:
        DataError: the samples have to be in memory, and do not fit.
    """
    if has_class_weights(data) and (
        before or data.ingest == "stream" or (data.ingest == "auto" and held > SHARE * room)
    ):
        raise DataError(
            f"data.class_weights: a stream serves {held / GIB:.2f} GiB of shards as they lie; set data.ingest: memory, "
            "or leave the weights out"
        )
    size = f"{held / GIB:.2f} GiB in {room / GIB:.1f} GiB of memory for data"
    fits = held <= SHARE * room
    if before:
        return IngestChoice("stream", before, "the order of the run's earlier attempts")
    if data.ingest == "stream" and before is None:
        return IngestChoice("stream", data.window, "the job says so")
    if before == 0 or data.ingest in ("memory", "device"):
        reason = f"data.ingest: {data.ingest}" if before is None else "this run's order mixes all samples at once"
        if held > room:
            raise DataError(f"{reason}, but the samples do not fit: {size}")
        return IngestChoice("memory", 0, f"{reason}; {size}")
    if fits:
        return IngestChoice("memory", 0, size)
    return IngestChoice("stream", data.window, f"{size} is more than half")

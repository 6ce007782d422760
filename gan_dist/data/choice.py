"""Which ingest serves a run's data: what the job says, what an earlier attempt used, or what their size allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gan_dist.data.errors import DataError
from gan_dist.spec.data import DataSpec, PairData

SHARE = 0.5
GIB = 2**30


@dataclass(frozen=True)
class Ingest:
    """`window` is how many shards a stream mixes at a time; 0 where all samples are mixed. `why` is for people."""

    kind: Literal["memory", "stream"]
    window: int
    why: str


def weighted(data: DataSpec) -> bool:
    """Whether classes are served in another proportion than that of the data."""
    return not isinstance(data, PairData) and data.class_weights != "data"


def choose(data: DataSpec, held: int, room: int, before: int | None) -> Ingest:
    """The ingest of a run.

    Args:
        held: bytes of the decoded samples.
        room: bytes of memory that samples may lie in on each machine.
        before: the window of an earlier attempt, whose order goes on; None for a fresh run.

    Raises:
        DataError: the samples have to be in memory, and do not fit.
    """
    if weighted(data) and (before or data.ingest == "stream" or (data.ingest == "auto" and held > SHARE * room)):
        raise DataError(
            f"data.class_weights: a stream serves {held / GIB:.2f} GiB of shards as they lie; set data.ingest: memory, "
            "or leave the weights out"
        )
    size = f"{held / GIB:.2f} GiB in {room / GIB:.1f} GiB of memory for data"
    fits = held <= SHARE * room
    if before:
        return Ingest("stream", before, "the order of the run's earlier attempts")
    if data.ingest == "stream" and before is None:
        return Ingest("stream", data.window, "the job says so")
    if before == 0 or data.ingest in ("memory", "device"):
        reason = f"data.ingest: {data.ingest}" if before is None else "this run's order mixes all samples at once"
        if held > room:
            raise DataError(f"{reason}, but the samples do not fit: {size}")
        return Ingest("memory", 0, f"{reason}; {size}")
    if fits:
        return Ingest("memory", 0, size)
    return Ingest("stream", data.window, f"{size} is more than half")

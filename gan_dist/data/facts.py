"""What data turned out to be, and whether a job can use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gan_dist.data.source import DataError

NAMED = 10
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class DataFacts:
    """What the data turned out to be; stored with every checkpoint.

    Attributes:
        count: usable samples.
        size, channels: of each image.
        classes: class names in label order; empty when unconditional.
        class_counts: samples of each class.
        checksum: over the decoded pixels and labels in canonical order.
        rejected: (name, reason) of what could not be decoded.
        stand_in: whether they only stand for data that are not at hand.
        window: how many shards the order mixes at a time; 0 for all.
    """

    count: int
    size: int
    channels: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    checksum: str
    rejected: tuple[tuple[str, str], ...]
    stand_in: bool = False
    window: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rejected": [list(pair) for pair in self.rejected]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> DataFacts:
        """From `as_dict`, or a mapping that holds more."""
        known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
        known |= {name: tuple(known[name]) for name in ("classes", "class_counts")}
        return cls(**known | {"rejected": tuple((name, why) for name, why in known["rejected"])})


def check_rejected(where: str, facts: DataFacts, most: float) -> None:
    """Whether few enough samples were rejected.

    Raises:
        DataError: nothing usable is left, or more than the share `most` were rejected; the first ten are named.
    """
    rejected, total = facts.rejected, facts.count + len(facts.rejected)
    if facts.count and len(rejected) <= most * total:
        return
    shown = "".join(f"\n  {name}: {why}" for name, why in rejected[:NAMED])
    raise DataError(
        f"data.source: {len(rejected)} of {total} images in {where!r} cannot be used, more than "
        f"data.max_rejected: {most:g} allows:{shown}"
    )


def check_channels(channels: int, native: Mapping[str, tuple[int, str]]) -> None:
    """Whether grey and coloured pictures are mixed where the job leaves `channels` open.

    Args:
        native: stored channels -> how many pictures have them, and the first one's name.

    Raises:
        DataError: they are.
    """
    other = native.get("1" if channels == 3 else "3")
    if other is not None:
        same = native.get(str(channels), (0, ""))
        kind, other_kind = ("coloured", "grey") if channels == 3 else ("grey", "coloured")
        raise DataError(
            f"data.channels: auto found {same[0]} {kind} and {other[0]} {other_kind} images "
            f"(first: {other[1]!r}); set data.channels to 1 or 3"
        )

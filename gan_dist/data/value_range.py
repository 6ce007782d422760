"""Which values of a data set are black and which are white: decided once for the whole set, by type and by the bulk of
the values, and never by the smallest and the largest alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.errors import DataError, UnreadableSample

Ranges = tuple[tuple[str, float, float], ...]  # a type of values, black, white
TAIL = 0.001  # the share of values at either end that says nothing: hot pixels, scratches, overshoot
LOOSE = 0.1  # how far, as a share of the range, resampling may lead beyond it
DEEPEST = (1, 255, 1023, 4095, 16383, 65535, 2**24 - 1, 2**31 - 1, 2**32 - 1)  # white in 1 to 32 bits
FAINT = 31  # values above 1 that stay below it may be anything: digits from 0 to 16, class numbers
KINDS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")
SAMPLED = 1 << 16  # values that are looked at of one picture
LEAST_SPREAD = 2  # of 255; below it nothing is to be seen


def ranges_of(samples: Iterable[NDArray[Any]], asked: tuple[float, float] | None) -> Ranges:
    """The range of each type of values that some pictures of a set have; none for bytes, which are what they are.

    Args:
        samples: pictures as their files hold them.
        asked: black and white as the job says, for every type.

    Raises:
        DataError: the values are in no range that pictures have.
    """
    if asked is not None:
        return tuple((kind, *asked) for kind in KINDS)
    held: dict[str, list[NDArray[Any]]] = {}
    for values in samples:
        if values.dtype not in (np.uint8, np.bool_) and values.dtype.kind in "iuf":
            held.setdefault(values.dtype.name, []).append(_some(values))
    return tuple((kind, *_range(np.concatenate(parts), kind)) for kind, parts in sorted(held.items()))


def describe_ranges(ranges: Ranges, asked: bool) -> list[str]:
    """What was assumed, for people."""
    if asked:
        (_, low, high), *_ = ranges
        return [f"values: in [{low:g}, {high:g}] (data.range)"]
    return [f"values: {kind} in [{low:g}, {high:g}] (by the bulk of some of them)" for kind, low, high in ranges]


def to_uint8(values: NDArray[Any], ranges: Ranges) -> NDArray[np.uint8]:
    """Values as bytes, black 0 and white 255; what lies beyond is clipped.

    Raises:
        UnreadableSample: some are not finite, or of a type whose range is not known.
    """
    known = {"uint16": (0.0, 65535.0)} | {kind: (low, high) for kind, low, high in ranges}
    if values.dtype == np.uint8 and "uint8" not in known:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise UnreadableSample(f"holds {values.dtype}, which are no values of a picture")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnreadableSample("holds values that are not finite")
    if values.dtype.name not in known:
        raise UnreadableSample(
            f"holds {values.dtype}, which none of the pictures did that were looked at; say data.range: [BLACK, WHITE]"
        )
    low, high = known[values.dtype.name]
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def check_spread(pictures: Iterable[NDArray[np.uint8]], seen: str) -> None:
    """Whether anything is to be seen.

    Args:
        pictures: some of the set as bytes.
        seen: what was assumed of their values; empty where they are bytes.

    Raises:
        DataError: all are of nearly one and the same value.
    """
    held = [_some(one) for one in pictures]
    if not held:
        return
    least, most = np.quantile(np.concatenate(held), [TAIL, 1 - TAIL])
    # Bytes that are all the same are what somebody drew; zeros and ones are masks.
    if most - least < LEAST_SPREAD and (seen or most > least):
        raise DataError(
            f"data.source: the pictures come out nearly constant: all values lie between {least:g} and {most:g} of 255"
            f"{f' ({seen})' if seen else ''}; say which values are black and white: data.range: [BLACK, WHITE]"
        )


def _some(values: NDArray[Any]) -> NDArray[Any]:
    """Evenly spaced ones of a picture's values. The step is odd, so that it meets every column."""
    flat = np.asarray(values).reshape(-1)
    return flat[:: len(flat) // SAMPLED | 1] if len(flat) > SAMPLED else flat


def _bulk(values: NDArray[Any]) -> tuple[float, float]:
    """Between which values all but very few lie."""
    low, high = np.quantile(values, [TAIL, 1 - TAIL], method="nearest")
    return float(low), float(high)


def _range(values: NDArray[Any], kind: str) -> tuple[float, float]:
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size:
        return 0.0, 1.0
    low, high = _bulk(values)
    if low == high and (rest := values[values != low]).size:
        low, high = min(low, _bulk(rest)[0]), max(high, _bulk(rest)[1])  # few points on an empty ground
    if values.dtype == np.int8:
        return (-128.0, 127.0) if low < -1 else (0.0, 127.0)
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    if whole and low >= 0 and not 1 < high <= FAINT:
        return 0.0, float(next(white for white in (*DEEPEST, high) if white >= high))
    if low >= -LOOSE and high <= 1 + LOOSE:
        return 0.0, 1.0
    if low >= -1 - 2 * LOOSE and high <= 1 + 2 * LOOSE:
        return -1.0, 1.0
    if not whole and low >= -255 * LOOSE and FAINT < high <= 255 * (1 + LOOSE):
        return 0.0, 255.0
    raise DataError(
        f"data.source: nearly all values ({kind}) lie from {low:g} to {high:g}, which is no range that pictures have "
        "(0 to 1, -1 to 1, 0 to 255, whole numbers from 0 to 1023, 4095, 65535 and so on); say which are black and "
        "white: data.range: [BLACK, WHITE]"
    )

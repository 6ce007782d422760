"""Sentences: stored token ids to what networks see, and samples to lines and tables of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.data.codec import Codec

BARS = 10


def encode(rows: Tensor, device: torch.device) -> Tensor:
    """Token ids [B, T] as int64 on the device."""
    return rows.to(device, non_blocking=True).long()


def decode_lines(rows: Tensor, codec: Codec) -> list[str]:
    """Token ids [B, T] as people write them."""
    return [codec.text(row) for row in rows.tolist()]


def histogram(lengths: NDArray[np.int64], most: int) -> list[str]:
    """How many sentences have how many tokens, in ten bars."""
    width = max(1, -(-most // BARS))
    counts = np.bincount((lengths - 1).clip(min=0) // width, minlength=-(-most // width))
    scale = 40 / max(1, counts.max())
    return [
        f"{place * width + 1:4}-{min(most, (place + 1) * width):<4}  {'#' * round(count * scale)} {count:,}"
        for place, count in enumerate(counts)
    ]


def format_table(sentences: Sequence[str]) -> str:
    """Sentences as a Markdown table, numbered."""
    shown = [text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for text in sentences]
    rows = [f"| {number} | {text} |" for number, text in enumerate(shown)]
    return "\n".join(["| | sentence |", "| --- | --- |", *rows]) + "\n"

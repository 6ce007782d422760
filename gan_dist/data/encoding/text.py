"""Sentences: stored token ids to what networks see, and samples to lines and tables of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_dist.data.codec import Codec
from gan_dist.data.prompts import show_prompted

BARS = 10


def encode(rows: Tensor, device: torch.device) -> Tensor:
    """Token ids [B, T] as int64 on the device."""
    return rows.to(device, non_blocking=True).long()


def split_prompts(rows: Tensor, codec: Codec) -> tuple[Tensor, Tensor | None]:
    """Stored rows as what is to be written [B, T], and the prompts before it [B, P]; None where there are none."""
    given = codec.prompt_length
    return (rows[:, given:], rows[:, :given]) if given else (rows, None)


def encode_prompts(texts: Sequence[str], codec: Codec) -> Tensor:
    """Prompts as token ids [n, P].

    Raises:
        UnreadableSample: one has no token, or more than the codec allows.
    """
    return torch.from_numpy(np.stack([codec.encode_prompt(text) for text in texts]).astype(np.int64))


def decode_prompted(prompts: Tensor, rows: Tensor, codec: Codec) -> list[str]:
    """Prompts [B, P] and what was written after them [B, T], on a line each as people look at them."""
    given = [codec.prompt_text(row) for row in prompts.tolist()]
    return [show_prompted(*both) for both in zip(given, decode_lines(rows, codec), strict=True)]


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

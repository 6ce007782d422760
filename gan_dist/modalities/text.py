"""Sentences: stored token ids to what networks see, and samples to lines and tables of text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_dist.data.tokens import Codec


def encode(rows: Tensor, device: torch.device) -> Tensor:
    """Token ids [B, T] as int64 on the device."""
    return rows.to(device, non_blocking=True).long()


def lines(rows: Tensor, codec: Codec) -> list[str]:
    """Token ids [B, T] as people write them."""
    return [codec.text(row) for row in rows.tolist()]


def table(sentences: Sequence[str]) -> str:
    """Sentences as a Markdown table, numbered."""
    shown = [text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for text in sentences]
    rows = [f"| {number} | {text} |" for number, text in enumerate(shown)]
    return "\n".join(["| | sentence |", "| --- | --- |", *rows]) + "\n"

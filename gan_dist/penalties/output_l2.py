"""L2 on the last layer of D, as SeqGAN's discriminator has it (Yu et al. 2017, arXiv 1609.05473)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gan_dist.contracts import Batch, Nets, Term


class OutputL2:
    """weight / 2 * (|W|^2 + |b|^2), W and b of D's last layer `out`.

    The authors' D has two logits, and 0.2 for both; the same pull on the difference of the two, which is our one logit,
    is half of that.

    Args:
        weight: strength, >= 0.

    Raises:
        ValueError: weight is negative.
    """

    modality = "text"
    phase = "D"
    second_order = False
    needs_methods: ClassVar = {"discriminator": ("out",)}

    def __init__(self, *, weight: float = 0.1) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight = weight

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        judge: Any = nets.D.module
        squares = [parameter.square().sum() for parameter in judge.out.parameters()]
        return {"output_l2": Term(self.weight / 2 * torch.stack(squares).sum(), None)}

"""Orthogonal regularisation without lengths (Brock, Donahue and Simonyan 2019, arXiv 1809.11096, equation 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Nets, Term


class Orthogonal:
    """beta * sum over weights of |W W^T * (1 - I)|^2: filters of a layer shall be at right angles, of any length.

    Weights are the matrices and kernels of the network, [outputs, ...]; those of embeddings do not count.

    Args:
        beta: strength, >= 0.
        network: whose weights.

    Raises:
        ValueError: beta is negative.
    """

    second_order = False

    def __init__(self, *, beta: float = 1e-4, network: Literal["generator", "discriminator"] = "generator") -> None:
        if beta < 0:
            raise ValueError(f"beta must be at least 0, not {beta}")
        self.beta, self.network = beta, network
        self.phase = "G" if network == "generator" else "D"

    def terms(self, nets: Nets, batch: Batch) -> dict[str, Term]:
        overlaps = [row_overlap(weight) for weight in _weights(nets[self.network].module)]
        return {"orthogonal": Term(self.beta * torch.stack(overlaps).sum(), None)}


def row_overlap(weight: Tensor) -> Tensor:
    """The sum of squared products of different filters of [outputs, ...]."""
    rows = weight.flatten(1)
    products = rows @ rows.T
    return products.square().sum() - products.diagonal().square().sum()


def _weights(module: nn.Module) -> list[Tensor]:
    embedded = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    return [p for p in module.parameters() if p.ndim >= 2 and p.requires_grad and id(p) not in embedded]

"""A person's own augmentation tried on random pictures, for `gan_dist.testing`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gan_dist.contracts import Nets, Term
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.testing.bench import CPU, N, make_bench, real_samples

LARGEST = 16.0


def augmentation_problems(augment: Any, at_zero: Any | None) -> Iterable[str]:
    """What is wrong with an augmentation.

    Args:
        augment: built as the job would.
        at_zero: the same with p = 0, where it takes one.
    """
    x = real_samples("image")
    changed = augment(x.clone(), _rng())
    if not isinstance(changed, Tensor) or changed.shape != x.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        yield f"__call__: gives {shape} for images {tuple(x.shape)} [B, C, H, W]; it must keep the shape"
        return
    for dtype in (torch.float32, torch.float64):
        if (made := augment(x.to(dtype), _rng(dtype)).dtype) != dtype:
            yield f"__call__: gives {made} for images of {dtype}; it must keep the type"
    if not changed.isfinite().all() or changed.abs().max() > LARGEST:
        yield f"__call__: gives values up to {changed.abs().max():.3g} for images in [-1, 1]; D could not see these"
    if not torch.equal(changed, augment(x.clone(), _rng())):
        yield "__call__: two calls with the same rng differ; draw all numbers from `rng`, not from torch's generator"
    yield from _touched(augment, x)
    yield from _coupled(augment, x, changed)
    yield from _slopes(augment, x)
    if at_zero is not None and not torch.allclose(at_zero(x.clone(), _rng()), x, atol=1e-5):
        yield "p: at 0 images are changed; it must be the probability of a change"
    yield from _watched(augment)


def _rng(dtype: torch.dtype = torch.float32) -> Rng:
    return single_lane_rng(("check", "augment"), N, CPU, dtype)


def _touched(augment: Any, x: Tensor) -> Iterable[str]:
    given = x.clone()
    augment(given, _rng())
    if not torch.equal(given, x):
        yield "__call__: changes the images in place; others still need them as they were"


def _coupled(augment: Any, x: Tensor, changed: Tensor) -> Iterable[str]:
    """Workers have parts of a batch each, so that a sample must not depend on the others."""
    other = torch.cat([x[:-1], -x[-1:]])
    if not torch.allclose(augment(other, _rng())[:-1], changed[:-1], atol=1e-6):
        yield "__call__: what becomes of an image depends on the others of its batch"


def _slopes(augment: Any, x: Tensor) -> Iterable[str]:
    x = x.clone().requires_grad_()
    made = augment(x, _rng())
    if not made.requires_grad:
        yield "__call__: what it gives carries no gradient of the images, so that G could not learn through it"
        return
    # The square has a second derivative also where the augmentation itself is linear.
    try:
        (slope,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
        slope.square().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        yield f"__call__: cannot be differentiated twice, so gradient penalties will not work ({error})"


def _watched(augment: Any) -> Iterable[str]:
    if not hasattr(augment, "terms"):
        if hasattr(augment, "after_step"):
            yield "after_step: there is no terms(nets, batch) whose means it could be given"
        return
    nets, batch = make_bench("image", ("discriminator",), real=True)
    terms: Any = augment.terms(Nets(nets.by_name), batch)
    if not isinstance(terms, dict):
        yield f"terms: gives {type(terms).__name__}; wanted a dict of named Terms"
        return
    for name, term in terms.items():
        if not isinstance(term, Term) or not term.watch:
            yield f"terms: {name} is no number to watch; use watch(values)"

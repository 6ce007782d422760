"""D as objectives and penalties see it where the job augments: every picture is changed on its way into it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gan_dist.contracts import Augment, Batch, Net


class AugmentedDiscriminator:
    """D after augmentation, for one micro-batch (`contracts.Net`).

    Each pass through it draws its own numbers, so that real and fake samples are changed independently. What
    differentiates D by its input does so by the picture as it was before (Karras et al. 2020, arXiv 2006.06676,
    appendix B).

    Args:
        raw: D itself.
        augment: what changes pictures.
        batch: whose randomness is used.
    """

    def __init__(self, raw: Net, augment: Augment, batch: Batch) -> None:
        self.raw, self.augment, self.batch = raw, augment, batch
        self.passes = 0

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        changed = self._changed(x)
        if x.requires_grad and x.is_leaf:
            # A penalty is at work, which the changed picture, being no leaf, does not show: nothing compiled then.
            return self.raw.call("__call__", changed, *args, **kwargs)
        return self.raw(changed, *args, **kwargs)

    def call(self, method: str, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.raw.call(method, self._changed(x), *args, **kwargs)

    @property
    def module(self) -> nn.Module:
        return self.raw.module

    def repeated(self, number: int, x: Tensor, *args: Any) -> Any:
        """D on other samples that are changed as those of pass `number` were."""
        return self.raw(self.augmented(number, x), *args)

    def augmented(self, number: int, x: Tensor) -> Tensor:
        """Other samples, changed as those of pass `number` were."""
        return self.augment(x, self.batch.rng(f"augment {number}"))

    def _changed(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.augmented(self.passes, x)

"""What a discriminator says of classes beside its logit, for the objectives that train it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.checks import one_hot_classes

Auxiliary = Literal["none", "classes", "real_fake", "proxies"]
PROXY = 512


class AuxiliaryHead(nn.Module):
    """Features [B, F] to what is said of classes.

    Args:
        kind: classes, logits of each; real_fake, two of each, the even one for real and the odd one for generated
            samples; proxies, the features and a vector of each class on a sphere of PROXY dimensions.
        features: how many.
        classes: how many.
        linear: makes the layer.
    """

    def __init__(
        self, kind: Auxiliary, features: int, classes: int, linear: Callable[[int, int], nn.Module] = nn.Linear
    ) -> None:
        super().__init__()
        outputs = {"classes": classes, "real_fake": 2 * classes, "proxies": PROXY}
        self.linear = linear(features, outputs[kind])
        self.vectors = nn.Parameter(torch.randn(classes, PROXY)) if kind == "proxies" else None

    def classify(self, features: Tensor) -> Tensor:
        """Logits [B, classes], or of real and generated ones [B, 2 classes]."""
        logits: Tensor = self.linear(features)
        return logits

    def compare(self, features: Tensor, cond: Tensor | None) -> Tensor:
        """Of each sample its place on the sphere and its class's, [B, 2, PROXY]."""
        assert self.vectors is not None, "built with auxiliary='proxies'"
        vectors = F.normalize(self.vectors)
        own = one_hot_classes(cond, len(vectors), features) @ vectors.to(features.dtype)
        return torch.stack([F.normalize(self.linear(features)), own], 1)


def auxiliary_head(
    kind: Auxiliary, features: int, classes: int, linear: Callable[[int, int], nn.Module] = nn.Linear
) -> AuxiliaryHead | None:
    """The head that is asked for; None where none is, or where there are no classes."""
    return None if kind == "none" or not classes else AuxiliaryHead(kind, features, classes, linear)

"""How sure and how varied the classes of generated images are (Salimans et al. 2016, arXiv 1606.03498)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

SPLITS = 10


class ClassScore:
    """exp of the mean divergence of a sample's class probabilities from their mean, KL(p(y|x) || p(y)); between 1 and
    the number of classes. The mean and the standard deviation of ten splits (section 4 of the paper).

    It knows no real data: a generator of one good image of each class has the highest score.
    """

    published: ClassVar = {"class_score": "inception_score", "class_score_sd": "inception_score_sd"}
    values = ("class_score", "class_score_sd")
    needs = "logits"
    least = 2 * SPLITS

    def compare(self, real: None, fake: Tensor) -> dict[str, float]:
        """Of the logits [N, classes] of generated samples."""
        scores = torch.stack([inception_score(part) for part in fake.double().tensor_split(SPLITS)])
        return {"class_score": float(scores.mean()), "class_score_sd": float(scores.std(unbiased=False))}


def inception_score(logits: Tensor) -> Tensor:
    """Of samples with these logits [N, classes] as one split."""
    log_p = torch.log_softmax(logits, 1)
    p = log_p.exp()
    # A probability of 0 adds nothing, and its logarithm is no number.
    divergence = p * (log_p - p.mean(0).clamp_min(torch.finfo(p.dtype).tiny).log())
    return divergence.where(p > 0, 0).sum(1).mean().exp()

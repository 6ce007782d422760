"""Whether generated sentences are of the class that they were asked to be of."""

from __future__ import annotations

from collections.abc import Sequence

from gan_dist.metrics.statistics import ClassMoments


class ClassAccuracy:
    """class_accuracy: share of generated sentences of known class that a classifier, trained on real ones, takes to be
    of it. class_accuracy_real: of the real sentences that it was not trained on; more than that is plainer than life.

    Args:
        class_counts: real samples of each class.
    """

    values = ("class_accuracy", "class_accuracy_real")
    needs = "classes"
    features = "text_classifier"
    held_out = True

    def __init__(self, *, class_counts: Sequence[int]) -> None:
        if not class_counts:
            raise ValueError("'class_accuracy' is of sentences of known class, and the data have none; set data.labels")

    def compare(self, real: ClassMoments, fake: ClassMoments) -> dict[str, float]:
        """Of features that are 1 for the class that was seen, and 0."""
        return {"class_accuracy": class_accuracy(fake), "class_accuracy_real": class_accuracy(real)}


def class_accuracy(found: ClassMoments) -> float:
    """Share of samples whose feature of their own class is 1."""
    return float(found.totals.diagonal().sum() / found.counts.sum())

"""MAUVE: how far two sets of sentences lie apart, by the frontier between what each leaves out (Pillutla et al. 2021,
arXiv 2102.01454)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
SCALE, WEIGHTS = 5.0, 25  # c of the paper, and points of the frontier
EXPLAINED = 0.9  # variance that is kept before features are grouped
PER_GROUP, STARTS, STEPS = 10, 5, 500


class Mauve:
    """mauve: area under the frontier of divergences between real and generated sentences, in (0, 1]; 1 where both are
    alike (Pillutla et al. 2021, arXiv 2102.01454).

    Features of both are normalised, reduced to 90 % of their variance and grouped by k-means, a group for ten sentences
    of the smaller set. It depends on the number of sentences: compare equal ones.
    """

    values = ("mauve",)
    needs = "rows"
    features = "sentence_encoder"
    costly = True
    least = 2 * PER_GROUP

    def compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        p, q = group_shares(real.double().cpu().numpy(), fake.double().cpu().numpy())
        return {"mauve": frontier_area(p, q)}


def group_shares(real: Floats, fake: Floats) -> tuple[Floats, Floats]:
    """How the sentences of both sets, features [N, d] and [M, d], spread over common groups, [k] each."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    both = np.concatenate([real, fake])
    both /= np.linalg.norm(both, axis=1, keepdims=True).clip(1e-12)
    reduced = PCA(n_components=None, whiten=False, random_state=0).fit(both)
    kept = int(np.searchsorted(reduced.explained_variance_ratio_.cumsum(), EXPLAINED)) + 1
    rows = reduced.transform(both)[:, :kept]
    groups = max(2, round(min(len(real), len(fake)) / PER_GROUP))
    label = KMeans(groups, n_init=STARTS, max_iter=STEPS, random_state=0).fit(rows).labels_
    shares = (np.bincount(part, minlength=groups) / len(part) for part in (label[: len(real)], label[len(real) :]))
    p, q = shares
    return p, q


def frontier_area(p: Floats, q: Floats) -> float:
    """Area under exp(-5 KL(q | r)) against exp(-5 KL(p | r)) for mixtures r of p and q, [k] each (section 2)."""
    points = [(0.0, 1.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, WEIGHTS):
        mixed = weight * p + (1 - weight) * q
        points.append((np.exp(-SCALE * _divergence(q, mixed)), np.exp(-SCALE * _divergence(p, mixed))))
    xs, ys = np.array([*points, (1.0, 0.0)]).T
    order = np.lexsort((-ys, xs))
    xs, ys = xs[order], ys[order]
    return float(((ys[1:] + ys[:-1]) / 2 * np.diff(xs)).sum())


def _divergence(p: Floats, r: Floats) -> float:
    """KL(p | r) in nats; r is positive wherever p is."""
    there = p > 0
    return float((p[there] * np.log(p[there] / r[there])).sum())

"""Samples beside the training samples that are nearest to them, by features: what `memorised` counts, to be seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.encoding import image
from gan_dist.data.ingest import Ingest
from gan_dist.evaluation.inputs import EvaluationSamples
from gan_dist.evaluation.metric_runner import CHUNK, MetricRunner
from gan_dist.metrics.image.memorization import nearest_distances

SHOWN, BESIDE = 8, 5
METRIC = "memorised"


class NearestNeighbors(NamedTuple):
    """Of each sample, the place of the nearest training sample and the distance; and the closest pairs as a picture."""

    places: NDArray[np.int64]
    distances: NDArray[np.float64]
    picture: Image.Image


def find_nearest_neighbors(measuring: MetricRunner, a: EvaluationSamples, b: Ingest) -> NearestNeighbors:
    """The samples of A and their nearest neighbours among all of B.

    The picture has a row for each of the eight samples that are closest to the data: the sample, its nearest
    neighbour, and the four after it.

    Args:
        measuring: of the metric `memorised` alone.
    """
    real, fake = measuring.features(a.draw, b)
    distances, places = nearest_distances(fake, real)
    chosen = distances.argsort()[:SHOWN]
    far = torch.cdist(fake[chosen].double(), real.double())
    beside = far.argsort(1)[:, : min(BESIDE, len(real))].cpu()
    rows = []
    for number, near in zip(chosen.tolist(), beside, strict=True):
        # Samples are drawn by whole chunks, as they were for their features.
        start = number // CHUNK * CHUNK
        rows.append(a.draw(range(start, start + CHUNK))[number - start : number - start + 1].cpu())
        rows.append(b.rows(near.numpy())[0])
    picture = image.enlarge(image.make_grid(torch.cat(rows), 1 + beside.shape[1]))
    return NearestNeighbors(places.cpu().numpy(), distances.cpu().numpy(), picture)

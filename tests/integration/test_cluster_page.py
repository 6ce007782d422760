"""What `gan-dist help cluster` says on paper follows from the code."""

from __future__ import annotations

import re

import pytest
import torch

from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.source import rows_of_a_part
from gan_dist.distributed.gradient_reduction import GradientSum
from gan_dist.distributed.lanes import lanes_of
from gan_dist.networks.image.stylegan2 import Discriminator, Generator
from gan_dist.runs.unpacking import LARGEST_JSON
from tests.helpers import ROOT

PIXELS, IMAGES = 64, 10**9
BYTES_OF_A_SHARD = 316  # in a manifest


@pytest.fixture(scope="module")
def page() -> str:
    """The section, on one line."""
    text = (ROOT / "gan_dist" / "docs" / "cluster.md").read_text()
    return " ".join(text.partition("on paper\n")[2].partition("\n## ")[0].split())


def test_workers(page: str) -> None:
    large, middle, small = (len(lanes_of(batch)) for batch in (65_536, 4_096, 256))
    assert f"**{large:,} GPUs**, one of 4,096 to {middle}, and one of 256 to {small};" in page
    assert f"are {1000 // small} runs" in page


def test_bytes_and_messages_of_a_step(page: str) -> None:
    with torch.device("meta"):
        sums = [GradientSum(list(network(size=256, channels=3).parameters())) for network in (Discriminator, Generator)]
    sizes = [sum(p.numel() for bucket in one.buckets for p in bucket.parameters) * 4 / 1e6 for one in sums]
    assert f"{sizes[0]:.0f} MB for D and {sizes[1]:.0f} MB for G" in page
    counts = [len(one.buckets) for one in sums]
    assert f"{counts[0]} for D and {counts[1]} for G" in page and f"has {sum(counts) + 1} reductions" in page


def test_shards(page: str) -> None:
    rows = rows_of_a_part(ImageForm(PIXELS, 3))
    size = 3 * PIXELS**2
    assert f"{IMAGES * size / 1e12:.1f} TB in {-(-IMAGES // rows):,} shards of {rows:,} images" in page
    assert f"{6400 * size / 1e6:.0f} MB/s at 6,400 images" in page
    most = LARGEST_JSON // BYTES_OF_A_SHARD
    told = re.search(r"\*\*([\d,]+) shards\*\*: (\d+) million", page)
    assert told is not None
    assert int(told[1].replace(",", "")) == round(most, -3) and int(told[2]) == round(round(most, -3) * rows / 1e6)

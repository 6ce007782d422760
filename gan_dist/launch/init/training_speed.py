"""How long images and sentences take to train on, roughly: from what others measured on a GPU, and we on a CPU core.

`gan-dist submit --smoke` measures a machine; this only tells minutes from days before there is anything to measure.
"""

from __future__ import annotations

import math

# Seconds for 1000 images of so many pixels on one GPU, and the power of the pixels of a side with which they grow.
# stylegan2: an A100, 6.79 at 128 and 12.53 at 256 pixels (NVIDIA's stylegan3 repository, docs/configs.md).
# projected: about 10 at 256 pixels on four Titan RTX (issue 79 of its repository), halved for a newer card; most of the
# work is the pretrained network's, whatever the size. fastgan: some hours of a RTX 2080 for 400,000 images (its
# paper), halved. dcgan: its arithmetic at a tenth of a card's speed.
ON_GPU = {
    "stylegan2": (128, 6.8, 0.88),
    "projected": (256, 20.0, 0.3),
    "fastgan": (256, 20.0, 0.8),
    "dcgan": (64, 0.8, 2.0),
}
# r3gan: 4 days of eight L40 for 250 million images of 32 pixels (issue 18 of its repository) at 14.0 GFLOP an image.
R3GAN_SECONDS = 8 * 4 * 86400 / 250_000 / 14.0
R3GAN_GFLOP = {32: 14.0, 64: 26.1, 256: 57.6}
R3GAN_WIDTHS = {192: 0.08, 384: 0.27, 768: 1.0}  # width -> share of the work
LAUNCHES = 0.6  # seconds for 1000 images that a GPU takes for however small a network
# Seconds for 1000 images of 32 pixels on one CPU core with the widths that `init` writes for CPUs, measured on faces in
# colour; they grow with the area.
THREADS = 0.25  # what one more core adds beside those that have a worker of their own, of which there are four
WORKERS = 4
ON_CPU = {"dcgan": 2.8, "stylegan2": 27.0, "r3gan": 44.0, "projected": 54.0, "fastgan": 130.0}


def seconds_per_image(name: str, side: int, width: int, *, gpus: int, cpus: int) -> float:
    """Seconds for one image of a run.

    Args:
        name: the recipe.
        side: pixels of the shorter side.
        width: of r3gan.
        gpus: how many there are; 0 for a run on `cpus`.
    """
    if not gpus:
        cores = min(cpus, WORKERS) + THREADS * max(0, cpus - WORKERS)
        return ON_CPU[name] * math.pow(side / 32, 2) / cores / 1000
    if name == "r3gan":
        return max(LAUNCHES, R3GAN_SECONDS * R3GAN_WIDTHS[width] * _r3gan_gflop(side)) / gpus / 1000
    at, seconds, power = ON_GPU[name]
    return max(LAUNCHES, seconds * math.pow(side / at, power)) / gpus / 1000


# Of a step of likelihood of `lstm` with a batch of 64 and 20 tokens: one core does 34 to 46 GFLOP a second (hidden 128,
# 500 to 8,000 tokens in the vocabulary); an H200 makes 461 steps of a small network (`gan-dist help gpu`).
CORE_FLOPS = 35e9
GPU_FLOPS = 5e12
GPU_TOKEN = 1 / 461 / 20  # seconds for a place in a sentence, however small the network


def seconds_per_text_step(hidden: int, vocabulary: int, length: int, *, batch: int, gpus: int, cpus: int) -> float:
    """Seconds for one step of likelihood of an `lstm` with embeddings of half its hidden size.

    Args:
        vocabulary: tokens that are known.
        length: tokens of a sentence.
        batch: sentences of a step, over all workers.
        gpus: how many there are; 0 for a run on `cpus`.
    """
    parameters = 4 * hidden * (hidden + hidden // 2) + hidden * vocabulary
    work = 6 * batch * length * parameters  # forward, and twice as much backward
    if not gpus:
        return work / CORE_FLOPS / min(cpus, WORKERS)
    return max(GPU_TOKEN * length, work / gpus / GPU_FLOPS)


def _r3gan_gflop(side: int) -> float:
    """Of an image through one of the networks at full width: along a line of logarithms between known sizes."""
    known = sorted(R3GAN_GFLOP)
    low, high = (known[0], known[1]) if side <= known[1] else (known[1], known[2])
    power = math.log(R3GAN_GFLOP[high] / R3GAN_GFLOP[low]) / math.log(high / low)
    return R3GAN_GFLOP[low] * math.pow(side / low, power)

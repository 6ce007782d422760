"""What each network needs of a GPU at 64, 128 and 256 pixels: parameters, memory, and work for an image.

    python benchmarks/memory.py

Nothing is trained and no memory is taken: networks are built on torch's meta device at their default widths. `state` is
what training keeps whatever the batch: weights, gradients and Adam's two moments of both networks, and an average of
G, in float32. `image` is what one image adds: the tensors that the backward of a G step keeps, G and D together;
bfloat16 halves most of it. `work` counts the multiplications and additions of an iteration: a D step on real and
generated images and a G step, a backward as twice its forward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.execution.text_memory import KeptTensors
from gan_dist.generation.samples import map_tensors
from gan_dist.registry import lookup

NETWORKS = (
    ("dcgan", "dcgan"),
    ("sagan", "sagan"),
    ("biggan", "biggan"),
    ("stylegan2", "stylegan2"),
    ("fastgan", "fastgan"),
    ("r3gan", "r3gan"),
)
SIZES = (64, 128, 256)
BATCH = 4
FLOAT = 4


def build(kind: lookup.Kind, use: str, size: int) -> nn.Module:
    with torch.device("meta"):
        built: nn.Module = lookup.build_component(kind, use, {}, {"size": size, "channels": 3, "classes": 0})
    return built


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def needs(generator_use: str, discriminator_use: str, size: int) -> tuple[float, float, float, float, float]:
    """Millions of parameters of G and D, GiB of state, MiB and GFLOP for each image."""
    generator = build("generator", generator_use, size)
    discriminator = build("discriminator", discriminator_use, size)
    drawn: Any = generator.draw(BATCH, single_lane_rng(("memory",), BATCH, torch.device("cpu")))  # type: ignore[operator]
    noise = map_tensors(lambda leaf: leaf.to("meta"), drawn)
    kept = KeptTensors([generator, discriminator])
    with FlopCounterMode(display=False) as of_generator, kept.counted():
        made = generator(noise)
    with FlopCounterMode(display=False) as of_discriminator, kept.counted():
        discriminator(made)
    g, d = of_generator.get_total_flops() / BATCH, of_discriminator.get_total_flops() / BATCH
    # D's step: G once without a graph, D forward and backward on two images; G's step: both forward and backward.
    work = g + 2 * 3 * d + 3 * (g + d)
    count = parameters(generator), parameters(discriminator)
    state = (4 * sum(count) + count[0]) * FLOAT
    return count[0] / 1e6, count[1] / 1e6, state / 2**30, sum(kept.bytes.values()) / BATCH / 2**20, work / 1e9


if __name__ == "__main__":
    print("| network | pixels | G, million | D, million | state, GiB | image, MiB | work, GFLOP |")
    print("|---|---|---|---|---|---|---|")
    for names in NETWORKS:
        for size in SIZES:
            try:
                g, d, state, image, work = needs(*names, size)
            except ValueError:
                continue  # the network does not take this size
            print(f"| `{names[0]}` | {size} | {g:.1f} | {d:.1f} | {state:.2f} | {image:.0f} | {work:.1f} |", flush=True)

"""Small networks and batches of either modality, on which components are tried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_dist.contracts import Batch, Nets
from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.distributed.runtime import LocalRuntime, WrappedNetwork
from gan_dist.registry import lookup
from gan_dist.registry.build import KINDS
from gan_dist.registry.lookup import modalities_of
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.data import Modality
from gan_dist.spec.image_size import Size, SizeRule, sides

CPU = torch.device("cpu")
N, CLASSES = 4, 3
SIZE, WIDE, CHANNELS = 32, (32, 48), 3
LENGTH, VOCABULARY, BOS, EOS = 6, 12, 1, 2
FORMS: dict[Modality, str] = {
    "image": "[B, C, H, W]",
    "pair": "[B, C, H, W]",
    "unpaired": "[B, C, H, W]",
    "text": "[B, T] or [B, T, V]",
}


def component_modality(kind: lookup.Kind, use: str, roots: Iterable[str | Path]) -> Modality:
    """What a component is for: text where it takes the length of sentences or says so, pairs where it must know the
    channels of an input, else images."""
    target = lookup.resolve_target(kind, use)
    takes = lookup.signature(target, tuple(roots))
    says: Modality | None = read_constant(target, "modality", tuple(roots))
    if says in ("text", "pair", "unpaired"):
        return "pair" if says == "unpaired" else says  # two domains are served as pairs are
    fit = modalities_of(takes, kind)
    return "image" if "image" in fit else fit[0]


def sizes_to_try(kind: lookup.Kind, use: str, roots: Iterable[str | Path]) -> list[Size]:
    """A square, and of a network whose class says `sizes` a wide image too: the nearest ones that it takes.

    Raises:
        ValueError: what the class says of sizes is none of their rules.
    """
    says = read_constant(lookup.resolve_target(kind, use), "sizes", tuple(roots))
    return [SIZE] if says is None else [SizeRule.of(says).nearest(size) for size in (SIZE, WIDE)]


def sample_shape(modality: Modality, size: Size = SIZE) -> tuple[int, ...]:
    """Of a batch of samples: [B, C, H, W], or [B, T]."""
    return (N, LENGTH) if modality == "text" else (N, CHANNELS, *sides(size))


def data_arguments(modality: Modality, classes: int, size: Size = SIZE) -> dict[str, Any]:
    """What the data say to a network, by argument."""
    if modality != "text":
        given = {"input_channels": CHANNELS} if modality == "pair" else {}
        return {"size": size, "channels": CHANNELS, "classes": classes, **given}
    words = (*SPECIAL, *(f"word{number}" for number in range(VOCABULARY - len(SPECIAL))))
    shape = {"length": LENGTH, "vocabulary": VOCABULARY, "bos": BOS, "eos": EOS, "classes": classes}
    return shape | {"codec": Codec(LENGTH, Splitting("blanks"), words)}


def bench_samples(modality: Modality, size: Size = SIZE) -> Tensor:
    """What a discriminator sees of real data: pixels in [-1, 1], or token ids with ends in several places."""
    if modality != "text":
        return torch.rand(sample_shape(modality, size)).mul_(2).sub_(1)
    tokens = torch.randint(EOS + 1, VOCABULARY, (N, LENGTH))
    ends = torch.arange(N) % (LENGTH + 1)
    places = torch.arange(LENGTH)
    tokens = tokens.masked_fill(places == ends[:, None], EOS)
    return tokens.masked_fill(places > ends[:, None], 0)


def conditions(modality: Modality, classes: int, size: Size = SIZE) -> Tensor | None:
    """What the samples are to be: classes, or the pictures that those of pairs are made of."""
    if modality == "pair":
        return bench_samples("pair", size)
    return torch.arange(N) % classes if classes else None


def differentiable(modality: Modality, size: Size = SIZE) -> Tensor:
    """The same as numbers that a gradient can be taken by; of text, rows of the vocabulary [B, T, V]."""
    found = bench_samples(modality, size)
    rows = found if modality != "text" else torch.nn.functional.one_hot(found, VOCABULARY).float()
    return rows.requires_grad_()


def make_bench(
    modality: Modality,
    train: tuple[str, ...],
    real: bool,
    per_token: bool = False,
    tried_on: Mapping[str, Any] | None = None,
) -> tuple[Nets, Batch]:
    """A generator, a discriminator and a batch for a phase that trains some of them.

    Args:
        per_token: whether the discriminator of text gives a logit for each token.
        tried_on: networks that an objective names for it.
    """
    torch.manual_seed(0)
    run = LocalRuntime(CPU, lambda event: None, lambda: False)
    written = bench_networks(modality, per_token=per_token, tried_on=tried_on)
    classes = classes_of(written)
    provided = data_arguments(modality, classes)
    modules = {name: _built(KINDS[name], one, provided) for name, one in written.items()}
    wired: dict[str, WrappedNetwork] = {name: run.wire(module, False, nullcontext) for name, module in modules.items()}
    for name, module in modules.items():
        module.requires_grad_(name in train)

    def rng(purpose: str) -> Rng:
        return single_lane_rng(("check", purpose), N, CPU)

    def fakes(batch: Batch) -> Tensor:
        with torch.set_grad_enabled("generator" in train):
            made: Tensor = wired["generator"](batch.noise, batch.cond)
            return made

    noise = modules["generator"].draw(N, rng("noise"))
    cond = conditions(modality, classes)
    return Nets(wired), Batch(N, bench_samples(modality) if real else None, cond, noise, rng, fakes)


def _built(kind: lookup.Kind, written: dict[str, Any], provided: dict[str, Any]) -> Any:
    args = {name: value for name, value in written.items() if name != "use"}
    return lookup.build_component(kind, written["use"], args, provided)


def bench_networks(
    modality: Modality, *, per_token: bool = False, tried_on: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The networks that objectives and penalties are tried on, as a job writes them.

    Args:
        per_token: whether the discriminator of text gives a logit for each token.
        tried_on: networks that an objective names for it, in place of these.
    """
    if modality == "text":
        judge = {"use": "textcnn", "widths": [1, 2], "filters": [4, 4]}
        return {
            "generator": {"use": "lstm", "hidden": 8},
            "discriminator": {"use": "textlstm", "hidden": 8} if per_token else judge,
        }
    usual = {
        "generator": {"use": "stylegan2", "z": 4, "w": 4, "mapping": 1, "capacity": SIZE},
        "discriminator": {"use": "dcgan", "width": 4, "norm": "none"},
    }
    return {**usual, **(tried_on or {})}


def classes_of(networks: Mapping[str, Mapping[str, Any]]) -> int:
    """How many classes the samples have: some where a discriminator tells them apart."""
    return CLASSES if networks["discriminator"].get("auxiliary", "none") != "none" else 0

"""What is frozen keeps its weights to the bit, whatever steps the network, and resumes exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gan_dist.data.facts import ImageFacts
from gan_dist.errors import UsageError
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image import biggan, dcgan, r3gan, sagan, sngan, stylegan2
from gan_dist.registry.freezing import freeze
from tests.helpers import assert_same_state, small, stop_at, train

STYLE = {"use": "stylegan2", "mapping": 2, "capacity": 64, "most": 8}
JOB: dict[str, Any] = {
    "data": {"source": "digits", "size": 8, "labels": "source"},
    "generator": {**STYLE, "z": 4, "w": 4},
    "discriminator": {**STYLE, "group": 2},
    "penalties": [{"use": "r1", "gamma": 0.1}],
    "optimizer": {"lr": 0.01, "weight_decay": 0.1},
}


def frozen(network: nn.Module) -> set[str]:
    return {name for name, one in network.named_parameters() if not one.requires_grad}


def test_blocks_next_to_the_image() -> None:
    judge = stylegan2.Discriminator(size=32, channels=3, capacity=64, most=8)
    freeze(judge, 2, "freeze.discriminator")
    beside = {"first.weight", "first.bias"}
    inside = {f"blocks.{n}.{part}" for n in (0, 1) for part in ("body.0.weight", "body.0.bias", "aside.weight")}
    assert beside | inside < frozen(judge)
    assert {name.split(".")[0] + name.split(".")[1] for name in frozen(judge) - beside} == {"blocks0", "blocks1"}
    freeze(judge, 4, "freeze.discriminator")
    assert not any(name.startswith(("dense", "head")) for name in frozen(judge)) and "last.weight" in frozen(judge)


@pytest.mark.parametrize(
    ("judge", "count"),
    [
        (dcgan.Discriminator(size=32, channels=1, width=4), 3),
        (r3gan.Discriminator(size=32, channels=1, width=32, wide=8, blocks=1), 4),
        (sngan.Discriminator(size=32, channels=1, width=4), 4),
        (sagan.Discriminator(size=32, channels=1, width=8), 4),
        (biggan.Discriminator(size=32, channels=1, width=8), 4),
    ],
    ids=["dcgan", "r3gan", "sngan", "sagan", "biggan"],
)
def test_every_block_is_counted_once(judge: Any, count: int) -> None:
    blocks = judge.image_blocks()
    parts = [id(one) for block in blocks for part in block for one in part.parameters()]
    assert len(blocks) == count and len(parts) == len(set(parts))
    freeze(judge, count, "freeze.discriminator")
    assert len(frozen(judge)) == len(parts)
    with pytest.raises(UsageError, match=f"freeze.discriminator: {count + 1} is more than its {count} blocks"):
        freeze(judge, count + 1, "freeze.discriminator")


def test_parts_by_name() -> None:
    generator = stylegan2.Generator(size=16, channels=3, classes=2, capacity=64, most=8, mapping=2, z=4, w=4)
    freeze(generator, ["mapping", "layers.0"], "freeze.generator")
    assert {name.split(".")[0] for name in frozen(generator)} == {"map", "layers"}
    assert {name for name in frozen(generator) if name.startswith("layers")} == {
        f"layers.0.{part}" for part in ("weight", "bias", "strength", "style.weight", "style.bias")
    }


def problems(**changes: Any) -> str:
    return "; ".join(network_problems(small(**{**JOB, **changes}), FACTS))


FACTS = ImageFacts(count=1797, checksum="", size=8, channels=1, classes=tuple("0123456789"), class_counts=(179,) * 10)


def test_what_cannot_be_frozen_is_said_before_anything_starts() -> None:
    assert problems(freeze={"discriminator": 1, "generator": "mapping"}) == ""
    assert "freeze.generator: the network has no part 'mappin' to train; did you mean 'mapping'" in problems(
        freeze={"generator": "mappin"}
    )
    said = problems(freeze={"generator": 2})
    assert "stylegan2.Generator has no blocks that are counted from the image" in said and "mapping, layers" in said
    everything = ["first", "blocks", "last", "dense", "head", "map"]
    assert "nothing of the network would be trained" in problems(freeze={"discriminator": everything})
    with pytest.raises(ValueError, match=r"the job has no network 'discriminatr'; did you mean 'discriminator'"):
        small(freeze={"discriminatr": 2})
    with pytest.raises(ValueError, match="freeze"):
        small(freeze={"discriminator": 0})


def test_frozen_parts_stay_and_all_else_resumes_exactly(tmp_path: Path) -> None:
    job = small(**JOB, freeze={"discriminator": 1, "generator": "mapping"}, until="5 steps", ema={"half_life": 8})
    begun = train(small(**{**JOB, "optimizer": {"lr": 0}}, until="1 steps"), tmp_path / "begun").newest
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(3))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    for network, kept in (("discriminator", ("first.", "blocks.0.")), ("generator", ("map.",))):
        before, after = begun.tensors(network), whole.newest.tensors(network)
        for name, tensor in after.items():
            assert torch.equal(tensor, before[name]) == name.startswith(kept), name
    moments = whole.newest.training()["optimizers"]["discriminator"]["state"]
    trained = [name for name in whole.newest.tensors("discriminator") if not name.startswith(("first.", "blocks.0."))]
    assert len(moments) == len(trained)

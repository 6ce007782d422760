"""pix2pix: sizes as published, patches as wide as the paper's, and noise that is drawn and not hidden."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.networks.image.pix2pix import Discriminator, Generator

SMALL: dict[str, Any] = {"channels": 1, "input_channels": 2, "width": 4}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_authors_code() -> None:
    """54.414 M and 2.769 M with batch normalisation at 256 pixels; ours has a bias more where no normalisation follows,
    in the first and the innermost convolution of G."""
    given: dict[str, Any] = {"size": 256, "channels": 3, "input_channels": 3, "norm": "batch"}
    assert count(Generator(**given)) == 54_413_955 + 64 + 512
    assert count(Discriminator(**given)) == 2_768_705


@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_any_power_of_two(size: int, norm: Any) -> None:
    generator = Generator(size=size, **SMALL, norm=norm)
    given = torch.rand(3, 2, size, size) * 2 - 1
    made = generator(generator.draw(3, single_lane_rng(("t",), 3, torch.device("cpu"))), given)
    assert made.shape == (3, 1, size, size) and made.abs().max() < 1
    logits = Discriminator(size=size, **SMALL, norm=norm, layers=2)(made, given)
    assert logits.shape == (3, size // 4 - 2, size // 4 - 2)


@pytest.mark.parametrize(("layers", "wide"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_judges_a_patch(layers: int, wide: int) -> None:
    """Receptive fields of 16 and 70 pixels, as in the paper, by the gradient of one logit."""
    judge = Discriminator(size=128, channels=1, input_channels=1, width=4, layers=layers, norm="none").double()
    x = torch.rand(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = judge(x, torch.zeros_like(x))
    (gradient,) = torch.autograd.grad(logits[0, logits.shape[1] // 2, logits.shape[2] // 2], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == wide


def test_noise_leaves_out_half_and_keeps_the_mean() -> None:
    generator = Generator(size=32, channels=1, input_channels=1, width=16)
    noise = generator.draw(64, single_lane_rng(("t",), 64, torch.device("cpu")))
    assert [tuple(one.shape[1:]) for one in noise] == [(128, 2, 2), (64, 4, 4), (32, 8, 8)]
    assert all(set(one.unique().tolist()) == {0.0, 2.0} for one in noise)
    assert abs(torch.cat([one.flatten() for one in noise]).mean() - 1) < 0.01


def test_other_noise_another_picture_also_in_evaluation() -> None:
    torch.manual_seed(0)
    generator = Generator(size=16, **SMALL).eval()
    given = torch.rand(2, 2, 16, 16)
    one, other = (generator.draw(2, single_lane_rng((key,), 2, torch.device("cpu"))) for key in ("a", "b"))
    assert not torch.allclose(generator(one, given), generator(other, given))
    assert torch.equal(generator(one, given), generator(one, given))
    sure = Generator(size=16, **SMALL, dropout=0.0)
    assert sure.draw(2, single_lane_rng(("a",), 2, torch.device("cpu"))) == []


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"pix2pix makes images of .* multiples of 16, not 40; data.size: 32 is nearest"
    ):
        Generator(size=40, **SMALL)
    with pytest.raises(ValueError, match=r"dropout: 1.0; at least 0 and below 1"):
        Generator(size=16, **SMALL, dropout=1.0)
    with pytest.raises(ValueError, match="layers: 3 leave 2 of 16 pixels; 1 up to 4 pixels"):
        Discriminator(size=16, **SMALL)


JOB = """
name: pairs
data: {{modality: {modality}, source: nowhere, size: 16}}
generator: {{use: {generator}}}
discriminator: {{use: {generator}}}
objective: hinge
batch: 4
until: 4 steps
"""


@pytest.mark.parametrize(
    ("modality", "generator", "said"),
    [
        ("pair", "dcgan", "'dcgan' is made for images, but data.modality is pair"),
        ("pair", "lstm", "'lstm' is made for text, but data.modality is pair"),
        ("image", "pix2pix", "'pix2pix' is made for pairs of images, but data.modality is image"),
    ],
)
def test_networks_of_another_modality_are_refused(tmp_path: Any, modality: str, generator: str, said: str) -> None:
    (tmp_path / "job.yaml").write_text(JOB.format(modality=modality, generator=generator))
    with pytest.raises(JobError, match=said):
        load_job(tmp_path / "job.yaml")

"""The autoencoder: parameters as published, the library's own numbers, shapes, and its objective's formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gan_dist.networks.image.autoencoder import Autoencoder, KlAutoencoder, drawn_latent
from gan_dist.objectives.autoencoder import Autoencoding, divergence
from tests.objectives.test_unpaired import batch_of, nets_of, value

SMALL: dict[str, Any] = {"size": 16, "channels": 2, "input_channels": 2, "width": 8}


def test_parameters_are_those_of_stable_diffusions_autoencoder() -> None:
    """83,653,863, as its published weights have."""
    with torch.device("meta"):
        network = KlAutoencoder(channels=3, latent=4, widths=(128, 256, 512, 512), layers=2, groups=32)
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_653_863


@pytest.mark.parametrize("quant", [False, True])
def test_it_computes_what_the_library_does(quant: bool) -> None:
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers")
    config: dict[str, Any] = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    config |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    config |= {"use_quant_conv": quant, "use_post_quant_conv": quant}
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(in_channels=3, out_channels=3, latent_channels=2, **config).double().eval()
    ours = KlAutoencoder(channels=3, latent=2, widths=(8, 16), layers=1, groups=4, quant=quant).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        known = theirs.encode(x).latent_dist
        torch.testing.assert_close(ours.encode(x), torch.cat([known.mean, known.logvar], 1), rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.decode(known.mean), theirs.decode(known.mean).sample, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "halvings"), [(16, 2), (24, 3), ((16, 32), 1)])
def test_shapes(size: Any, halvings: int) -> None:
    high, wide = (size, size) if isinstance(size, int) else size
    network = Autoencoder(**SMALL | {"size": size}, halvings=halvings, latent=3)
    x = torch.rand(2, 2, high, wide)
    known = network.encode(x)
    assert known.shape == (2, 6, high >> halvings, wide >> halvings)
    assert network(torch.randn(2, *network.map_shape), x).shape == x.shape
    assert network(torch.randn(2, *network.map_shape)).shape == x.shape


@pytest.mark.parametrize(("width", "groups"), [(8, 2), (16, 4), (24, 6), (128, 32), (136, 17), (3, 1)])
def test_groups_have_four_channels_or_more(width: int, groups: int) -> None:
    with torch.device("meta"):
        network = Autoencoder(**SMALL | {"width": width})
    assert network.encoder.conv_norm_out.num_groups == groups


def test_a_draw_is_of_the_normal_distribution_that_is_known() -> None:
    known = torch.cat(
        [torch.full((4000, 1, 2, 2), 3.0), torch.full((4000, 1, 2, 2), 2 * torch.log(torch.tensor(0.5)))], 1
    )
    drawn = drawn_latent(known, torch.randn(4000, 1, 2, 2, generator=torch.Generator().manual_seed(0)))
    assert float(drawn.mean()) == pytest.approx(3, abs=0.02) and float(drawn.std()) == pytest.approx(0.5, abs=0.01)


def test_the_divergence_is_that_of_torch() -> None:
    known = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    mean, log_variance = known.chunk(2, 1)
    there = torch.distributions.Normal(mean, (log_variance / 2).exp())
    here = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    torch.testing.assert_close(divergence(known), torch.distributions.kl_divergence(there, here))


class Halved(torch.nn.Module):
    """Knows half of a picture for certain, and decodes three times what it is given."""

    def draw(self, n: int, rng: Any) -> Tensor:
        return torch.zeros(n, 2, 4, 4, dtype=torch.float64)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x / 2, torch.full_like(x, -30.0)], 1)

    def decode(self, z: Tensor) -> Tensor:
        return 3 * z

    def forward(self, noise: Tensor, cond: Tensor) -> Tensor:
        return self.decode(drawn_latent(self.encode(cond), noise))


class Mean(torch.nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return x.mean((1, 2, 3))


def test_the_objective_is_its_formula() -> None:
    nets = nets_of({"generator": Halved(), "discriminator": Mean()})
    batch = batch_of(nets)
    batch.noise = torch.zeros(3, 2, 4, 4, dtype=torch.float64)
    given, real = batch.cond, batch.real
    assert given is not None and real is not None
    terms = Autoencoding(kl=0.5, adversarial=0.25).terms("G", nets, batch)
    assert value(terms["reconstruction"]) == pytest.approx((1.5 * given - real).abs().mean().item(), rel=1e-5)
    assert value(terms["adversarial"]) == pytest.approx(-0.25 * 1.5 * given.mean().item(), rel=1e-5)
    kl = ((given / 2) ** 2 + torch.tensor(-30.0).exp() - 1 + 30) / 2
    assert value(terms["divergence"]) == pytest.approx(0.5 * kl.mean().item())
    judged = Autoencoding().terms("D", nets, batch)
    right, wrong = real.mean((1, 2, 3)), 1.5 * given.mean((1, 2, 3))
    hinge = (1 - right).clamp_min(0) + (1 + wrong).clamp_min(0)
    assert value(judged["adversarial"]) == pytest.approx(hinge.mean().item(), rel=1e-5)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="halvings: 4 do not leave whole maps of at least 2 of 16 pixels"):
        Autoencoder(**SMALL, halvings=4)
    with pytest.raises(ValueError, match="groups: 6 does not divide 8 channels"):
        KlAutoencoder(channels=1, latent=2, widths=(8, 12), layers=1, groups=6)
    with pytest.raises(ValueError, match=r"an autoencoder makes 1 channels of 2; set data\.inputs: same"):
        Autoencoder(**SMALL | {"input_channels": 1})
    with pytest.raises(ValueError, match="kl must be at least 0, not -1"):
        Autoencoding(kl=-1)

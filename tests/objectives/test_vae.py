"""The variational autoencoder: its bound against torch's own distributions, its gradient, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from gan_dist.contracts import Batch, Nets
from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.execution.preflight import network_problems
from gan_dist.networks.image.dcgan import Generator
from gan_dist.networks.image.vae import Encoder, reparametrize
from gan_dist.objectives.vae import Vae, gaussian_kl
from tests.helpers import rows_of, small

CPU = torch.device("cpu")


class Known(nn.Module):
    """An encoder that says what it holds."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = nn.Parameter(known)

    def forward(self, x: torch.Tensor, cond: Any) -> torch.Tensor:
        return self.known


class Linear(nn.Module):
    """A decoder without hidden corners."""

    def __init__(self, z: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(z, 4, dtype=torch.float64))

    def forward(self, noise: torch.Tensor, cond: Any) -> torch.Tensor:
        return (noise @ self.weight).view(-1, 1, 2, 2)


def lane(purpose: str) -> Rng:
    return single_lane_rng((purpose,), 5, CPU, torch.float64)


def scene(z: int = 3) -> tuple[Nets, Batch, Linear, Known]:
    torch.manual_seed(0)
    decoder, encoder = Linear(z), Known(torch.randn(5, 2 * z, dtype=torch.float64))
    nets: Any = Nets({"generator": decoder, "encoder": encoder})  # type: ignore[dict-item]
    real = torch.rand(5, 1, 2, 2, dtype=torch.float64) * 2 - 1
    return nets, Batch(5, real, None, None, lane, lambda batch: torch.empty(0)), decoder, encoder


def test_the_divergence_is_that_of_torch() -> None:
    known = torch.randn(7, 8, dtype=torch.float64)
    mean, log_variance = known.chunk(2, 1)
    q = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    assert torch.allclose(gaussian_kl(known), kl_divergence(q, p), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_the_bound_is_that_of_its_distributions(sigma: float) -> None:
    nets, batch, decoder, encoder = scene()
    terms = Vae(sigma=sigma, beta=2.0).terms("VAE", nets, batch)
    mean, log_variance = encoder.known.chunk(2, 1)
    noise = mean + (log_variance / 2).exp() * lane("latent").normal(3)
    likelihood = Normal(decoder(noise, None), sigma).log_prob(batch.real).flatten(1).sum(1)
    value = {name: (term.total / term.weight).item() for name, term in terms.items()}
    assert value["reconstruction"] == pytest.approx(-likelihood.mean().item(), abs=1e-9)
    assert value["divergence"] == pytest.approx(2 * gaussian_kl(encoder.known).mean().item(), abs=1e-9)
    assert value["elbo"] == pytest.approx((likelihood - gaussian_kl(encoder.known)).mean().item(), abs=1e-4)
    assert [name for name, term in terms.items() if term.watch] == ["elbo", "squared_error"]


def test_its_gradient_is_that_of_finite_differences() -> None:
    nets, batch, decoder, encoder = scene()
    objective = Vae(sigma=0.5, beta=0.3)

    def loss(weight: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        decoder.weight, encoder.known = nn.Parameter(weight), nn.Parameter(known)
        del decoder._parameters["weight"], encoder._parameters["known"]
        decoder.weight, encoder.known = weight, known
        return sum(t.total / t.weight for t in objective.terms("VAE", nets, batch).values() if not t.watch)

    weight, known = decoder.weight.detach().requires_grad_(), encoder.known.detach().requires_grad_()
    assert torch.autograd.gradcheck(loss, (weight, known))


def test_noise_is_drawn_where_the_encoder_says() -> None:
    known = torch.tensor([3.0, 3.0, 2 * math.log(0.5), 2 * math.log(0.5)]).expand(20_000, 4)
    found = reparametrize(known, single_lane_rng(("z",), 20_000, CPU))
    assert found.mean() == pytest.approx(3, abs=0.02) and found.std() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("classes", [0, 3])
def test_shapes(size: int, classes: int) -> None:
    encoder = Encoder(size=size, channels=2, classes=classes, z=5, width=2)
    cond = torch.arange(3) if classes else None
    assert encoder(torch.randn(3, 2, size, size), cond).shape == (3, 10)


def test_noise_of_two_lengths_is_refused() -> None:
    networks = {"generator": Generator(size=16, channels=1, z=7), "encoder": Encoder(size=16, channels=1)}
    (told,) = Vae().problems(networks)
    assert told == "the generator's noise has 7 dimensions, the encoder's 64; set both z alike"
    spec = small(
        data={"source": "digits", "size": 16},
        generator={"use": "dcgan", "width": 2, "z": 4},
        discriminator=None,
        networks={"encoder": {"use": "vae", "width": 2, "z": 5}},
        objective="vae",
    )
    (said,) = network_problems(spec, rows_of(spec).facts)
    assert said == "objective: vae: the generator's noise has 4 dimensions, the encoder's 5; set both z alike"
    styles = spec.model_copy(update={"generator": small(generator={"use": "stylegan2", "capacity": 16}).generator})
    (said,) = network_problems(styles, rows_of(spec).facts)
    assert said.startswith("objective: vae: the generator's noise is not one row of numbers a sample")
    without = spec.model_copy(update={"networks": {}})
    assert network_problems(without, rows_of(spec).facts) == ["objective: vae trains 'encoder', which the job has not"]
    with pytest.raises(ValueError, match="sigma must be above 0"):
        Vae(sigma=0)

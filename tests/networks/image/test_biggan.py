"""BigGAN: the authors' sizes, chunks of noise that reach their block, truncation, attention with pooling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gan_dist.networks.image.biggan import Discriminator, Generator, truncated_normal
from gan_dist.networks.image.sagan import SelfAttention
from gan_dist.networks.layers.spectral_norm import SpectralConv, SpectralLinear, normalize_spectral


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "width", "z", "shared", "classes", "generator", "discriminator"),
    [
        pytest.param(128, 96, 120, 128, 1000, 70_433_988, 87_982_370, marks=pytest.mark.slow),
        pytest.param(64, 32, 100, 16, 5, 7_843_028, 4_891_746, marks=pytest.mark.slow),
        (32, 64, 80, 128, 10, 4_287_235, 4_207_361),
    ],
)
def test_parameters_are_those_of_the_authors_code(
    size: int, width: int, z: int, shared: int, classes: int, generator: int, discriminator: int
) -> None:
    """Counted in networks that the authors' code built (with hierarchical noise and a shared embedding)."""
    given: dict[str, Any] = {"size": size, "channels": 3, "classes": classes, "width": width}
    with torch.device("meta"):
        judge = Discriminator(**given)
        maker = Generator(**given, z=z, shared=shared)
    assert (count(maker), count(judge)) == (generator, discriminator)


@pytest.mark.parametrize(("size", "z"), [(32, 8), (64, 10), (128, 12)])
@pytest.mark.parametrize("classes", [0, 3])
def test_shapes(size: int, z: int, classes: int) -> None:
    generator = Generator(size=size, channels=1, classes=classes, z=z, width=1, shared=4)
    cond = torch.arange(2) if classes else None
    made = generator(torch.randn(2, z), cond)
    assert made.shape == (2, 1, size, size) and made.abs().max() <= 1
    assert Discriminator(size=size, channels=1, classes=classes, width=1)(made, cond).shape == (2,)


def test_each_chunk_of_noise_reaches_its_block_and_those_after() -> None:
    torch.manual_seed(0)
    generator = Generator(size=32, channels=1, z=8, width=2).eval()
    noise = torch.randn(1, 8)
    outputs: list[torch.Tensor] = []
    for block in generator.blocks:
        block.register_forward_hook(lambda module, given, made: outputs.append(made.detach()))
    for chunk, expected in enumerate([[True] * 3, [True] * 3, [False, True, True], [False, False, True]]):
        outputs.clear()
        other = noise.clone()
        other[:, 2 * chunk : 2 * chunk + 2] += 1
        generator(noise), generator(other)
        moved = [not torch.equal(before, after) for before, after in zip(outputs[:3], outputs[3:], strict=True)]
        assert moved == expected, chunk


@pytest.mark.parametrize("bound", [0.04, 0.5, 1.0, 2.0])
def test_truncated_noise_is_of_the_truncated_normal(bound: float) -> None:
    """Moments of the truncated normal distribution in closed form; the order of samples stays."""
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = truncated_normal(noise, bound)
    density = torch.distributions.Normal(0.0, 1.0)
    inside = 2 * density.cdf(torch.tensor(bound, dtype=torch.float64)) - 1
    variance = 1 - 2 * bound * density.log_prob(torch.tensor(bound, dtype=torch.float64)).exp() / inside
    assert found.abs().max() <= bound and found.argsort().equal(noise.argsort())
    assert abs(found.mean()) < 0.01 * bound and found.var() == pytest.approx(variance.item(), rel=0.01)


def test_truncation_is_for_samples_and_its_end_is_the_mode() -> None:
    generator = Generator(size=32, channels=1, z=8, width=1, truncation=0.0)
    noise = torch.randn(2, 8)
    generator.eval()
    assert torch.equal(generator(noise), generator(torch.zeros(2, 8)))
    generator.truncation = 1.0
    assert not torch.equal(generator(noise), generator(torch.zeros(2, 8)))
    extreme = truncated_normal(torch.tensor([-9.0, 9.0]), 0.5)
    assert extreme.tolist() == pytest.approx([-0.5, 0.5], abs=1e-6)


def test_pooled_attention_equals_a_slow_one() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(8, values=2, pooled=True).double()
    torch.nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)

    def through(conv: SpectralConv, maps: torch.Tensor) -> torch.Tensor:
        return F.conv2d(maps, normalize_spectral(conv.weight, conv.u, conv.v))

    f, g, h = (through(conv, x) for conv in (layer.f, layer.g, layer.h))
    assert (f.shape[1], h.shape[1]) == (1, 4)
    expected = torch.empty(2, 4, 4, 4, dtype=torch.float64)
    for n in range(2):
        keys = [f[n, :, i : i + 2, j : j + 2].amax((1, 2)) for i in (0, 2) for j in (0, 2)]
        values = [h[n, :, i : i + 2, j : j + 2].amax((1, 2)) for i in (0, 2) for j in (0, 2)]
        for row in range(4):
            for column in range(4):
                scores = torch.stack([key @ g[n, :, row, column] for key in keys]).softmax(0)
                expected[n, :, row, column] = sum(s * v for s, v in zip(scores, values, strict=True))
    assert torch.allclose(layer(x), x + 0.7 * through(layer.v, expected), atol=1e-12)


def test_weights_begin_orthogonal_and_their_norms_are_known() -> None:
    judge = Discriminator(size=32, channels=1, classes=3, width=2)
    layers = [module for module in judge.modules() if isinstance(module, (SpectralConv, SpectralLinear))]
    assert layers
    for layer in layers:
        matrix = layer.weight.detach().flatten(1)
        small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        assert torch.allclose(small, torch.eye(len(small)), atol=1e-5)
        weight = normalize_spectral(layer.weight, layer.u, layer.v).detach().flatten(1)
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-4)


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match=r"biggan makes images of 32 to 256 pixels, .*, not 16; data.size: 32 is"):
        Generator(size=16, channels=1)
    with pytest.raises(ValueError, match="biggan cuts z in 4 chunks at 32 pixels, which 10 is no multiple of"):
        Generator(size=32, channels=1, z=10)
    with pytest.raises(ValueError, match=r"truncation must be in \[0, 1\], not 2"):
        Generator(size=32, channels=1, z=8, truncation=2)

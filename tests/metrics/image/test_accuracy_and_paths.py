"""CAS and path lengths against closed forms, and of runs as `evaluate` asks for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_dist.distributed.randomness import Rng, single_lane_rng
from gan_dist.errors import UsageError
from gan_dist.metrics.image.classification_accuracy import ClassificationAccuracy
from gan_dist.metrics.image.perceptual_path import PerceptualPathLength, slerp
from gan_dist.metrics.statistics import LabelledRows
from gan_dist.registry.metric_names import metric_value_names
from gan_dist.spec.job import MetricSpec

CPU = torch.device("cpu")


def labelled(count: int, share_right: float, seed: int = 0) -> LabelledRows:
    """Images of two classes, dark and bright, of which this share has the label that is right."""
    generator = torch.Generator().manual_seed(seed)
    bright = torch.arange(count) % 2
    rows = torch.rand(count, 1, 8, 8, generator=generator) * 0.6 - 0.8 + bright[:, None, None, None]
    wrong = torch.arange(count) >= share_right * count
    return LabelledRows(rows, torch.where(wrong, 1 - bright, bright))


def cas(fake: LabelledRows, **args: Any) -> dict[str, float]:
    metric = ClassificationAccuracy(class_counts=[100, 100], steps=20, seeds=1, **args)
    return metric.compare(labelled(150, 1.0, 1), fake)


@pytest.mark.slow
def test_accuracy_is_what_the_labels_teach() -> None:
    """Right labels teach all, swapped ones the contrary, and those of chance nothing."""
    assert cas(labelled(200, 1.0)) == {"cas": 1.0, "cas_real": 1.0}
    swapped = cas(labelled(200, 0.0))
    assert swapped == {"cas": 0.0, "cas_real": 1.0}


def test_the_same_images_give_the_same_accuracy() -> None:
    """Of real images in place of generated ones it is that of real ones, whatever numbers were drawn before."""
    real = labelled(200, 0.8, seed=3)
    kept = np.setdiff1d(np.arange(200), np.random.RandomState(2015).permutation(200)[:20])
    metric = ClassificationAccuracy(class_counts=[100, 100], steps=6, seeds=2)
    torch.manual_seed(5)
    found = metric.compare(real, LabelledRows(*real.at(kept)))
    assert found["cas"] == found["cas_real"]


def test_accuracy_needs_classes() -> None:
    with pytest.raises(ValueError, match="'cas' is of images of known class, and the data have none"):
        ClassificationAccuracy(class_counts=[])
    with pytest.raises(ValueError, match="steps and seeds must be at least 1, not 0 and 3"):
        ClassificationAccuracy(class_counts=[5, 5], steps=0)


class Linear(nn.Module):
    """w = M z, picture = A w, in float64, so that every length is known."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_style = nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
        self.to_picture = nn.Parameter(torch.randn(16, 5, dtype=torch.float64))

    def draw(self, n: int, rng: Rng) -> dict[str, Tensor]:
        return {"z": rng.normal(3), "pixels": rng.normal(16)}

    def styles(self, noise: dict[str, Tensor], cond: Tensor | None = None) -> Tensor:
        return (noise["z"] @ self.to_style.T)[:, None]

    def synthesis(self, styles: Tensor, noise: dict[str, Tensor]) -> Tensor:
        return (styles[:, 0] @ self.to_picture.T + noise["pixels"]).view(-1, 1, 4, 4)

    def forward(self, noise: dict[str, Tensor], cond: Tensor | None = None) -> Tensor:
        return self.synthesis(self.styles(noise, cond), noise)


class Exact(nn.Module):
    """Pixels as numbers about 0, in the digits that they have."""

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - 127.5) / 127.5


def rng(n: int = 50) -> Rng:
    return single_lane_rng(("paths",), n, CPU, torch.float64)


@pytest.mark.parametrize("at", ["end", "full"])
@torch.no_grad()
def test_of_a_linear_generator_it_is_the_length_of_its_matrix(at: Any) -> None:
    """In w a picture changes by A (w1 - w0) for the whole way, wherever one stands; the noise of pixels drops out."""
    made, drawn = Linear(), rng()
    z, other = (made.draw(50, drawn)["z"] for _ in range(2))
    wanted = ((other - z) @ made.to_style.T @ made.to_picture.T).square().sum(1)
    found = PerceptualPathLength(at=at).lengths(made, Exact(), rng(), None)
    assert torch.allclose(found, wanted, rtol=1e-6) and wanted.std() > 0


class Bare(Linear):
    """Its noise is z alone, as that of `gat`."""

    def draw(self, n: int, rng: Rng) -> Any:
        return rng.normal(3)

    def styles(self, noise: Any, cond: Tensor | None = None) -> Tensor:
        return super().styles({"z": noise}, cond)

    def synthesis(self, styles: Tensor, noise: Any) -> Tensor:
        return super().synthesis(styles, {"pixels": noise.new_zeros(16)})


@torch.no_grad()
def test_in_w_noise_may_be_z_alone() -> None:
    made, drawn = Bare(), rng()
    z, other = (made.draw(50, drawn) for _ in range(2))
    wanted = ((other - z) @ made.to_style.T @ made.to_picture.T).square().sum(1)
    assert torch.allclose(PerceptualPathLength().lengths(made, Exact(), rng(), None), wanted, rtol=1e-6)


@torch.no_grad()
def test_in_z_it_goes_along_the_arc() -> None:
    """At the beginning of an arc between vectors of lengths a and b with the angle w between them, a picture of z
    itself changes by a w across and by b - a along."""
    made, drawn = Linear(), rng()
    made.to_style.data, made.to_picture.data = torch.eye(5, 3).double(), torch.eye(16, 5).double()
    one, two = (made.draw(50, drawn)["z"] for _ in range(2))
    lengths = [rows.norm(dim=1) for rows in (one, two)]
    angle = torch.acos((one * two).sum(1) / lengths[0] / lengths[1])
    wanted = (lengths[0] * angle).square() + (lengths[1] - lengths[0]).square()
    found = PerceptualPathLength(space="z", epsilon=1e-6).lengths(made, Exact(), rng(), None)
    assert torch.allclose(found, wanted, rtol=1e-4)
    halfway = slerp(one, two, torch.full((50,), 0.5, dtype=torch.float64))
    assert torch.allclose(halfway.norm(dim=1), (lengths[0] + lengths[1]) / 2)
    assert torch.allclose(slerp(one, two, torch.ones(50, dtype=torch.float64)), two)


def test_the_shortest_and_longest_hundredth_are_left_out() -> None:
    """By NumPy's own percentiles: of 0 to 1000 in any order, 10 to 990 stay."""
    lengths = torch.randperm(1001, generator=torch.Generator().manual_seed(0)).double()[:, None]
    lengths[lengths == 1000] = 1e9
    assert PerceptualPathLength().compare(None, lengths) == {"ppl": 500.0}


def test_what_cannot_be_asked_is_said() -> None:
    class Plain(nn.Module):
        def draw(self, n: int, rng: Rng) -> Tensor:
            return rng.normal(4)

        def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
            return noise.view(-1, 1, 2, 2)

    class Bytes(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            assert pixels.dtype == torch.uint8
            return pixels

    with pytest.raises(UsageError, match="'ppl' in w needs a generator with styles, such as stylegan2; take space: z"):
        PerceptualPathLength().lengths(Plain(), Exact(), rng(), None)
    with pytest.raises(UsageError, match="these features see whole ones; take lpips"):
        PerceptualPathLength(space="z").lengths(Plain(), Bytes(), rng(), None)
    with pytest.raises(ValueError, match=r"epsilon: 0.0 is out of range"):
        PerceptualPathLength(epsilon=0.0)
    assert math.isfinite(float(PerceptualPathLength(space="z").lengths(Plain(), Exact(), rng(), None).sum()))


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ({"use": "ppl", "features": {"use": "lpips", "net": "vgg16"}, "samples": "50k"}, ["ppl_w_end_lpips-vgg16_50k"]),
        ({"use": "ppl", "space": "z", "at": "full", "samples": 500}, ["ppl_z_full_random_500"]),
        ({"use": "ppl", "epsilon": 0.01, "samples": 500}, ["ppl_w_end_random_500_epsilon0.01"]),
        ({"use": "cas", "samples": "10k"}, ["cas_10k", "cas_real_10k"]),
    ],
)
def test_names(written: dict[str, Any], names: list[str]) -> None:
    assert list(metric_value_names(MetricSpec.model_validate(written))) == names

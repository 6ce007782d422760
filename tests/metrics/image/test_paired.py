"""Pictures against the wanted ones: definitions written out slowly, and a kept library."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_dist.metrics.image.paired import psnr, ssim


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def slow_ssim(x: Tensor, y: Tensor) -> float:
    """Of one picture [H, W], window by window."""
    weights = torch.tensor([[math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i in range(-5, 6)] for j in range(-5, 6)])
    weights = weights.double() / weights.sum()
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (one[top : top + 11, left : left + 11].double() for one in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            alike = (2 * mean_a * mean_b + c1) * (2 * both + c2)
            found.append(float(alike / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))
    return sum(found) / len(found)


def test_psnr_in_closed_form() -> None:
    wanted = torch.zeros(3, 1, 4, 4)
    made = torch.stack([wanted[0] + 0.2, wanted[1] + 2, wanted[2]])
    assert psnr(made, wanted).tolist() == pytest.approx([20, 0, math.inf])


def test_ssim_is_its_definition() -> None:
    made, wanted = images(2, 3, 14, 13), images(2, 3, 14, 13, seed=1)
    slow = [sum(slow_ssim(x, y) for x, y in zip(*pair, strict=True)) / 3 for pair in zip(made, wanted, strict=True)]
    assert ssim(made, wanted).tolist() == pytest.approx(slow, abs=1e-6)
    assert ssim(made, made).tolist() == pytest.approx([1, 1])


def test_both_are_those_of_a_kept_library() -> None:
    library = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is not here")
    wanted = images(4, 3, 32, 24)
    made = (wanted + 0.2 * images(4, 3, 32, 24, seed=1)).clamp(-1, 1)
    _, places = library.structural_similarity_index_measure(made, wanted, data_range=2.0, return_full_image=True)
    # Its mean counts windows that reach beyond the picture too.
    theirs = places[..., 5:-5, 5:-5].flatten(1).mean(1)
    assert ssim(made, wanted).tolist() == pytest.approx(theirs.tolist(), abs=1e-5)
    each = [library.peak_signal_noise_ratio(x, y, data_range=2.0) for x, y in zip(made, wanted, strict=True)]
    assert psnr(made, wanted).tolist() == pytest.approx([float(one) for one in each], abs=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    for measure in (psnr, ssim):
        with pytest.raises(ValueError, match="cannot be compared with those of"):
            measure(images(2, 3, 16, 16), images(2, 1, 16, 16))
    with pytest.raises(ValueError, match="ssim looks at windows of 11 pixels"):
        ssim(images(1, 1, 10, 16), images(1, 1, 10, 16))

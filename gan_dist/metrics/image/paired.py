"""How near images are to the ones that were wanted, picture by picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANGE = 2.0  # from -1 to 1
WINDOW, DEVIATION = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(made: Tensor, wanted: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in decibels, [B]: 10 log10(range^2 / mean squared error); infinite for
    equal images.

    Args:
        made, wanted: [B, C, H, W] in [-1, 1].

    Raises:
        ValueError: they differ in shape.
    """
    _check(made, wanted)
    error = (made.double() - wanted.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / error)


def ssim(made: Tensor, wanted: Tensor) -> Tensor:
    """Structural similarity of each pair, [B], at most 1 (Wang et al. 2004, DOI 10.1109/TIP.2003.819861).

    Windows of 11x11 pixels with Gaussian weights of deviation 1.5, only those that lie inside; the mean over places and
    channels.

    Args:
        made, wanted: [B, C, H, W] in [-1, 1], at least 11 pixels high and wide.

    Raises:
        ValueError: they differ in shape, or are too small.
    """
    _check(made, wanted)
    if min(made.shape[2:]) < WINDOW:
        raise ValueError(f"ssim looks at windows of {WINDOW} pixels; images of {tuple(made.shape[2:])} are too small")
    x, y = (images.double().flatten(0, 1)[:, None] for images in (made, wanted))
    mean_x, mean_y = _blurred(x), _blurred(y)
    # Differences of squares lose digits; these are in float64.
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    found = alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return found.view(len(made), -1).mean(1)


def _blurred(x: Tensor) -> Tensor:
    """[N, 1, H, W] weighted over windows, [N, 1, H - 10, W - 10]."""
    places = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-((places / DEVIATION) ** 2) / 2)
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(x, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))


def _check(made: Tensor, wanted: Tensor) -> None:
    if made.shape != wanted.shape:
        raise ValueError(f"images of {tuple(made.shape)} cannot be compared with those of {tuple(wanted.shape)}")


class Psnr:
    """Peak signal-to-noise ratio in decibels, the mean over pairs."""

    values = ("psnr",)
    needs = "pairs"
    features = "pixels"

    def scores(self, made: Tensor, wanted: Tensor) -> Tensor:
        return psnr(made, wanted)

    def compare(self, real: None, sums: Tensor) -> dict[str, float]:
        return {"psnr": mean_score(sums)}


class Ssim:
    """Structural similarity (Wang et al. 2004, DOI 10.1109/TIP.2003.819861), the mean over pairs."""

    values = ("ssim",)
    needs = "pairs"
    features = "pixels"

    def scores(self, made: Tensor, wanted: Tensor) -> Tensor:
        return ssim(made, wanted)

    def compare(self, real: None, sums: Tensor) -> dict[str, float]:
        return {"ssim": mean_score(sums)}


class PairedDistance:
    """The squared distance between features of what was made and what was wanted, the mean over pairs; with features
    `lpips` it is LPIPS."""

    values = ("apart",)
    needs = "pairs"

    def scores(self, made: Tensor, wanted: Tensor) -> Tensor:
        return (made.double() - wanted.double()).square().sum(1)

    def compare(self, real: None, sums: Tensor) -> dict[str, float]:
        return {"apart": mean_score(sums)}


class Pixels(nn.Module):
    """uint8 images [B, C, H, W] as numbers in [-1, 1]."""

    in_name = False

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 127.5 - 1


def mean_score(sums: Tensor) -> float:
    """Of a sum and the number of its terms, [2]."""
    total, count = sums.tolist()
    return float(total / count)

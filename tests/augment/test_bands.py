"""ADA's filters and noise (bgcfn) against other ways of computing them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan_dist.augment.ada import NORMAL, UNIFORM, Ada
from gan_dist.augment.transforms import SYM2, band_filters, scale_bands
from gan_dist.distributed.randomness import single_lane_rng
from tests.helpers import CPU

WIDE = torch.float64


def response(taps: np.ndarray, frequency: float) -> complex:
    """Of a filter whose middle tap is at 0."""
    places = np.arange(len(taps)) - len(taps) // 2
    return complex(np.sum(taps * np.exp(-1j * frequency * places)))


@pytest.mark.parametrize("frequency", [0.0, 0.1, 0.7, 1.9, 3.0, np.pi])
def test_bands_are_products_of_halfband_responses(frequency: float) -> None:
    """By the squared magnitude of the wavelet's response at this frequency and its octaves, abs(H)^2 / 2."""
    low, high = np.array(SYM2), np.array(SYM2) * [1, -1, 1, -1]

    def power(taps: np.ndarray, at: float) -> float:
        return abs(np.sum(taps * np.exp(-1j * at * np.arange(4)))) ** 2 / 2

    lows = [power(low, frequency * octave) for octave in (1, 2, 4)]
    highs = [power(high, frequency * octave) for octave in (1, 2, 4)]
    expected = [lows[0] * lows[1] * lows[2], lows[0] * lows[1] * highs[2], lows[0] * highs[1], highs[0]]
    found = [response(taps, frequency) for taps in band_filters().numpy()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert sum(expected) == pytest.approx(1)


def test_bands_add_up_to_the_picture_and_each_picture_has_its_own_gains() -> None:
    x = torch.rand(3, 2, 16, 20, dtype=WIDE, generator=torch.Generator().manual_seed(0))
    # The wavelet's numbers have twelve digits.
    torch.testing.assert_close(scale_bands(x, torch.ones(3, 4)), x, rtol=0, atol=1e-11)
    gains = torch.rand(3, 4, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    filters = band_filters().numpy()
    for number in range(3):
        taps = gains[number].numpy() @ filters
        for channel in range(2):
            rows = np.pad(x[number, channel].numpy(), 21, mode="reflect")
            rows = np.stack([np.convolve(row, taps, "valid") for row in rows])
            both = np.stack([np.convolve(column, taps, "valid") for column in rows.T]).T
            np.testing.assert_allclose(scale_bands(x, gains)[number, channel].numpy(), both, rtol=0, atol=1e-12)


def test_gains_are_those_of_the_paper() -> None:
    """Band after band: by 2^N(0, 1) with probability p, and all divided so that the expected power stays. Read off the
    picture of an impulse, and computed from the same numbers."""
    ada = Ada(p=0.6, filters=1.0, blit=0, geometry=0, colour=0)
    impulse = torch.zeros(40, 1, 45, 45, dtype=WIDE)
    impulse[:, :, 22, 22] = 1
    made = ada(impulse, single_lane_rng(("gains",), 40, CPU, WIDE))
    rng = single_lane_rng(("gains",), 40, CPU, WIDE)
    rng.uniform(UNIFORM), rng.normal(NORMAL)
    chances, numbers = rng.uniform(4).tolist(), rng.normal(4).tolist()
    filters = band_filters()
    for one, chance, number in zip(made[:, 0], chances, numbers, strict=True):
        expected = [1.0] * 4
        for band in range(4):
            factors = [1.0] * 4
            factors[band] = 2 ** number[band] if chance[band] < 0.6 else 1.0
            power = sum(
                share * factor**2 for share, factor in zip((10 / 13, 1 / 13, 1 / 13, 1 / 13), factors, strict=True)
            )
            expected = [gain * factor / power**0.5 for gain, factor in zip(expected, factors, strict=True)]
        # A sum over rows leaves the filter of one axis times its response at 0, which is the lowest band's gain.
        taps = one.sum(0)[1:44] / one.sum().sqrt()
        found = torch.linalg.lstsq(filters.T, taps[:, None]).solution[:, 0]
        assert found.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_noise_has_the_deviation_of_the_paper() -> None:
    """Over pictures the variance is that of 0.1 N(0, 1), 0.01, times p."""
    for p in (0.3, 1.0):
        ada = Ada(p=p, noise=1.0, blit=0, geometry=0, colour=0)
        made = ada(torch.zeros(4000, 1, 4, 4, dtype=WIDE), single_lane_rng(("noise",), 4000, CPU, WIDE))
        changed = made.flatten(1).abs().sum(1) > 0
        assert float(changed.double().mean()) == pytest.approx(p, abs=0.03)
        assert float(made.square().mean()) == pytest.approx(0.01 * p, rel=0.1)


def test_both_are_off_by_default_and_change_no_other_numbers() -> None:
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = Ada(p=0.7)(x, single_lane_rng(("x",), 8, CPU))
    assert torch.equal(Ada(p=0.7, filters=0.0, noise=0.0)(x, single_lane_rng(("x",), 8, CPU)), plain)
    assert torch.equal(Ada(p=0.0, filters=1.0, noise=1.0)(x, single_lane_rng(("x",), 8, CPU)), x)
    assert not torch.equal(Ada(p=0.7, filters=1.0)(x, single_lane_rng(("x",), 8, CPU)), plain)
    with pytest.raises(ValueError, match=r"filters must be in \[0, 1\], not 2"):
        Ada(filters=2.0)


def test_filters_are_differentiated_twice() -> None:
    x = torch.rand(2, 1, 8, 8, dtype=WIDE, requires_grad=True)
    gains = torch.tensor([[1.0, 0.5, 2, 1], [1, 1, 1, 3]], dtype=WIDE)
    assert torch.autograd.gradgradcheck(lambda one: (scale_bands(one, gains) ** 2).sum(), (x,))

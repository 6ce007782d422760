"""First weights are torch's own numbers, computed in float64 and rounded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gan_dist.distributed.first_weights import first_weights, normal_numbers

MAKES: dict[str, Callable[[], Tensor]] = {
    "normal": lambda: torch.empty(40, 5).normal_(1.0, 2.0),
    "few": lambda: torch.randn(15),
    "not a multiple of 16": lambda: torch.randn(1003),
    "of a generator": lambda: torch.randn(100, generator=torch.Generator().manual_seed(3)),
    "like": lambda: torch.randn_like(torch.empty(6, 8)),
    "in float64": lambda: torch.randn(100, dtype=torch.float64),
    "transposed": lambda: torch.empty(30, 20).T.normal_(),
    "uniform": lambda: torch.empty(30, 20).uniform_(-1.0, 3.0),
    "channels last": lambda: torch.empty(4, 5, 6, 6).to(memory_format=torch.channels_last).uniform_(-1.0, 3.0),
    "truncated": lambda: nn.init.trunc_normal_(torch.empty(64, 33), std=0.1, a=-0.2, b=0.2),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(64, 33)),
    "kaiming": lambda: nn.Linear(33, 64).weight.detach(),
    "lstm": lambda: nn.LSTM(5, 6, 2).weight_hh_l1.detach(),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_numbers_are_those_of_torch_and_so_is_what_follows(make: Callable[[], Tensor]) -> None:
    torch.manual_seed(5)
    plain, after = make(), torch.rand(3)
    with first_weights(5):
        made, following = make(), torch.rand(3)
    assert made.dtype == plain.dtype and made.stride() == plain.stride()
    # torch's AVX2 kernel approximates logarithm, sine and cosine to six digits.
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-5)
    assert torch.equal(after, following)


def test_a_factor_is_the_float64_one_rounded() -> None:
    matrix = torch.randn(50, 20)
    q, r = torch.linalg.qr(matrix.double())
    with first_weights(0):
        rounded = torch.linalg.qr(matrix)
    assert torch.equal(rounded[0], q.float()) and torch.equal(rounded[1], r.float())


def test_many_normal_numbers_are_normal() -> None:
    numbers = normal_numbers(200_000, torch.Generator().manual_seed(1))
    assert numbers.dtype == torch.float64
    assert numbers.mean().abs() < 0.01 and (numbers.var() - 1).abs() < 0.01
    assert (numbers.pow(4).mean() - 3).abs() < 0.1


def test_random_numbers_outside_go_on_as_before() -> None:
    torch.manual_seed(1)
    expected = torch.rand(5)
    torch.manual_seed(1)
    with first_weights(2):
        torch.randn(100)
    assert torch.equal(torch.rand(5), expected)

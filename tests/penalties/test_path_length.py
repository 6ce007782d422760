"""The path length penalty: against the whole Jacobian, as a lazy penalty with a mean of its own, and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import Rng
from gan_dist.execution.preflight import network_problems
from gan_dist.penalties.path_length import PathLength, path_lengths
from tests.helpers import Passing, assert_same_state, batch_of, finite_difference, nets_of, small, stop_at, train

WIDE = torch.float64


class Linear(nn.Module):
    """A picture that is A times the styles of all layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.arange(2 * 3 * 4, dtype=WIDE).view(4, 6).cos())

    def draw(self, n: int, rng: Rng) -> dict[str, Any]:
        return {"z": rng.normal(3), "pixels": [rng.normal(1)]}

    def styles(self, noise: dict[str, Any], cond: Tensor | None = None) -> Tensor:
        return torch.stack([noise["z"], 2 * noise["z"]], 1)

    def synthesis(self, styles: Tensor, noise: dict[str, Any]) -> Tensor:
        assert len(noise["pixels"][0]) == len(styles)
        return (styles.flatten(1) @ self.a.T).view(-1, 1, 2, 2)


def test_lengths_are_those_of_the_jacobian() -> None:
    net, target = Linear(), torch.randn(5, 1, 2, 2, dtype=WIDE)
    styles = torch.randn(5, 2, 3, dtype=WIDE, requires_grad=True)
    found = path_lengths(net.synthesis(styles, {"pixels": [styles]}), styles, target)
    for sample in range(5):
        product = (net.a.T @ target[sample].flatten() / 2).view(2, 3)
        assert found[sample].item() == pytest.approx((product.square().sum() / 2).sqrt().item())


def terms_of(penalty: PathLength, net: nn.Module, n: int = 8) -> dict[str, Any]:
    batch: Batch = batch_of(None, torch.zeros(n, 1, 2, 2, dtype=WIDE))
    return penalty.terms(nets_of(Passing(), net), batch)


def test_the_penalty_is_the_squared_distance_from_the_mean() -> None:
    net, penalty = Linear(), PathLength(gamma=3.0)
    penalty.mean.fill_(0.7)
    terms = terms_of(penalty, net)
    assert terms["path_length"].weight == terms["length"].weight == 4
    whole = terms_of(PathLength(gamma=3.0, shrink=1), net)
    assert whole["path_length"].weight == 8
    few = terms["length"].total / 4
    zero = PathLength(gamma=3.0)
    squares = terms_of(zero, net)["path_length"].total / 3
    wanted = 3 * (squares - 2 * 0.7 * 4 * few + 4 * 0.49)
    assert terms["path_length"].total.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_gradients_are_those_of_differences() -> None:
    net, penalty = Linear(), PathLength()
    (found,) = torch.autograd.grad(terms_of(penalty, net)["path_length"].total, net.a)
    wanted = finite_difference(lambda: terms_of(penalty, net)["path_length"].total.detach(), net.a)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_the_mean_moves_by_the_reduced_length() -> None:
    penalty = PathLength(decay=0.25)
    penalty.after_step({"length": torch.tensor(2.0, dtype=WIDE)})
    penalty.after_step({"length": torch.tensor(4.0, dtype=WIDE)})
    assert penalty.state()["mean"].item() == pytest.approx(0.75 * 0.5 + 0.25 * 4)


STYLED = {"use": "stylegan2", "z": 4, "w": 4, "mapping": 1, "capacity": 32, "most": 4}
JOB = {"generator": STYLED, "penalties": [{"use": "path_length", "every": 3, "decay": 0.5}], "until": "11 steps"}


def test_a_run_resumes_exactly_and_its_mean_moves_when_due(tmp_path: Path) -> None:
    job = small(**JOB)
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(6))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)
    assert whole.newest.training()["objectives"]["0.penalty.path_length.mean"] > 0
    lines = (whole.local / "scalars.jsonl").read_text().splitlines()
    assert ["G/path_length" in line for line in lines] == [step % 3 == 0 for step in range(11)]


def test_a_generator_without_styles_is_refused() -> None:
    facts = ImageFacts(count=100, size=8, channels=1, checksum="random")
    (found,) = network_problems(small(penalties=[{"use": "path_length"}]), facts)
    assert found == "penalties: path_length needs a generator with styles and synthesis, as stylegan2 has it"


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"decay in .* and shrink at least 1, not 2.0, 0.0 and 2"):
        PathLength(decay=0.0)

"""G's loss over the best generated samples of the global batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gan_dist.objectives.adversarial import Hinge, LeastSquares, NonSaturating
from gan_dist.training.stages import unmoved
from tests.helpers import Passing, assert_same_state, batch_of, nets_of, small, stop_at, train

FAKES = torch.tensor([0.4, -1.7, 1.3, 3.0], dtype=torch.float64)


@pytest.mark.parametrize("kind", [Hinge, NonSaturating, LeastSquares])
def test_it_is_the_mean_over_the_best(kind: Any) -> None:
    batch = batch_of(None, FAKES)
    objective, elsewhere = kind(top_k=0.25), torch.tensor([1.0, 0.5, -1.0, -2.0])
    batch.everyone[objective], batch.first = torch.cat([elsewhere, FAKES]), 4
    term = objective.terms("G", nets_of(Passing()), batch)["adversarial"]
    best = batch_of(None, FAKES[[2, 3]])
    alone = kind().terms("G", nets_of(Passing()), best)["adversarial"]
    assert term.total.item() == pytest.approx(alone.total.item())
    assert term.weight == 1, "of 8 samples 2 count, and of 4 one"


def test_all_count_where_nothing_is_asked() -> None:
    nets, batch = nets_of(Passing()), batch_of(None, FAKES)
    assert not Hinge().looks_ahead("G")
    assert not Hinge(top_k=0.5).looks_ahead("D") and Hinge(top_k=0.5).looks_ahead("G")
    assert torch.equal(Hinge(top_k=0.5).ahead("G", nets, batch), FAKES)
    for wrong in (0.0, 1.1):
        with pytest.raises(ValueError, match=rf"top_k must be in \(0, 1\], not {wrong}"):
            Hinge(top_k=wrong)


def test_looking_ahead_moves_no_buffers() -> None:
    norm = nn.BatchNorm1d(2)
    before = norm.running_mean.clone()
    with unmoved([norm]):
        norm(torch.randn(8, 2))
        assert not torch.equal(norm.running_mean, before)
    assert torch.equal(norm.running_mean, before) and norm.num_batches_tracked == 0


def test_a_threshold_of_all_is_no_threshold(tmp_path: Path) -> None:
    """With nearly all of the batch the run is another; with all of it, the same as without looking."""
    plain = train(small(objective={"use": "hinge"}, until="2 steps"), tmp_path / "plain")
    all_of_it = train(small(objective={"use": "hinge", "top_k": 0.999}, until="2 steps"), tmp_path / "all")
    half = train(small(objective={"use": "hinge", "top_k": 0.5}, until="2 steps"), tmp_path / "half")
    states = [one.newest.tensors("generator") for one in (plain, all_of_it, half)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_micro_batches_do_not_change_it(tmp_path: Path) -> None:
    job = small(objective={"use": "hinge", "top_k": 0.5}, precision="fp64", until="3 steps")
    whole = train(job, tmp_path / "whole")
    train(job, tmp_path / "parts", stopping=stop_at(2))
    assert_same_state(whole.newest, train(job, tmp_path / "parts", attempt=2).newest)

"""Whose fault an exception is: a person's own code is named with file and line, and what usually is behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gan_dist
from gan_dist.errors import UserCodeError
from gan_dist.execution.user_code import user_error
from tests.helpers import SMALL

HERE = Path(__file__).name
OWN = ["generator.use: my_gan:Net"]


class Broken(nn.Module):
    """A generator of digits that breaks in the way that `how` names."""

    def __init__(self, *, how: str = "", size: int = 8, channels: int = 1) -> None:
        super().__init__()
        self.how, self.layer, self.size = how, nn.Linear(4, size * size, dtype=torch.float64), size
        self.kept: Tensor | None = None

    def draw(self, n: int, rng: Any) -> Tensor:
        drawn: Tensor = rng.normal(4)
        return drawn

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        made = self.layer(noise).tanh().view(-1, 1, self.size, self.size)
        if not torch.is_grad_enabled() or made.device.type == "meta":
            return made
        if self.how == "in place":
            made += 1
        if self.how == "kept graph":
            made = made if self.kept is None else made + 0 * self.kept.sum()
            self.kept = made
        if self.how == "detached":
            return made.detach()
        if self.how == "shape":
            return made @ torch.zeros(3, 3, dtype=made.dtype)
        if self.how == "of a leaf":
            leaf = made.detach().requires_grad_()
            leaf += 1
        if self.how == "quit":
            import bdb

            raise bdb.BdbQuit
        return made


CASES = {
    "in place": (r"in backward, of generator\.use: .*Broken", "usually: an in-place operation"),
    "kept graph": (r"in backward, of generator\.use: .*Broken", r"usually: a tensor that was kept .*`\.detach"),
    "of a leaf": (rf"{HERE}:\d+\)", "usually: an in-place operation"),
    "shape": (rf"{HERE}:\d+\)", ""),
}


def trained(how: str, root: Path) -> Any:
    job = {**SMALL, "generator": {"use": Broken, "how": how}, "until": "4 steps"}
    return gan_dist.train(job, storage=str(root))


@pytest.mark.parametrize("how", CASES)
def test_a_network_of_ones_own_that_breaks_is_told_as_such(how: str, tmp_path: Path) -> None:
    place, usually = CASES[how]
    with pytest.raises(UserCodeError, match=place) as raised:
        trained(how, tmp_path)
    assert usually == "" or raised.match(usually)
    assert "gan_dist/" not in raised.value.text.replace(str(Path(__file__)), "")


def test_a_loss_that_does_not_reach_the_network(tmp_path: Path) -> None:
    with pytest.raises(gan_dist.errors.GanDistError, match=r"usually: a loss that does not depend|detach"):
        trained("detached", tmp_path)


def test_leaving_the_debugger_stops_the_run(tmp_path: Path) -> None:
    run = trained("quit", tmp_path)
    assert run.status == "stopped"


def test_backward_without_own_code_is_ours() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    y += 1
    with pytest.raises(RuntimeError) as raised:
        torch.autograd.backward([y.sum()])
    stripped = raised.value.with_traceback(None)
    assert user_error(stripped, []) is None
    theirs = user_error(stripped, OWN)
    assert theirs is not None and "of generator.use: my_gan:Net" in str(theirs)
    assert user_error(KeyError("x"), OWN) is None


class Misshapen(torch.autograd.Function):
    """Its gradient has not the shape of its input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


def test_whatever_fails_in_backward_is_of_own_code_where_there_is_any() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError) as raised:
        torch.autograd.backward([Misshapen.apply(x).sum()])
    # As the loop sees it, whose frames are ours: those of this file are taken away.
    trace = raised.tb
    while trace.tb_next is not None and "torch" not in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    error = raised.value.with_traceback(trace)
    assert user_error(error, []) is None
    theirs = user_error(error, OWN)
    assert theirs is not None and "in backward, of generator.use: my_gan:Net" in str(theirs)
    assert "usually: a `backward` of your own" in str(theirs)
    assert user_error(RuntimeError("of something else").with_traceback(trace), OWN) is not None

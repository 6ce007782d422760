"""Which calls are replayed, without a GPU: `tests/test_cuda.py` has what a replay computes."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist import recorded
from gan_dist.recorded import MOST
from gan_dist.runtime import WiredNet


class Doubling(nn.Module):
    recorded = {"forward": ("beta",), "twice": ()}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.beta, self.bos = nn.Parameter(torch.ones(3)), 1.0, 2

    def forward(self, x: dict[str, Tensor], cond: Tensor | None = None) -> Tensor:
        return self.beta * self.weight * x["noise"]

    def twice(self, x: Tensor) -> Tensor:
        return 2 * self.weight * x

    def other(self, x: Tensor) -> Tensor:
        return x


class Recording:
    """What stands for a recording: it computes anew, and notes that it was asked."""

    made: list[Recording] = []  # noqa: RUF012
    awaited = False

    def __init__(self, function: Any, inputs: Any, parameters: Any, numbers: Any) -> None:
        self.function, self.numbers, self.calls = function, numbers, 0
        self.parameters = len(parameters)
        self.made.append(self)

    def awaits_backward(self) -> bool:
        return self.awaited

    def __call__(self, inputs: list[Tensor], parameters: list[Tensor], numbers: dict[str, float]) -> Any:
        self.calls += 1
        assert len(parameters) == self.parameters and numbers.keys() == self.numbers.keys()
        return self.function(inputs)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> WiredNet:
    """A net whose device is said to be a GPU."""
    monkeypatch.setattr(recorded, "Recording", Recording)
    monkeypatch.setattr(recorded, "_records_on", lambda device: True)
    Recording.made, Recording.awaited = [], False
    return WiredNet(Doubling(), False, nullcontext)


X = torch.tensor([1.0, 2.0, 3.0])


def test_one_recording_serves_calls_of_one_kind(net: WiredNet) -> None:
    for beta in (1.0, 2.0):
        net.module.beta = beta  # type: ignore[assignment]
        assert torch.equal(net({"noise": X}, None), beta * X)
        assert torch.equal(net.call("twice", X), 2 * X)
    assert [one.calls for one in Recording.made] == [2, 2]


@pytest.mark.parametrize("change", ["shape", "dtype", "gradient", "trained", "attribute", "grad mode", "missing"])
def test_another_kind_of_call_has_its_own(net: WiredNet, change: str) -> None:
    net.call("twice", X)
    x = {"shape": X[None], "dtype": X.double(), "gradient": (X * 2).requires_grad_() * 1}.get(change, X)
    net.module.weight.requires_grad_(change != "trained")  # type: ignore[operator, union-attr]
    net.module.bos = 2 + (change == "attribute")  # type: ignore[assignment]
    with torch.set_grad_enabled(change != "grad mode"):
        net.call("twice", x) if change != "missing" else net({"noise": x})
    assert len(Recording.made) == 2 and [one.calls for one in Recording.made] == [1, 1]
    assert Recording.made[1].parameters == (change != "trained")


def test_plain_calls(net: WiredNet) -> None:
    """Of other methods, in evaluation, and while the call before awaits its backward pass."""
    net.call("other", X)
    net.module.eval()
    net.call("twice", X)
    net.module.train()
    assert Recording.made == []
    net.call("twice", X)
    Recording.awaited = True
    assert torch.equal(net.call("twice", X), 2 * X)
    assert [one.calls for one in Recording.made] == [1]


def test_no_more_recordings_than_so_many(net: WiredNet) -> None:
    for bos in range(2 * MOST):
        net.module.bos = bos  # type: ignore[assignment]
        assert torch.equal(net.call("twice", X), 2 * X)
    assert len(Recording.made) == MOST
    net.forget()
    net.call("twice", X)
    assert len(Recording.made) == MOST + 1


def test_a_network_without_recordings_is_called_as_ever() -> None:
    linear = nn.Linear(3, 1)
    assert torch.equal(WiredNet(linear, False, nullcontext)(X), linear(X))


def test_a_network_that_is_compiled_need_not_be_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torch.compile` makes them: asked whether they are true, they ask for the length of what is in them."""

    class Compiled(nn.Linear):
        def __len__(self) -> int:
            raise TypeError

    made = Compiled(3, 1)
    monkeypatch.setattr(torch, "compile", lambda module: made)
    assert torch.equal(WiredNet(nn.Linear(3, 1), True, nullcontext)(X), made(X))

"""Which calls are replayed, without a GPU: `tests/integration/test_cuda.py` has what a replay computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from gan_dist.distributed import cuda_graphs
from gan_dist.distributed.cuda_graphs import MOST
from gan_dist.distributed.runtime import WrappedNetwork
from gan_dist.networks.text.lstm import Generator as Lstm


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
def net(monkeypatch: pytest.MonkeyPatch) -> WrappedNetwork:
    """A net whose device is said to be a GPU."""
    monkeypatch.setattr(cuda_graphs, "Recording", Recording)
    monkeypatch.setattr(cuda_graphs, "_records_on", lambda device: True)
    Recording.made, Recording.awaited = [], False
    monkeypatch.setattr(Doubling, "__module__", "gan_dist.networks.doubling")
    return WrappedNetwork(Doubling(), False, nullcontext)


X = torch.tensor([1.0, 2.0, 3.0])


def test_one_recording_serves_calls_of_one_kind(net: WrappedNetwork) -> None:
    for beta in (1.0, 2.0):
        net.module.beta = beta  # type: ignore[assignment]
        assert torch.equal(net({"noise": X}, None), beta * X)
        assert torch.equal(net.call("twice", X), 2 * X)
    assert [one.calls for one in Recording.made] == [2, 2]


@pytest.mark.parametrize("change", ["shape", "dtype", "gradient", "trained", "attribute", "grad mode", "missing"])
def test_another_kind_of_call_has_its_own(net: WrappedNetwork, change: str) -> None:
    net.call("twice", X)
    x = {"shape": X[None], "dtype": X.double(), "gradient": (X * 2).requires_grad_() * 1}.get(change, X)
    net.module.weight.requires_grad_(change != "trained")  # type: ignore[operator, union-attr]
    net.module.bos = 2 + (change == "attribute")  # type: ignore[assignment]
    with torch.set_grad_enabled(change != "grad mode"):
        net.call("twice", x) if change != "missing" else net({"noise": x})
    assert len(Recording.made) == 2 and [one.calls for one in Recording.made] == [1, 1]
    assert Recording.made[1].parameters == (change != "trained")


def test_plain_calls(net: WrappedNetwork) -> None:
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


def test_no_more_recordings_than_so_many(net: WrappedNetwork) -> None:
    for bos in range(2 * MOST):
        net.module.bos = bos  # type: ignore[assignment]
        assert torch.equal(net.call("twice", X), 2 * X)
    assert len(Recording.made) == MOST
    net.forget()
    net.call("twice", X)
    assert len(Recording.made) == MOST + 1


def test_a_network_without_recordings_is_called_as_ever() -> None:
    linear = nn.Linear(3, 1)
    assert torch.equal(WrappedNetwork(linear, False, nullcontext)(X), linear(X))


def test_a_network_that_is_compiled_need_not_be_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torch.compile` makes them: asked whether they are true, they ask for the length of what is in them."""

    class Compiled(nn.Linear):
        def __len__(self) -> int:
            raise TypeError

    made = Compiled(3, 1)
    monkeypatch.setattr(torch, "compile", lambda module: made)
    assert torch.equal(WrappedNetwork(nn.Linear(3, 1), True, nullcontext)(X), made(X))


def test_a_person_s_network_is_called_plainly() -> None:
    """Nobody has promised what a recording relies on; of a class derived from ours neither."""

    class Own(Lstm):
        pass

    shape: dict[str, Any] = {"vocabulary": 5, "length": 3, "bos": 0, "eos": None}
    assert WrappedNetwork(Own(**shape), False, nullcontext)._recorder is None
    assert WrappedNetwork(Lstm(**shape), False, nullcontext)._recorder is not None


class Graph:
    """What stands for a CUDA graph: the work that was recorded, done on the very tensors it was recorded on."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.replay = work


def twice_on_cpu(self: Any, function: Callable[[list[Tensor]], Any]) -> None:
    """`Doubling.twice` as a recording keeps it: what came of the newest forward pass alone."""
    made, self.tree = tree_flatten(function(self.inputs))
    self.trained, self.made = [made[0].requires_grad], [made[0].detach().clone()]
    self.given, self.slopes = self._slopes(made)
    (x,), (weight,) = self.inputs, self.parameters

    def forward() -> None:
        self.made[0].copy_(2 * weight.detach() * x)

    def backward() -> None:
        self.slopes[0].copy_(self.given[0] * self.made[0] / weight.detach())

    self.forward, self.backward = Graph(forward), Graph(backward)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> WrappedNetwork:
    monkeypatch.setattr(cuda_graphs.Recording, "_record", twice_on_cpu)
    monkeypatch.setattr(cuda_graphs, "_records_on", lambda device: True)
    monkeypatch.setattr(Doubling, "__module__", "gan_dist.networks.doubling")
    return WrappedNetwork(Doubling(), False, nullcontext)


def weight_of(net: WrappedNetwork) -> nn.Parameter:
    module: Any = net.module
    return module.weight  # type: ignore[no-any-return]


def test_gradients_of_replays(replayed: WrappedNetwork) -> None:
    """Of each call its own, added up as ever, with the hooks that sums over workers hang on."""
    weight, hooked = weight_of(replayed), []
    weight.register_post_accumulate_grad_hook(lambda one: hooked.append(1))
    for factor in (1.0, 3.0):
        (factor * replayed.call("twice", X)).square().sum().backward()
    assert weight.grad is not None and torch.equal(weight.grad, 8 * X.square() + 72 * X.square())
    assert len(hooked) == 2
    assert weight is weight_of(replayed) and replayed.module.beta == 1.0


def test_a_call_while_another_awaits_its_gradient(replayed: WrappedNetwork) -> None:
    first, second = replayed.call("twice", X), replayed.call("twice", 10 * X)
    (first.sum() + second.sum()).backward()
    grad = weight_of(replayed).grad
    assert grad is not None and torch.equal(grad, 22 * X)


def test_what_a_recording_cannot_give_is_refused(replayed: WrappedNetwork) -> None:
    weight = weight_of(replayed)
    made = replayed.call("twice", X)
    made.sum().backward(retain_graph=True)
    with pytest.raises(AssertionError, match="one backward pass"):
        made.sum().backward()
    with pytest.raises(ValueError, match="no gradient of a gradient"):
        torch.autograd.grad(replayed.call("twice", X).sum(), weight, create_graph=True)


def test_no_memory_for_a_recording(replayed: WrappedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then calls are plain, and it is not tried again until the next stage."""
    tried = []

    def full(self: Any, function: Any) -> None:
        tried.append(1)
        raise torch.OutOfMemoryError

    monkeypatch.setattr(cuda_graphs.Recording, "_record", full)
    for _ in range(2):
        assert torch.equal(replayed.call("twice", X), 2 * X)
    assert len(tried) == 1


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("asks", [True, False], ids=["input asks", "no input asks"])
@pytest.mark.parametrize("enabled", [True, False], ids=["gradients", "no gradients"])
def test_weights_of_which_no_gradient_is_wanted_say_they_are_trained(
    net: WrappedNetwork, monkeypatch: pytest.MonkeyPatch, frozen: bool, asks: bool, enabled: bool
) -> None:
    """Autocast rounds those once in a call. With gradients off no graph comes of it."""
    seen = []

    class Asking(Recording):
        def __init__(self, function: Any, inputs: Any, parameters: Any, numbers: Any) -> None:
            super().__init__(function, inputs, parameters, numbers)
            seen.append((net.module.weight.requires_grad, torch.is_grad_enabled()))

    monkeypatch.setattr(cuda_graphs, "Recording", Asking)
    net.module.requires_grad_(not frozen)
    with torch.set_grad_enabled(enabled):
        net.call("twice", X.clone().requires_grad_(asks))
    slopes = enabled and (asks or not frozen)
    assert seen == [(not frozen or not slopes, slopes)]
    assert net.module.weight.requires_grad is not frozen

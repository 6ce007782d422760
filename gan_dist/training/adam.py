"""Adam (Kingma and Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101).

`torch.optim.Optimizer` imports torch._dynamo when it is made, which takes each worker two seconds at its start; this
calls the same fused kernels, and keeps its state as `torch.optim.Adam` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from gan_dist.spec.schedules import Schedule, Scheduled
from gan_dist.spec.sections import OptimizerSettings

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Adam:
    """Steps parameters by their gradients. Everything that may change over a run is a plain attribute.

    Args:
        parameters: those that are stepped; one without a gradient is left as it is, its moments too.
        decoupled: whether weight decay acts on the weights (AdamW) instead of the gradients (Adam).
    """

    def __init__(self, parameters: list[nn.Parameter], decoupled: bool) -> None:
        self.parameters, self.decoupled = parameters, decoupled
        self.lr, self.eps, self.weight_decay, self.lazy = 0.0, 1e-8, 0.0, 1.0
        self.betas: tuple[float, ...] = (0.9, 0.999)
        self.state: dict[int, dict[str, Tensor]] = {}

    def enter(self, settings: OptimizerSettings, lazy: float) -> None:
        """Take the settings of a stage; the moments' decay rates are raised to the power `lazy`."""
        self.betas, self.eps, self.lazy = first_betas(settings.betas, lazy), settings.eps, lazy
        if not isinstance(settings.weight_decay, Schedule):
            self.weight_decay = settings.weight_decay

    def drive(self, lr: float, values: Mapping[str, float]) -> None:
        """Take the learning rate of the next step, and weight decay and betas where they follow a schedule."""
        self.lr, self.weight_decay = lr, values.get("weight_decay", self.weight_decay)
        self.betas = driven_betas(self.betas, values, self.lazy)

    @torch.no_grad()
    def step(self) -> None:
        """One step; gradients stay."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for i in moved:
            if i not in self.state:
                self.state[i] = _fresh(self.parameters[i])
        steps, averages, squares = ([self.state[i][name] for i in moved] for name in MOMENTS)
        (adamw if self.decoupled else adam)(
            [self.parameters[i] for i in moved],
            [_gradient(self.parameters[i]) for i in moved],
            averages,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def forget(self) -> None:
        """Begin anew."""
        self.state = {}

    def state_dict(self) -> dict[str, Any]:
        """The moments, by the parameter's number."""
        return {"state": self.state}

    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Go on from stored moments, in the layout of the parameters."""
        self.state = {int(i): self._placed(int(i), moments) for i, moments in stored["state"].items()}

    def _placed(self, i: int, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        placed = _fresh(self.parameters[i])
        for name in MOMENTS:
            placed[name].copy_(moments[name])
        return placed


def first_betas(betas: Sequence[Scheduled], lazy: float) -> tuple[float, ...]:
    """The decay rates where a stage begins, raised to the power `lazy`."""
    begins = (beta.values[0] if isinstance(beta, Schedule) else beta for beta in betas)
    return tuple(beta**lazy for beta in begins)


def driven_betas(betas: Sequence[float], values: Mapping[str, float], lazy: float) -> tuple[float, ...]:
    """The decay rates, of which those that follow a schedule, `betas.1` among `values`, are raised to `lazy`."""
    driven = (values.get(f"betas.{place}") for place in range(len(betas)))
    return tuple(old if new is None else new**lazy for old, new in zip(betas, driven, strict=True))


def _fresh(parameter: nn.Parameter) -> dict[str, Tensor]:
    zeros = {name: torch.zeros_like(parameter, memory_format=torch.preserve_format) for name in MOMENTS[1:]}
    return {"step": torch.zeros((), dtype=torch.float32, device=parameter.device), **zeros}


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad

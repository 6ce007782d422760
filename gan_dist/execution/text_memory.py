"""What a step of a text job needs of memory, told before it is taken.

Tensors that a backward will need are counted on two sentences, on a CPU: the meta device takes another kernel for
attention, which keeps a square of the places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from gan_dist.contracts import Phase
from gan_dist.data.facts import TextFacts
from gan_dist.data.order import epoch_samples
from gan_dist.distributed.lanes import lane_size
from gan_dist.distributed.machine import total_memory
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.objectives.policy_gradient import ENDINGS_TOKENS, bytes_of_a_row, endings_at_a_time
from gan_dist.registry.build import build_networks
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.stages import Stage, build_stages

LOOKED_AT = 2
MOST_PARAMETERS = 200_000_000  # larger networks are not built for the sake of an estimate
MOMENTS = 3  # copies of weights that are trained, beside themselves: gradients, and two moments of Adam
STATE_COPIES = 2  # of the state of endings: what it is put together from, or what a step makes anew
IDS = 12  # bytes of an ending's token: its id, and the number that it is drawn by
GIB = 2**30


class KeptTensors:
    """Counts the bytes that a backward will need, each storage once, weights left out."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.weights = {parameter.untyped_storage()._cdata for one in networks for parameter in one.parameters()}
        self.bytes: dict[int, int] = {}
        self.alive: list[Tensor] = []  # a storage that is freed may come again as another one

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.weights:
            self.bytes[storage._cdata] = storage.nbytes()
            self.alive.append(tensor)
        return tensor

    def counted(self) -> saved_tensors_hooks:
        """A context whose tensors are counted."""
        return saved_tensors_hooks(self.pack, lambda tensor: tensor)


class MadeTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the bytes of every storage that operations make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                self.bytes[storage._cdata] = max(storage.nbytes(), self.bytes.get(storage._cdata, 0))
        return made


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one worker: of weights, their gradients and moments; of the largest phase; and of rollouts in it."""

    weights: int
    step: int
    rollouts: int

    @property
    def total(self) -> int:
        return self.weights + self.step + self.rollouts

    def describe(self, on_cpu: bool) -> str:
        """A line for people; on a CPU what this process holds already, libraries and data, counts as well, and a batch
        is not cut to what fits."""
        held = psutil.Process().memory_info().rss if on_cpu else 0
        parts = f"weights and moments {_gib(self.weights)}, a step {_gib(self.step)}"
        parts += f", rollouts {_gib(self.rollouts)}" if self.rollouts else ""
        parts += f", libraries and data {_gib(held)}" if on_cpu else ""
        told, room = f"about {_gib(self.total + held)} GiB for a worker ({parts})", total_memory()
        if on_cpu and self.total + held > room:
            told += f", more than this machine's {_gib(room)}: set micro_batch"
        return told


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}"


def step_memory(spec: JobSpec, facts: TextFacts, workers: int) -> StepMemory | None:
    """What a worker needs for its share of a batch; None where the networks are too large to look.

    Args:
        workers: how many share a batch.
    """
    with torch.device("meta"):
        size = sum(parameter.numel() for one in build_networks(spec, facts).values() for parameter in one.parameters())
    if size > MOST_PARAMETERS:
        return None
    with torch.random.fork_rng(devices=[]):
        dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        networks = {name: one.to(dtype) for name, one in build_networks(spec, facts).items()}
    stages = build_stages(spec, Clock(spec.batch, epoch_samples(facts.pass_length, spec.batch)), networks)
    share = -(-spec.batch // workers)
    sentences = share if spec.micro_batch == "auto" else min(share, spec.micro_batch)
    looked = _TwoSentences(networks, facts, dtype)
    steps = [looked.bytes_of_phase(stage, phase) for stage in stages for phase in stage.phases]
    lane = min(sentences, lane_size(spec.batch))
    rollouts = [
        looked.bytes_of_rollouts(one.objective, sentences, lane) for stage in stages for one in stage.objectives
    ]
    weights = sum(_bytes(one.parameters()) for one in networks.values())
    weights += MOMENTS * sum(_bytes(p for p in one.parameters() if p.requires_grad) for one in networks.values())
    weights += len(spec.ema or ()) * _bytes(networks["generator"].parameters())
    return StepMemory(weights=weights, step=sentences * max(steps), rollouts=max(rollouts))


class _TwoSentences:
    """The networks, looked at with two sentences of full length."""

    def __init__(self, networks: Mapping[str, nn.Module], facts: TextFacts, dtype: torch.dtype) -> None:
        codec = facts.codec
        self.networks, self.length, self.dtype = networks, codec.length, dtype
        self.tokens = torch.full((LOOKED_AT, codec.length), len(codec.vocabulary) - 1)
        self.cond: Tensor | None = None
        if codec.prompt_length:
            self.cond = torch.ones(LOOKED_AT, codec.prompt_length, dtype=torch.int64)
        elif facts.classes:
            self.cond = torch.zeros(LOOKED_AT, dtype=torch.int64)

    def bytes_of_phase(self, stage: Stage, phase: Phase) -> int:
        """What a sentence adds to a phase, all of whose objectives are differentiated together."""
        here = [one.objective for one in stage.objectives if phase.name in (own.name for own in one.objective.phases)]
        return sum(self._bytes_of(one, phase) for one in here)

    def _bytes_of(self, objective: Any, phase: Phase) -> int:
        generator: Any = self.networks["generator"]
        judge = self.networks.get("discriminator")
        if "generator" in phase.train and getattr(objective, "modality", "image") == "text":
            named = getattr(objective, "needs_methods", {}).get("generator", ())
            learnt = generator.scored if "scored" in named else generator.log_prob
            return self._kept(lambda: learnt(self.tokens, self.cond))
        noise = generator.draw(LOOKED_AT, single_lane_rng(("memory",), LOOKED_AT, torch.device("cpu"), self.dtype))
        if "generator" in phase.train:
            return self._kept(lambda: self._judged(judge, generator(noise, self.cond)))
        with torch.no_grad():
            made = generator(noise, self.cond)
        return 2 * self._kept(lambda: self._judged(judge, made))

    def _judged(self, judge: nn.Module | None, made: Tensor) -> Tensor:
        found: Tensor = made if judge is None else judge(made, self.cond)
        return found

    def _kept(self, forward: Callable[[], Any]) -> int:
        """What a backward keeps of a sentence; and twice the largest of what it does not keep, for that has a gradient
        of its size too."""
        kept, made = KeptTensors(list(self.networks.values())), MadeTensors()
        with made, kept.counted():
            forward()
        passing = [size for storage, size in made.bytes.items() if storage not in kept.bytes.keys() | kept.weights]
        return (sum(kept.bytes.values()) + 2 * max(passing, default=0)) // LOOKED_AT

    def bytes_of_rollouts(self, objective: Any, sentences: int, lane: int) -> int:
        """What endings take that are written and judged at a time; whole lanes of sentences are."""
        if getattr(objective, "reward", "") != "rollout":
            return 0
        generator, cpu = self.networks["generator"], torch.device("cpu")
        each: int = (self.length - 1) * objective.rollouts
        at_a_time = min(sentences * each, endings_at_a_time(generator, self.cond, self.length, cpu))
        states = STATE_COPIES * at_a_time * bytes_of_a_row(generator, self.cond, self.length, cpu)
        return states + IDS * min(sentences * each * self.length, max(lane * each * self.length, ENDINGS_TOKENS))


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(one.nbytes for one in parameters)

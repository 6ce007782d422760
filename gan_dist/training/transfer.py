"""Weights of a network for another one of its kind: of another size, with other classes or channels.

A weight is taken where name and shape are the same, the names counted from the 4-pixel end as the network itself says
(`stage_names`). What differs in one way is reshaped by a rule:

- classes: those with a name that both have keep their numbers, new ones begin as the mean of all; of a network without
  classes every class begins as the only one.
- channels: a grey picture becomes the same one in every channel, a coloured one the mean of its channels.
- further inputs, as a network that learns classes has them, begin with no effect.

All else begins as in a new network, but for what a generator adds to its picture at new sizes (`begins_at_zero`), so
that the picture is at first the smaller one, enlarged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_dist.data.facts import DataFacts, ImageFacts
from gan_dist.networks.image.sngan import ClassBatchNorm
from gan_dist.networks.layers.magnitude import ClassVectors

SHOWN = 6


@dataclass(kw_only=True, frozen=True)
class SourceNetwork:
    """Where weights come from.

    Attributes:
        tensors: its weights by name.
        network: built like it, perhaps without memory.
        facts: of the data it was trained on.
    """

    tensors: Mapping[str, Tensor]
    network: nn.Module
    facts: DataFacts


@dataclass(kw_only=True)
class Transferred:
    """What became of a network's weights, by their names there; `unused` are the source's."""

    taken: list[str] = field(default_factory=list)
    reshaped: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether every weight was taken as it was, and none left."""
        return not (self.reshaped or self.new or self.unused)

    def describe(self) -> str:
        """In words: how many, and which were not simply taken."""
        parts = [f"{len(self.taken)} weights taken"]
        if self.reshaped:
            told = [f"{name} ({how})" for name, how in self.reshaped.items()]
            parts.append(f"{len(told)} reshaped: {_listed(told)}")
        if self.new:
            parts.append(f"{len(self.new)} begin anew: {_listed(self.new)}")
        if self.unused:
            parts.append(f"{len(self.unused)} of the source not used: {_listed(self.unused)}")
        return "; ".join(parts)


def transfer(own: nn.Module, facts: DataFacts, source: SourceNetwork) -> Transferred | None:
    """Load what fits of another network's weights.

    Args:
        own: the network, as it begins.
        facts: of the data that it is for.

    Returns:
        What became of each weight; None where no matrix of weights fits, so that nothing was loaded.
    """
    theirs = _by_place(source.network, source.tensors)
    reshape = _Reshape(own, facts, source)
    found, values, used = Transferred(), {}, set()
    for name, tensor in own.state_dict().items():
        key = theirs.get(place_of(own, name))
        made = None if key is None else reshape(name, tensor, key)
        if key is None or made is None:
            found.new.append(name)
            if name.startswith(tuple(getattr(own, "begins_at_zero", ()))) and name.endswith((".weight", ".bias")):
                values[name] = torch.zeros_like(tensor) if ".style." not in name else tensor
            continue
        values[name], how = made
        used.add(key)
        if how:
            found.reshaped[name] = how
        else:
            found.taken.append(name)
    if not any(own.state_dict()[name].ndim > 1 for name in (*found.taken, *found.reshaped)):
        return None
    found.unused = [name for name in source.tensors if name not in used]
    own.load_state_dict(values, strict=False)
    return found


def place_of(network: nn.Module, name: str) -> str:
    """A weight's name where stages are numbered from the 4-pixel end, whatever the size of the image."""
    names: Callable[[], dict[str, str]] | None = getattr(network, "stage_names", None)
    for prefix, place in (names() if names is not None else {}).items():
        if name.startswith(f"{prefix}."):
            return f"{place}{name.removeprefix(prefix)}"
    return name


def _by_place(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {place_of(network, name): name for name in tensors}


class _Reshape:
    """The rules, for one network and its source."""

    def __init__(self, own: nn.Module, facts: DataFacts, source: SourceNetwork) -> None:
        self.own, self.source = own, source
        self.classes = (source.facts.classes, facts.classes)
        self.channels = (_channels(source.facts), _channels(facts))

    def __call__(self, name: str, own: Tensor, key: str) -> tuple[Tensor, str] | None:
        """The value of a weight of ours, and how it was reshaped; None where no rule fits."""
        found = self.source.tensors[key].to(own.device, own.dtype if own.is_floating_point() else None)
        if found.shape == own.shape:
            dim = self._class_dim(name, found)
            if dim is None or not self._are_others():
                return found, ""
            return self._by_class(found, dim), "by the names of the classes"
        if found.ndim != own.ndim:
            return None
        differing = [dim for dim in range(own.ndim) if found.shape[dim] != own.shape[dim]]
        if len(differing) != 1:
            return None
        return self._along(name, own, found, differing[0], key)

    def _along(self, name: str, own: Tensor, found: Tensor, dim: int, key: str) -> tuple[Tensor, str] | None:
        there, here = found.shape[dim], own.shape[dim]
        classes = tuple(max(1, len(names)) for names in self.classes)
        if (there, here) == classes and self._class_dim(name, found) == dim:
            return self._by_class(found, dim), "by the names of the classes"
        if (there, here) == self.channels and 1 in self.channels:
            # A layer that takes the picture in sees as much of it as before.
            takes_in = dim == 1
            scale = (there / here if takes_in else 1.0) * self._gains(name, key)
            made = found.mean(dim, keepdim=True) if here == 1 else found
            return (made.expand_as(own) * scale).clone(), f"for {here} channels"
        if there < here and dim == self._input_dim(name) and len(self.classes[1]) and not len(self.classes[0]):
            made = torch.zeros_like(own)
            made.narrow(dim, 0, there).copy_(found * self._gains(name, key))
            return made, "classes begin with no effect"
        return None

    def _are_others(self) -> bool:
        """Whether the classes of both have names, and not the same ones; numbers are no names."""
        there, here = self.classes
        return there != here and not all(name.isdecimal() for name in there)

    def _by_class(self, found: Tensor, dim: int) -> Tensor:
        """A class's own numbers where it is known, else the mean of all."""
        there, here = self.classes
        mean = found.mean(dim, keepdim=True)
        rows = [found.narrow(dim, there.index(name), 1) if name in there else mean for name in here] or [mean]
        return torch.cat(rows, dim)

    def _class_dim(self, name: str, found: Tensor) -> int | None:
        """Along which dimension a weight has a class each; None for others."""
        if isinstance(self._module(self.own, name), ClassBatchNorm | ClassVectors):
            return 0
        return 1 if "embed" in name.split(".") and found.ndim == 2 else None

    def _input_dim(self, name: str) -> int:
        return 0 if isinstance(self._module(self.own, name), nn.ConvTranspose2d) else 1

    def _gains(self, name: str, key: str) -> float:
        """By what a weight is larger here to do the same: layers with an equalised rate have a gain of their own."""
        there, here = self._module(self.source.network, key), self._module(self.own, name)
        gains = [getattr(one, "gain", None) if name.endswith("weight") else None for one in (there, here)]
        first, second = gains
        return first / second if isinstance(first, float) and isinstance(second, float) and second else 1.0

    @staticmethod
    def _module(network: nn.Module, name: str) -> Any:
        return network.get_submodule(name.rpartition(".")[0])


def _channels(facts: DataFacts) -> int:
    return facts.channels if isinstance(facts, ImageFacts) else 0


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")

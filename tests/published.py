"""Pickles as NVIDIA's StyleGAN repositories and R3GAN publish them, written with stand-ins for the authors' modules."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

PERSISTENT = "torch_utils.persistence"


class Persistent:
    """A module of NVIDIA's: its pickle carries source code, which whoever loads it in their way runs."""

    def __init__(self, state: dict[str, Any], source: str, name: str) -> None:
        self.state, self.source, self.name = state, source, name

    def __reduce__(self) -> tuple[Any, ...]:
        function = sys.modules[PERSISTENT]._reconstruct_persistent_obj
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.name, "state": self.state}
        return function, (meta,)


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, *names: str) -> Any:
    """A module of somebody else's with these functions and classes, as far as a pickle needs it to be written."""
    made = types.ModuleType(module)
    for name in names:
        thing: Any = type(name, (), {"__module__": module}) if name[0].isupper() else _function(module, name)
        setattr(made, name, thing)
    parts = module.split(".")
    for length in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    monkeypatch.setitem(sys.modules, module, made)
    return made


def _function(module: str, name: str) -> Any:
    def made(*args: Any) -> None: ...

    made.__module__, made.__name__, made.__qualname__ = module, name, name
    return made


def nvidia_module(tensors: Mapping[str, Tensor], name: str, source: str = "", **attributes: Any) -> Persistent:
    """A tree of persistent modules with these tensors, weights as parameters and all else as buffers."""
    state = _state(tensors, lambda inner: nvidia_module(inner, "Layer", source))
    return Persistent({**state, **attributes}, source, name)


def plain_module(tensors: Mapping[str, Tensor], kind: type) -> Any:
    """A tree of plain modules of a class."""
    made = kind()
    made.__dict__.update(_state(tensors, lambda inner: plain_module(inner, kind)))
    return made


def _state(tensors: Mapping[str, Tensor], make: Any) -> dict[str, Any]:
    own = {name: one for name, one in tensors.items() if "." not in name}
    names = dict.fromkeys(name.partition(".")[0] for name in tensors if "." in name)
    inner = {name: {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(f"{name}.")} for name in names}
    return {
        "training": False,
        "_parameters": {name: nn.Parameter(one) for name, one in own.items() if name != "resample_filter"},
        "_buffers": {name: one for name, one in own.items() if name == "resample_filter"},
        "_modules": {name: make(one) for name, one in inner.items()},
    }


def write(path: Path, holds: Any) -> Path:
    path.write_bytes(pickle.dumps(holds, protocol=4))
    return path


# Of 16 pixels with two mapping layers: their names, and ours.
STYLEGAN2_G = {
    "synthesis.b4.const": "basis",
    "synthesis.b4.conv1": "layers.0",
    "synthesis.b4.torgb": "pictures.0",
    "synthesis.b8.conv0": "layers.1",
    "synthesis.b8.conv1": "layers.2",
    "synthesis.b8.torgb": "pictures.1",
    "synthesis.b16.conv0": "layers.3",
    "synthesis.b16.conv1": "layers.4",
    "synthesis.b16.torgb": "pictures.2",
    "mapping.embed": "map.embed",
    "mapping.fc0": "map.layers.0",
    "mapping.fc1": "map.layers.1",
}
STYLEGAN2_D = {
    "b16.fromrgb": "first",
    "b16.conv0": "blocks.0.body.0",
    "b16.conv1": "blocks.0.body.1",
    "b16.skip": "blocks.0.aside",
    "b8.conv0": "blocks.1.body.0",
    "b8.conv1": "blocks.1.body.1",
    "b8.skip": "blocks.1.aside",
    "b4.conv": "last",
    "b4.fc": "dense",
    "b4.out": "head",
    "mapping.embed": "map.embed",
    "mapping.fc0": "map.layers.0",
    "mapping.fc1": "map.layers.1",
}
# Of 16 pixels with one block in each stage, the last of half the channels.
R3GAN_G = {
    "MainLayers.0.Layers.0.Basis": "basis",
    "MainLayers.0.Layers.0.LinearLayer": "scale",
    "MainLayers.0.Layers.1": "first.0",
    "MainLayers.1.Layers.1": "rest.1.0",
    "MainLayers.2.Layers.0.LinearLayer.Layer": "rest.2",
    "MainLayers.2.Layers.1": "rest.4.0",
    "AggregationLayer.Layer": "rest.5",
    "EmbeddingLayer": "embed",
}
R3GAN_D = {
    "ExtractionLayer.Layer": "first.0",
    "MainLayers.0.Layers.0": "first.1.0",
    "MainLayers.0.Layers.1.LinearLayer.Layer": "first.3",
    "MainLayers.1.Layers.0": "first.4.0",
    "MainLayers.2.Layers.0": "last.0",
    "MainLayers.2.Layers.1.Basis": "pool",
    "MainLayers.2.Layers.1.LinearLayer": "head",
    "EmbeddingLayer": "embed",
}
INSIDE = {
    "style.": "affine.",
    "strength": "noise_strength",
    "branch.0.weight": "LinearLayer1.Layer.weight",
    "branch.2.weight": "LinearLayer2.Layer.weight",
    "branch.4.weight": "LinearLayer3.Layer.weight",
    "branch.0.bias": "NonLinearity1.Bias",
    "branch.2.bias": "NonLinearity2.Bias",
}


def their_names(network: nn.Module, names: Mapping[str, str], prefix: str = "") -> dict[str, Tensor]:
    """The weights of a network of ours under their names."""
    found = {}
    for key, tensor in network.state_dict().items():
        theirs, ours = next(pair for pair in names.items() if key == pair[1] or key.startswith(f"{pair[1]}."))
        rest = key.removeprefix(ours)
        for own, other in INSIDE.items():
            rest = rest.replace(own, other)
        found[f"{prefix}{theirs}{rest}"] = tensor.detach().clone()
    return found


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """With random numbers everywhere, also where training begins with zeros."""
    numbers = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=numbers))
    return network

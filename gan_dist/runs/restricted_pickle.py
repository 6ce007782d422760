"""Reading the pickles that NVIDIA's StyleGAN repositories and R3GAN publish, without running anything in them.

A pickle is a program: it names functions and has them called. Here every name but a few of torch's and Python's own is
either a record, which keeps what it was given and does nothing, or refused. The source code that such files carry is
kept as little as anything else that is no tensor.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_dist.errors import UsageError

LARGEST_FILE = 8 << 30
LARGEST_TENSORS = 20_000
DEEPEST = 64
# Classes of networks, of which only the numbers are wanted: published R3GAN files were saved under an older name.
NETWORKS = re.compile(r"(torch\.nn\.modules|training|R3GAN|BaselineGAN|torch_utils|dnnlib)(\.\w+)*")
NUMPY = re.compile(r"numpy(\._?core\.multiarray)?")
NUMPY_NAMES = ("scalar", "_reconstruct", "dtype", "ndarray")
TENSORFLOW = "dnnlib.tflib.network"
PARTS = ("_parameters", "_buffers")


class Record:
    """An object of a pickle that was not made: the name of its class, and what it would have been made of."""

    kind = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Takes whatever arguments a pickle gives."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What a module keeps under its names; empty for what is none."""
        return self.state if isinstance(self.state, dict) else {}


class EasyDict(dict[str, Any]):
    """A mapping whose pickles set a state too, which is not needed."""

    def __setstate__(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {})


def read_pickle(path: Path) -> Any:
    """What a published pickle holds: plain values, tensors, and records in place of all other objects.

    Raises:
        UsageError: it is no such file, is too large, or names what no snapshot of a network needs.
    """
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise UsageError(f"it has {size:,} bytes, more than the {LARGEST_FILE:,} that are read")
        with path.open("rb") as stream:
            return _Reader(stream).load()
    except MemoryError:
        raise
    except UsageError as error:
        raise UsageError(f"{str(path)!r}: {error}") from error
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    except Exception as error:  # a pickle may be broken in any way
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{str(path)!r} is no pickle of networks: {told}; nothing of it was run") from error


def tensors_of(module: Record) -> dict[str, Tensor]:
    """The parameters and buffers of a module and of those inside it, by their dotted names.

    Raises:
        UsageError: they are too many or too deep for a network.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in _walk(module, "", 0, []):
        found[name] = tensor
        if len(found) > LARGEST_TENSORS:
            raise UsageError(f"a network of more than {LARGEST_TENSORS:,} tensors is none of those that are known")
    return found


def _walk(module: Record, prefix: str, depth: int, above: list[Record]) -> Iterator[tuple[str, Tensor]]:
    if depth > DEEPEST or any(module is one for one in above):
        raise UsageError(f"a network that is nested more than {DEEPEST} times is none of those that are known")
    for part in PARTS:
        for name, tensor in _items(module, part):
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor.detach()
    for name, inner in _items(module, "_modules"):
        if isinstance(inner, Record):
            yield from _walk(inner, f"{prefix}{name}.", depth + 1, [*above, module])


def _items(module: Record, part: str) -> Iterator[tuple[str, Any]]:
    found = module.attributes.get(part)
    yield from ((str(name), value) for name, value in found.items()) if isinstance(found, dict) else ()


class _Reader(pickle.Unpickler):
    """Knows few names, and makes records of classes."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(TENSORFLOW):
            raise UsageError(
                "this is a TensorFlow pickle, of StyleGAN2's first repository; convert it with legacy.py of NVIDIA's "
                "stylegan2-ada-pytorch"
            )
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if NETWORKS.fullmatch(module) or (NUMPY.fullmatch(module) and name in NUMPY_NAMES):
            return _record_class(f"{module}.{name}")
        raise UsageError(f"it names {module}.{name}, which no snapshot of a network needs; nothing of it was run")

    def persistent_load(self, pid: Any) -> Any:
        raise UsageError("it refers to what lies outside the file, which no snapshot of a network does")


def _record_class(kind: str) -> type[Record]:
    return type("Record", (Record,), {"kind": kind})


def _persistent(meta: Any) -> Record:
    """A module of NVIDIA's, which would be made from the source code beside it."""
    found: Record = _record_class(str(meta.get("class_name")))()
    found.__setstate__(meta.get("state"))
    return found


def _storage(content: bytes) -> Any:
    """The numbers of a tensor: a whole file of torch, in the form before zip."""
    if not isinstance(content, bytes) or content.startswith(b"PK"):
        raise UsageError("it holds a tensor in a form that such files do not have")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A tensor on numbers that were read; torch checks that they are enough.

    Raises:
        UsageError: there are none, or few stand for many, as in a tensor that would only fill memory.
    """
    if not isinstance(storage, torch.storage.TypedStorage):
        raise UsageError("it holds a tensor without numbers")
    if math.prod(size) * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise UsageError("it holds a tensor of more numbers than are stored")
    found: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)  # type: ignore[no-untyped-call]
    return found


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _codes(text: Any, *rest: Any) -> bytes:
    """How older pickles write bytes."""
    return str(text).encode("latin-1")


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "device"): _record_class("torch.device"),
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("dnnlib.util", "EasyDict"): EasyDict,
    ("_codecs", "encode"): _codes,
}

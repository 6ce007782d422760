"""`torchvision:NAME`: the data sets of torchvision, with its own downloads and checksums."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from gan_dist.data.source import Counted, Label, Listing, Part, RawSample, state_of
from gan_dist.errors import DataError, DataNotFound
from gan_dist.runs.storage import home
from gan_dist.spec.data import ImageData

SCHEME = "torchvision:"


def list_torchvision(data: ImageData) -> Listing:
    """The training part of a data set, downloaded where it is not yet."""
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for torchvision use 'source' or 'none'")
    name = data.source.removeprefix(SCHEME)
    found = _data_set(name, download=True)
    names = Counted(name, len(found))
    labels: list[Label] = _labels(found, name) if data.labels == "source" else []
    return Listing("torchvision", data.source, state_of([name, len(found)]), name, names, labels)


def read_torchvision(part: Part) -> Iterator[RawSample]:
    found = _data_set(part.root, download=False)
    for name, place, label in part.rows():
        yield RawSample(name, found[place][0], label)


@lru_cache(maxsize=1)
def _data_set(name: str, download: bool) -> Any:
    import torchvision.datasets as sets

    if name not in sets.__all__:
        near = get_close_matches(name, sets.__all__, n=1)
        hint = f"; did you mean {SCHEME}{near[0]}?" if near else ""
        raise DataError(f"data.source: torchvision has no data set {name!r}{hint}")
    kind: Any = getattr(sets, name)
    root = home() / "torchvision"
    takes = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {"root": str(root)} if "root" in takes else {}
    if "train" in takes:
        arguments["train"] = True
    if "download" in takes:
        arguments["download"] = download
    try:
        return kind(**arguments)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise DataNotFound(
            f"data.source: torchvision could not make {name}: {error}; without a network, put the files it downloads "
            f"into {root / name if 'MNIST' in name else root} (they are named on torchvision's page of {name})"
        ) from error


def _labels(found: Any, name: str) -> list[Label]:
    for attribute in ("targets", "labels", "_labels"):
        values = getattr(found, attribute, None)
        if values is not None and len(values) == len(found):
            classes = [str(one) for one in getattr(found, "classes", [])]
            numbers = [int(value) for value in values]
            return [f"{n:04d} {classes[n]}" for n in numbers] if max(numbers) < len(classes) else list(numbers)
    raise DataError(f"data.labels: 'source', but torchvision's {name} has no list of classes; use 'none'")

"""Two domains of images as one source: the pictures of the first, then those of the second, each read as images are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gan_dist.data.image_decoding import ImageForm
from gan_dist.data.source import Contents, Part, Source, explain_unreachable, state_of
from gan_dist.data.sources.layout import WORDS
from gan_dist.errors import DataError
from gan_dist.runs.storage import locate
from gan_dist.spec.data import ImageData, UnpairedData

SIDES = ("A", "B")
SOURCE, TARGET = range(2)  # the domain of a stored sample, in place of a class
KINDS = {1: "grey", 3: "in colour"}


class DomainParts(Sequence[Part]):
    """The parts of the source domain, then those of the target. No part holds pictures of both."""

    def __init__(self, domains: Sequence[Sequence[Part]]) -> None:
        self.domains = domains
        self.counts = [sum(len(part.names) for part in parts) for parts in domains]

    def __len__(self) -> int:
        return sum(map(len, self.domains))

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        of = SOURCE if at < len(self.domains[SOURCE]) else TARGET
        part: Part = self.domains[of][at - of * len(self.domains[SOURCE])]
        return replace(part, first=part.first + of * self.counts[SOURCE], classes=(of,) * len(part.names))

    def in_colour(self) -> DomainParts:
        """The same, every picture in RGB."""
        domains: Any = self.domains
        return DomainParts([parts.in_colour() for parts in domains])


def find_domains(data: UnpairedData, find: Callable[[ImageData], Source]) -> Source:
    """Both domains as one source.

    Args:
        find: the source of images alone.

    Raises:
        DataError: a domain cannot be read, or holds nothing.
    """
    keys = ("data.source", "data.source" if data.target is None else "data.target")
    found = []
    for key, one in zip(keys, _domains(data), strict=True):
        with _named(key):
            found.append(find(one))
    return Source(
        where=" and ".join(one.where for one in found),
        key=state_of(["domains", *(one.key for one in found)]),
        look=lambda: _joined(found, keys),
    )


def _joined(sources: Sequence[Source], keys: Sequence[str]) -> Contents:
    """What both hold.

    Raises:
        DataError: one is grey and the other in colour, where the job leaves the channels open.
    """
    looked = []
    for key, source in zip(keys, sources, strict=True):
        with _named(key):
            looked.append(source.contents)
    forms = [one.form for one in looked]
    first, second = (form.channels for form in forms if isinstance(form, ImageForm))
    if first != second:
        raise DataError(
            f"data.channels: the source ({sources[SOURCE].where!r}) is {KINDS[first]} and the target "
            f"({sources[TARGET].where!r}) {KINDS[second]}; set data.channels: 3 to read both in colour, or 1 for grey"
        )
    told = [f"{name}: {text}" for name, one in zip(("source", "target"), looked, strict=True) for text in one.remarks]
    return replace(
        looked[SOURCE],
        parts=DomainParts([one.parts for one in looked]),
        channels_open=any(one.channels_open for one in looked),
        remarks=told,
        domains=True,
    )


@contextmanager
def _named(key: str) -> Iterator[None]:
    """What is wrong with a domain, said of the key that names it."""
    try:
        yield
    except DataError as error:
        raise type(error)(str(error).replace("data.source", key, 1)) from error


def _domains(data: UnpairedData) -> tuple[ImageData, ImageData]:
    """Source and target as images alone: as the job names them, or `trainA` and `trainB` below one folder.

    Raises:
        DataError: there are no such folders.
    """
    shared = {key: getattr(data, key) for key in ImageData.model_fields if key in type(data).model_fields}
    del shared["modality"]
    if data.target is not None:
        return ImageData(**shared), ImageData(**shared | {"source": data.target})
    first, second = (ImageData(**shared | {"source": where, "split": "auto"}) for where in _sides(data))
    return first, second


def _sides(data: UnpairedData) -> tuple[str, str]:
    """The folders of both domains below one, of the split that the job names."""
    with explain_unreachable(data.source):
        folder, name = locate(data.source)
    if name is not None:
        raise DataError(
            f"data.source: {data.source!r} is a file; name a folder with trainA and trainB, or both domains: "
            "data.source and data.target"
        )
    split = "train" if data.split == "auto" else data.split
    if split == "all":
        raise DataError(
            "data.split: all, but the domains lie in trainA and trainB; name both folders as data.source and "
            "data.target to take more"
        )
    words = WORDS[split]
    there = folder.names()
    by_word = {one.lower(): one for one in there}
    found = [next((by_word[w + side.lower()] for w in words if w + side.lower() in by_word), None) for side in SIDES]
    if None in found:
        missing = " and ".join(f"{words[0]}{side}" for side, one in zip(SIDES, found, strict=True) if one is None)
        listed = f"it holds {', '.join(sorted(there)[:8])}" if there else "it is empty"
        raise DataError(
            f"data.source: {data.source!r} has no {missing} ({listed}); name the other domain's pictures as data.target"
        )
    first, second = (folder.child(str(one)).uri for one in found)
    return first, second

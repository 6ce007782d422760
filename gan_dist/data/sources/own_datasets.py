"""`package.module:Name`: a person's own data set, any object with `__len__` and `__getitem__`.

It is made anew in every process that reads of it, and read by index, so that files it holds open are shared by nobody.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_dist.data.codec import Codec
from gan_dist.data.image_decoding import upright
from gan_dist.data.labels import Label, label_of, labels_of
from gan_dist.data.source import Counted, Listing, One, Part, RawSample, state_of
from gan_dist.data.text.file_formats import Sentence
from gan_dist.errors import DataError, DataNotFound, UnreadableSample
from gan_dist.runs.code import path_as_written
from gan_dist.spec.data import ImageData, TextData

KIND = "own"
ITEM = "item"


def list_own(data: ImageData) -> Listing:
    """The items of a data set; all are read once where labels are asked for and it has no list of them.

    Raises:
        DataError: it cannot be made, holds nothing, or has no labels.
    """
    if data.labels == "folders":
        raise DataError("data.labels: 'folders' needs a folder of images; for your own data set use 'source' or 'none'")
    found = own_data_set(data.source, data.args)
    names = Counted(ITEM, len(found))
    labels = _all_labels(found, data.source) if data.reads_labels else []
    note = json.dumps(data.args)
    return Listing(
        kind=KIND, where=data.source, state=own_state(data), root=data.source, names=names, labels=labels, note=note
    )


def own_state(data: ImageData | TextData) -> str:
    """What tells one state of a data set from another: its code, arguments and length."""
    found = own_data_set(data.source, data.args)
    return state_of([data.source, code_digest(data.source), sorted(data.args.items()), len(found)])


def read_own(part: Part) -> Iterator[RawSample]:
    """The items of a part; whatever one raises makes that one unreadable."""
    found = own_data_set(part.root, json.loads(part.note))
    for name, place, label in part.rows():
        content = content_of(item_of(found, place, part.root)[0])
        wanted = isinstance(content, str) == isinstance(part.form, Codec) or isinstance(content, UnreadableSample)
        kinds = ("a text", "an image") if isinstance(content, str) else ("an image", "a text")
        yield RawSample(name, content if wanted else _unlike(*kinds), label)


def own_sentences(data: TextData) -> Iterator[Sentence]:
    """The sentences of a data set with their labels.

    Raises:
        DataError: there is none.
    """
    found = own_data_set(data.source, data.args)
    wrong = []
    for place in range(len(found)):
        sample, label = item_of(found, place, data.source)
        content = content_of(sample)
        text = content if isinstance(content, str | UnreadableSample) else _unlike("an image", "a text")
        wrong += [text] if isinstance(text, UnreadableSample) else []
        yield Sentence(place, text, label)
    if len(wrong) == len(found):
        raise DataError(f"data.source: no item of {data.source!r} can be used; item 0: {wrong[0]}")


def own_data_set(source: str, args: Mapping[str, Any]) -> Any:
    """The data set of this process.

    Raises:
        DataError: it cannot be made, or lacks what one has.
    """
    return _made(source, json.dumps(args), os.getpid())


def item_of(found: Any, place: int, source: str) -> tuple[Any, Label]:
    """One item and its label, None where it has none; an item that raises is told as its author's."""
    try:
        item = found[place]
        sample, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        if isinstance(sample, Image.Image):
            sample.load()
        return sample, label_of(label)
    except MemoryError:
        raise
    except Exception as error:  # it is somebody else's code
        return UnreadableSample(told(error, source)), None


def content_of(sample: Any) -> One | str:
    """A sample as what every source gives: text, a picture, an array [H, W] or [H, W, C], or why it is none."""
    if isinstance(sample, str | UnreadableSample):
        return sample
    if isinstance(sample, Image.Image):
        return upright(sample)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(sample, torch.Tensor):
        values = sample.detach().cpu()
        return _pixels((values.float() if values.is_floating_point() else values).numpy(), first=True)
    if isinstance(sample, np.ndarray):
        return _pixels(sample, first=False)
    name = type(sample).__name__
    return UnreadableSample(f"gives a {name}, which is no tensor, array, picture of PIL, or text")


def told(error: Exception, source: str) -> str:
    """An error of a person's own code with the line of their module that it left from last."""
    frames = traceback.extract_tb(error.__traceback__)
    module = sys.modules.get(source.partition(":")[0])
    theirs = [frame for frame in frames if frame.filename == getattr(module, "__file__", None)]
    frame = (theirs or list(frames))[-1]
    return f"{path_as_written(frame.filename)}:{frame.lineno}: {type(error).__name__}: {error}"


@lru_cache(maxsize=2)
def _made(source: str, args: str, _process: int) -> Any:
    if multiprocessing.parent_process() is not None and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)  # the threads of the process that this one was forked from are not here
    module, _, name = source.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)(**json.loads(args))
    except OSError as error:
        raise DataNotFound(f"data.source: {source!r} cannot be made: {told(error, source)}") from error
    except Exception as error:
        raise DataError(f"data.source: {source!r} cannot be made: {told(error, source)}") from error
    if missing := [method for method in ("__len__", "__getitem__") if not hasattr(found, method)]:
        raise DataError(f"data.source: {source!r} is no data set: it has no {missing[0]}")
    try:
        count = len(found)
    except Exception as error:
        raise DataError(f"data.source: {source!r} has no length: {told(error, source)}") from error
    if not count:
        raise DataError(f"data.source: {source!r} holds nothing; its length is 0")
    return found


def code_digest(source: str) -> str:
    """Of the source of a module, given as `package.module:Name`, and of the package's that it is in."""
    name = source.partition(":")[0]
    file = getattr(sys.modules[name], "__file__", None)
    if file is None:
        return ""
    package = getattr(sys.modules[name.partition(".")[0]], "__path__", None)
    files = [Path(file)] if package is None else sorted(found for one in package for found in Path(one).rglob("*.py"))
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _all_labels(found: Any, source: str) -> list[Label]:
    """The class of each item. One that cannot be read is rejected later; until then it has the class of another.

    Raises:
        DataError: they have none.
    """
    listed = getattr(found, "targets", None)
    if listed is not None and len(listed) == len(found):
        return labels_of(listed)
    items = [item_of(found, place, source) for place in range(len(found))]
    known = next((label for _, label in items if label is not None), None)
    if known is None:
        raise DataError(f"data.labels: 'source', but the items of {source!r} are no (sample, label); use 'none'")
    return labels_of(known if isinstance(sample, UnreadableSample) else label for sample, label in items)


def _unlike(given: str, wanted: str) -> UnreadableSample:
    return UnreadableSample(f"is {given}, but data.modality wants {wanted}")


def _pixels(values: NDArray[Any], first: bool) -> One:
    """An array as [H, W] or [H, W, C].

    Args:
        first: whether channels stand first where they could be first or last.
    """
    if values.ndim == 3:
        places = [place for place in ((0, 2) if first else (2, 0)) if values.shape[place] in (1, 3, 4)]
        values = np.moveaxis(values, places[0], 2) if places else values
    if values.ndim not in (2, 3) or 0 in values.shape or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)):
        return UnreadableSample(f"has the shape {list(values.shape)}; an image is [H, W], [C, H, W] or [H, W, C]")
    return values

"""Arrays of images: IDX files as on MNIST's own page, and NumPy's `.npy` and `.npz`."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.labels import Label, labels_of
from gan_dist.data.source import Counted, Listing, Part, RawSample, explain_damage, state_of
from gan_dist.errors import DataError
from gan_dist.runs.storage import Entry, Folder
from gan_dist.spec.data import ImageData

IMAGES = ("images", "image", "x_train", "x", "data", "arr_0")
LABELS = ("labels", "label", "y_train", "y", "targets", "arr_1")


def idx_images(names: list[str]) -> str | None:
    """The image file of an IDX set among some files, the training set first."""
    found = sorted(
        (name for name in names if "images" in name.rpartition("/")[2] and "idx3" in name.rpartition("/")[2]),
        key=lambda name: (name.count("/"), name),
    )
    train = [name for name in found if "train" in name]
    return next(iter(train or found), None)


def is_array(name: str) -> bool:
    return name.lower().endswith((".npy", ".npz")) or "idx3" in name


def list_array(data: ImageData, root: Folder, name: str) -> Listing:
    """The images of an array, with the labels beside it if the job asks for them."""
    where = f"{root.uri}/{name}"
    if data.labels == "folders":
        raise DataError(f"data.labels: 'folders' needs a folder of images; for {name!r} use 'source' or 'none'")
    images = _array(root.uri, name, IMAGES)
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"data.source: {where!r} holds an array of shape {images.shape}, not images [N, H, W]")
    labels: list[Label] = []
    files = [name]
    if data.reads_labels:
        beside, values = _labels(root, name)
        files.append(beside)
        values = values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
        if values.ndim != 1 and (values.ndim != 2 or data.labels != "vectors"):
            raise DataError(
                f"data.labels: {root.uri}/{beside}: a class is a number or a word, one a sample [N]; it holds "
                f"{values.dtype} of shape {values.shape}; of numbers [N, K], labels: vectors"
            )
        if len(values) != len(images):
            raise DataError(f"{root.uri}/{beside}: {len(values)} labels for {len(images)} images in {name!r}")
        labels = labels_of(values.tolist())
    names = Counted("image", len(images))
    state = state_of(map(root.entry, files))
    return Listing(kind="array", where=where, state=state, root=where, names=names, labels=labels)


def read_array(part: Part) -> Iterator[RawSample]:
    root, _, name = part.root.rpartition("/")
    images = _array(root, name, IMAGES)
    images = _last_channels(images) if images.ndim == 4 else images
    for shown, place, label in part.rows():
        yield RawSample(shown, np.asarray(images[place]), label)


def read_array_block(part: Part) -> NDArray[Any]:
    """The images of a part as they are stored, [N, H, W, C]."""
    root, _, name = part.root.rpartition("/")
    images = _array(root, name, IMAGES)
    images = _last_channels(images) if images.ndim == 4 else images[..., None]
    first, count = part.places[0], len(part.places)
    block = images[first : first + count]
    return block if part.places[-1] - first == count - 1 else images[list(part.places)]


def _last_channels(images: NDArray[Any]) -> NDArray[Any]:
    """[N, H, W, C] of [N, H, W, C] or [N, C, H, W].

    Raises:
        DataError: neither place has 1, 3 or 4 channels.
    """
    if images.shape[3] in (1, 3, 4):
        return images
    if images.shape[1] in (1, 3, 4):
        return images.transpose(0, 2, 3, 1)
    raise DataError(f"data.source: an array of shape {images.shape} has 1, 3 or 4 channels neither last nor second")


def _labels(root: Folder, name: str) -> tuple[str, NDArray[Any]]:
    """The labels that belong to a file of images, and the file they are in."""
    if name.lower().endswith(".npz"):
        return name, _array(root.uri, name, LABELS)
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    if beside == name:
        raise DataError(f"data.labels: 'source', but {name!r} carries no labels; a .npz may, as one of {LABELS}")
    if not root.exists(beside):
        raise DataError(f"data.labels: 'source', but {beside!r} is not beside {name!r}")
    return beside, _array(root.uri, beside, LABELS)


def _array(root: str, name: str, keys: tuple[str, ...]) -> NDArray[Any]:
    return _loaded(Folder(root).entry(name), root, keys)


@lru_cache(maxsize=3)
def _loaded(entry: Entry, root: str, keys: tuple[str, ...]) -> NDArray[Any]:
    folder, name = Folder(root), entry.name
    where = f"{root}/{name}"
    with explain_damage(where), _explain_objects(where):
        if name.lower().endswith(".npy"):
            if folder.local is not None:
                return np.load(folder.regular(name), mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
            return np.load(folder.seekable(name), allow_pickle=False)  # type: ignore[no-any-return]
        if name.lower().endswith(".npz"):
            return _of_npz(np.load(folder.seekable(name), allow_pickle=False), keys, where)
    return _idx(folder, name)


@contextmanager
def _explain_objects(where: str) -> Iterator[None]:
    """Raises DataError for an array of Python's objects, which only unpickling would read, and that runs code; and for
    what is no array at all, which NumPy takes for pickled."""
    try:
        yield
    except ValueError as error:
        told = str(error)
        if "Object arrays" in told or "Python objects" in told:
            found = "holds Python objects (dtype object), which are not read; save numbers or text"
        elif "pickled data" in told:
            found = "cannot be read: it does not begin as an array of NumPy's"
        else:
            raise
        raise DataError(f"data.source: {where} {found}") from error


def _of_npz(archive: Any, keys: tuple[str, ...], where: str) -> NDArray[Any]:
    files = getattr(archive, "files", None)
    if files is None:
        raise DataError(f"data.source: {where} is no zip of arrays, whatever its name says; is it a .npy?")
    found = next((key for key in keys if key in files), None)
    if found is None and keys == IMAGES and len(files) == 1:
        found = files[0]
    if found is None:
        there = ", ".join(files) or "none"
        raise DataError(f"data.source: {where}: no array in it is named {', '.join(keys)}; it has {there}")
    values: NDArray[Any] = archive[found]
    return values


def _idx(folder: Folder, name: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: another magic number, or a file shorter than its header says.
    """
    path = f"{folder.uri}/{name}"
    with explain_damage(path):
        content = folder.read(name)
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    if content[:3] != b"\0\0\x08" or not b"\1" <= content[3:4] <= b"\4" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"data.source: {path!r} is not an IDX file of unsigned bytes (its first bytes say so)")
    dimensions = content[3]
    shape: tuple[Any, ...] = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != (count := math.prod(shape)):
        cut = "cut short" if len(values) < count else "damaged"
        raise DataError(f"data.source: {path!r} is {cut}: {len(values)} values where its header says {count}")
    return values.reshape(shape)

"""Arrays of images: IDX files as on MNIST's own page, and NumPy's `.npy` and `.npz`."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.labels import Label, labels_of
from gan_dist.data.npz import Npz, check_header
from gan_dist.data.source import Counted, Listing, Part, RawSample, explain_damage, state_of
from gan_dist.data.text_stream import unpack
from gan_dist.errors import DataError
from gan_dist.runs.storage import Entry, Folder
from gan_dist.runs.unpacking import most_unpacked, size_of_stream
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
            with folder.seekable(name) as stream:
                check_header(stream, entry.size)
                stream.seek(0)
                return np.load(stream, allow_pickle=False)  # type: ignore[no-any-return]
        if name.lower().endswith(".npz"):
            with folder.seekable(name) as stream:
                return _of_npz(stream, keys, where)
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


def _of_npz(stream: Any, keys: tuple[str, ...], where: str) -> NDArray[Any]:
    try:
        archive = Npz(stream)
    except zipfile.BadZipFile:
        raise DataError(f"data.source: {where} is no zip of arrays, whatever its name says; is it a .npy?") from None
    found = next((key for key in keys if key in archive.files), None)
    if found is None and keys == IMAGES and len(archive.files) == 1:
        found = archive.files[0]
    if found is None:
        there = ", ".join(archive.files) or "none"
        raise DataError(f"data.source: {where}: no array in it is named {', '.join(keys)}; it has {there}")
    (values,) = archive.read(found)
    return values


def _idx(folder: Folder, name: str) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped or not.

    Raises:
        DataError: another magic number, or a file shorter than its header says.
    """
    path = f"{folder.uri}/{name}"
    with explain_damage(path), folder.seekable(name) as stored:
        packed = "gzip" if stored.read(2) == b"\x1f\x8b" else ""
        size = size_of_stream(stored)
        stream = unpack(stored, packed)
        begins = stream.read(4)
        dimensions = begins[3] if len(begins) == 4 else 0
        sizes = stream.read(4 * dimensions) if dimensions <= 4 else b""
        if begins[:3] != b"\0\0\x08" or not dimensions or len(sizes) < 4 * dimensions:
            raise DataError(f"data.source: {path!r} is not an IDX file of unsigned bytes (its first bytes say so)")
        shape: tuple[Any, ...] = struct.unpack(f">{dimensions}I", sizes)
        count, most = math.prod(shape), most_unpacked(size) if packed else size
        # What its header says is not believed before it is known to be there.
        values = np.frombuffer(stream.read(min(count, most) + 1), np.uint8)
    if len(values) < count:
        raise DataError(f"data.source: {path!r} is cut short: {len(values)} values where its header says {count}")
    if len(values) > count:
        raise DataError(f"data.source: {path!r} is damaged: it goes on behind the {count} values of its header")
    return values.reshape(shape)

"""A folder of image files, with a folder for each class if the job says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from gan_dist.data.images import SUFFIXES, Unreadable, channels_of, open_image, to_pixels
from gan_dist.data.source import DataError, Part, Row, Source, cuts, rows_of_a_part, state_of
from gan_dist.spec.job import DataSpec

PROBED = 64


def find_folder(data: DataSpec, root: Path) -> Source:
    """Every image below a folder, in the order of their names."""
    if data.labels == "source":
        raise DataError("data.labels: 'source' needs digits or IDX files; for a folder use 'folders' or 'none'")
    names = sorted(_image_files(root))
    if not names:
        raise DataError(f"data.source: no images in {str(root)!r} (looked for {', '.join(SUFFIXES)})")
    classes = _class_folders(root, names) if data.labels == "folders" else ()
    number = {name: index for index, name in enumerate(classes)}
    labels = tuple(number[name.split("/")[0]] if classes else 0 for name in names)
    channels = _probe_channels(root, names) if data.channels == "auto" else data.channels
    parts = tuple(
        Part(
            "folder",
            rows.start,
            len(rows),
            data.size,
            channels,
            root=str(root.absolute()),
            names=tuple(names[rows.start : rows.stop]),
            classes=labels[rows.start : rows.stop],
        )
        for rows in cuts(len(names), rows_of_a_part(data.size, channels))
    )
    state = state_of((name, *_change(root / name)) for name in names)
    return Source(str(root), state, parts, classes, channels, data.channels != "auto")


def _change(path: Path) -> tuple[int, int]:
    """Size and time of the last change; zeros for what cannot be looked at, and is rejected when read."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _image_files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        below = Path(folder).relative_to(root)
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (below / name).as_posix()


def _class_folders(root: Path, names: list[str]) -> tuple[str, ...]:
    loose = [name for name in names if "/" not in name]
    if loose:
        raise DataError(
            f"data.labels: 'folders' wants each image in its class's folder, but {len(loose)} lie directly "
            f"in {str(root)!r} (first: {loose[0]!r})"
        )
    return tuple(sorted({name.split("/")[0] for name in names}))


def _probe_channels(root: Path, names: list[str]) -> int:
    """What most of some evenly spaced pictures are; only headers are read."""
    votes = []
    for name in names[:: max(1, len(names) // PROBED)]:
        try:
            with Image.open(root / name) as image:
                votes.append(channels_of(image))
        except (OSError, Image.DecompressionBombError):
            continue
    return 1 if votes.count(1) > votes.count(3) else 3


def read_folder(part: Part) -> Iterator[Row]:
    for name, label in zip(part.names, part.classes, strict=True):
        try:
            image = open_image((Path(part.root) / name).read_bytes())
            yield Row(name, to_pixels(image, part.size, part.channels), label, channels_of(image))
        except (Unreadable, OSError) as error:
            yield Row(name, None, label, 0, str(error))

"""What lies below a folder, and what of it is no data: hidden files, thumbnails, what is no file, and what gan-dist
wrote. All of it is counted, so that a person sees what was passed over."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gan_dist.errors import DataError, StorageError
from gan_dist.runs.storage import SAMPLES_MARK, Entry, Folder, home

# What programs put beside pictures: Synology, Jupyter, macOS, Windows, Qnap, Linux.
THUMBNAILS = ("@eadir", "__macosx", "thumbs.db", "desktop.ini", "#recycle", "$recycle.bin", "lost+found", ".@__thumb")
RUN, PREPARATION, EXPORT, SAMPLES, HOME = "runs", "preparations", "exports", "samples", "homes"
# The files by which a folder of ours is known: all of the first, and one of the second.
OURS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    RUN: (frozenset({"request.json"}), frozenset({"status.json", "job.json", "lease.json", "checkpoints", "logs"})),
    PREPARATION: (frozenset({"source.json"}), frozenset({"manifest.json", "shard-000000000.npy"})),
    EXPORT: (frozenset({"config.json", "model.safetensors"}), frozenset({"README.md", "model.pt2", "model.onnx"})),
    SAMPLES: (frozenset({SAMPLES_MARK}), frozenset()),
}
HIDDEN = "hidden files and thumbnails"
SPECIAL = "special files"


@dataclass
class Walk:
    """The files below a folder, and how many things of each kind were passed over."""

    entries: list[Entry] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)


def walk(folder: Folder) -> Walk:
    """Every file below, through links too, each folder once, in the order of names.

    Raises:
        OSError: a folder cannot be listed.
        DataError: the folder is a run of ours.
    """
    found = Walk()
    if folder.local is not None:
        _walk_local(folder.local, found)
    else:
        _walk_remote(folder, found)
    found.entries.sort()
    return found


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder that it is in, is hidden or holds thumbnails."""
    return any(part.startswith(".") or part.lower() in THUMBNAILS for part in name.split("/"))


def describe_passed(passed: Mapping[str, int]) -> list[str]:
    """What was passed over, for people."""
    shown = ", ".join(f"{count:,} {what}" for what, count in sorted(passed.items()) if count)
    return [f"passed over: {shown}"] if shown else []


def kind_of_ours(names: Iterable[str]) -> str | None:
    """What a folder of ours is, by the names in it."""
    there = frozenset(names)
    return next(
        (kind for kind, (needed, some) in OURS.items() if needed <= there and (not some or some & there)),
        None,
    )


def _walk_local(root: Path, found: Walk) -> None:
    def refuse(error: OSError) -> None:
        raise error

    seen, own = set[tuple[int, int]](), _own_home()
    for here, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        at = os.stat(here)
        if (at.st_dev, at.st_ino) in seen:
            folders.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        ours = HOME if own is not None and os.path.samestat(at, own) else kind_of_ours([*folders, *files])
        if here == str(root):
            _refuse_run(ours, str(root))
        elif ours is not None:
            found.passed[f"{ours} of gan-dist"] += 1
            folders.clear()
            continue
        folders[:] = _visible(sorted(folders), found)
        below = "" if here == str(root) else f"{os.path.relpath(here, root)}/".replace(os.sep, "/")
        for name in _visible(files, found):
            entry = _entry(os.path.join(here, name), below + name)
            if entry is None:
                found.passed[SPECIAL] += 1
            else:
                found.entries.append(entry)


def _own_home() -> os.stat_result | None:
    """Where runs are known by name, if there is such a place."""
    try:
        return os.stat(home())
    except (OSError, StorageError):
        return None


def _entry(path: str, name: str) -> Entry | None:
    """None for a pipe, a device or a socket; a link that leads nowhere is a file of nothing."""
    try:
        at = os.stat(path)
    except OSError:
        return Entry(name, 0, 0)
    return Entry(name, at.st_size, at.st_mtime_ns) if stat.S_ISREG(at.st_mode) else None


def _visible(names: list[str], found: Walk) -> list[str]:
    kept = [name for name in names if not is_hidden(name)]
    # Our own cache of prepared data and the like are hidden too; a folder counts as one.
    found.passed[HIDDEN] += len(names) - len(kept)
    return kept


def _walk_remote(folder: Folder, found: Walk) -> None:
    from pyarrow.fs import FileSelector, FileType

    system, path = folder.open()
    infos = system.get_file_info(FileSelector(path, recursive=True))
    files = [(info.path[len(path) :].lstrip("/"), info) for info in infos if info.type == FileType.File]
    below: dict[str, set[str]] = {}
    for name, _ in files:
        parts = name.split("/")
        for depth in range(len(parts)):
            below.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    ours: dict[str, str] = {}
    for place in sorted(below):
        kind = None if is_hidden(place) or _inside(place, ours) else kind_of_ours(below[place])
        if kind is not None:
            ours[place] = kind
    _refuse_run(ours.pop("", None), folder.uri)
    for kind in ours.values():
        found.passed[f"{kind} of gan-dist"] += 1
    for name, info in files:
        if _inside(name, ours):
            continue
        if is_hidden(name):
            found.passed[HIDDEN] += 1
        else:
            found.entries.append(Entry(name, info.size, info.mtime_ns or 0))


def _inside(name: str, places: Iterable[str]) -> bool:
    return any(name.startswith(f"{place}/") for place in places)


def _refuse_run(kind: str | None, where: str) -> None:
    if kind == RUN:
        raise DataError(f"data.source: {where!r} is a run of gan-dist, and no data")

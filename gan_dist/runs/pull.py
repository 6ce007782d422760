"""`gan-dist pull`: a run, copied from wherever it is stored to a folder of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gan_dist.errors import CheckpointError, StorageError, StorageUnreachable, UsageError
from gan_dist.runs.deletion import delete_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Entry, Folder

NOT_COPIED = ("lease", "ray")  # who writes the run, and what its attempts need while they last
CHECKPOINTS, META = "checkpoints", "meta.json"
CHUNK = 4 << 20
Progress = Callable[[int], None]


@dataclass(frozen=True)
class PullPlan:
    """What is to be copied.

    Attributes:
        run: that is copied.
        target: the folder that becomes its copy.
        files: the run's files that are missing there or differ, in the order in which they are copied.
        checksums: of those that belong to checkpoints.
        kept: how many are there already.
    """

    run: RunFolder
    target: Path
    files: tuple[Entry, ...]
    checksums: Mapping[str, str]
    kept: int

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.files)


def plan_pull(run: RunFolder, target: Path, *, force: bool = False) -> PullPlan:
    """Compare a run with what is in a folder. A file is the same if it is as large and was changed at the same time;
    one of a checkpoint, if it has the checksum that the checkpoint says.

    Args:
        force: whether a copy of another run there is removed, and what else is there is written over.

    Raises:
        NoSuchRun: no run is stored there.
        UsageError: the folder is the run itself, or holds another run or something else.
    """
    run.request()
    if run.folder.local is not None and run.folder.local.resolve() == target.resolve():
        raise UsageError(f"run {run.id} is in {target} already; name another folder")
    _make_room(run, target, force)
    entries = sorted(_entries(run.folder), key=_order)
    checksums = _checksums(run.folder, entries)
    files = tuple(entry for entry in entries if not _is_same(entry, target, checksums.get(entry.name)))
    return PullPlan(run, target, files, checksums, len(entries) - len(files))


def pull(plan: PullPlan, progress: Progress = lambda count: None) -> None:
    """Copy what is planned. Each file takes its place when it is whole; what is cut short can be planned again.

    Args:
        progress: told of bytes as they come.

    Raises:
        StorageError: the run cannot be read, the folder not be written, or a file of a checkpoint has not the checksum
            that the checkpoint says. Such a file is not kept, and the other files are copied.
    """
    damaged: list[str] = []
    incomplete: set[PurePosixPath] = set()
    for entry in plan.files:
        inside = PurePosixPath(entry.name).parent
        if entry.name.endswith(f"/{META}") and inside in incomplete:
            continue  # the copy has no such checkpoint, where it has not all of its files
        try:
            _copy(plan.run.folder, entry, plan.target, plan.checksums.get(entry.name), progress)
        except FileNotFoundError:  # deleted since, as a run that goes on does with old checkpoints
            incomplete.add(inside)
        except CheckpointError:
            damaged.append(entry.name)
            incomplete.add(inside)
    if damaged:
        raise StorageError(
            f"{plan.run.uri}: the checksum of {', '.join(damaged)} is not the one that its checkpoint says: it is "
            "damaged there, or was on its way; the same command tries again"
        )


def _make_room(run: RunFolder, target: Path, force: bool) -> None:
    """Raises UsageError where a folder is no copy of a run, and is not to become one."""
    copy = RunFolder(Folder.at(target))
    if target.is_file():
        raise UsageError(f"{target} is a file; name a folder")
    if not copy.folder.names():
        return
    theirs = copy.folder.read_json("request.json")
    if theirs == run.request():
        return
    if not force:
        what = f"holds another run, {theirs.get('run_id')}" if theirs else "is not empty"
        raise UsageError(f"{target} {what}; choose another folder, or --force")
    if theirs:
        delete_run(copy)


def _entries(folder: Folder) -> Iterator[Entry]:
    for entry in folder.entries():
        parts = PurePosixPath(entry.name).parts
        if ".." in parts or entry.name.startswith("/"):
            raise StorageError(f"{folder.uri}: {entry.name!r} is no name of a file inside a folder")
        if parts[0] not in NOT_COPIED and not entry.name.endswith(".part"):
            yield entry


def _order(entry: Entry) -> tuple[bool, bool, str]:
    """First what says which run this is; last what says that a checkpoint is whole."""
    return entry.name != "request.json", entry.name.endswith(f"/{META}"), entry.name


def _checksums(run: Folder, entries: Sequence[Entry]) -> dict[str, str]:
    """What the checkpoints say of their files."""
    found: dict[str, str] = {}
    for entry in entries:
        path = PurePosixPath(entry.name)
        if len(path.parts) == 3 and path.parts[0] == CHECKPOINTS and path.name == META:
            told = (run.read_json(entry.name) or {}).get("checksums")
            if isinstance(told, dict):
                found |= {f"{path.parent}/{name}": str(checksum) for name, checksum in told.items()}
    return found


def _is_same(entry: Entry, target: Path, checksum: str | None) -> bool:
    try:
        there = os.stat(target / entry.name)
    except OSError:
        return False
    if there.st_size != entry.size:
        return False
    if checksum is None:
        return bool(entry.changed) and there.st_mtime_ns == entry.changed
    with open(target / entry.name, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checksum


def _copy(run: Folder, entry: Entry, target: Path, checksum: str | None, progress: Progress) -> None:
    """Copy one file.

    Raises:
        FileNotFoundError: it is not there any more.
        CheckpointError: it has not its checksum; nothing is kept of it.
    """
    summed = hashlib.sha256()
    stream = run.stream(entry.name)
    with contextlib.closing(stream), Folder(str(target)).replacing(entry.name) as beside:
        with beside.open("wb") as file:
            for piece in _pieces(stream, run):
                file.write(piece)
                summed.update(piece)
                progress(len(piece))
        if checksum not in (None, summed.hexdigest()):
            raise CheckpointError(entry.name)
        if entry.changed:
            os.utime(beside, ns=(entry.changed, entry.changed))


def _pieces(stream: Any, run: Folder) -> Iterator[bytes]:
    try:
        while piece := stream.read(CHUNK):
            yield piece
    except OSError as error:
        raise StorageUnreachable(f"storage {run.uri!r} cannot be read: {error}") from error

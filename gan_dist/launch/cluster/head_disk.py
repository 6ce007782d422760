"""What is on the disk of a cluster's head, from here.

Files are read as Ray gives away its logs: among those of the head's session stands a link to the folder, so that one
HTTP request lists a folder or reads a file, also through a tunnel to the dashboard. What that cannot do (to make the
link, to list all below a folder with sizes, to delete) a small job does; see on_head.py.
"""

from __future__ import annotations

import inspect
import io
import json
import posixpath
import re
import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from http.client import HTTPException, HTTPResponse
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NoReturn
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileSystemHandler, FileType, PyFileSystem

from gan_dist.errors import ClusterError, RequestRefused, StorageError
from gan_dist.execution.ray.private import NODE_PYTHON
from gan_dist.launch.cluster import on_head
from gan_dist.launch.cluster.address import resolve_address
from gan_dist.launch.cluster.head_job import run_on_head
from gan_dist.launch.cluster.head_storage import as_sent, with_cluster
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.runs.storage import HEAD, Folder

IN_MEMORY = 16 << 20  # of a file that is read at any place; more of it is on this machine's disk meanwhile
ABSENT = "A file is not found"
READ_S = 3600.0  # which Ray gives a file to be read


def filesystem(uri: str) -> tuple[FileSystem, str]:
    """The file system of such a URI, and the path in it.

    Raises:
        ClusterError: no cluster is named.
    """
    named = with_cluster(Folder(uri), None)
    if named.local is not None:
        return FileSystem.from_uri(named.local.as_uri())  # type: ignore[no-any-return]
    where, _, path = named.uri.removeprefix(HEAD).partition("/")
    return PyFileSystem(HeadFiles(disk_of(where))), posixpath.normpath(f"/{path}")


def make_folder(folder: Folder, address: str) -> None:
    """Make a folder on the head of a cluster, unless it is there.

    Raises:
        StorageError: the head may not write it, or it is on the head of another cluster.
        ClusterError: the cluster does not answer.
    """
    path = as_sent(folder.uri, address).removeprefix(HEAD)
    disk_of(address.removeprefix("http://")).make(posixpath.normpath(path))


@lru_cache(maxsize=16)
def disk_of(where: str) -> HeadDisk:
    """The disk of the head at `HOST:PORT`."""
    cluster = resolve_address(where)
    assert cluster is not None, "an address was given"
    return HeadDisk(JobsClient(cluster))


class HeadDisk:
    """Folders and files of a cluster's head by their absolute paths.

    Every method raises ClusterError where the cluster does not answer, and StorageError where its head may not do as
    asked.
    """

    def __init__(self, jobs: JobsClient) -> None:
        self.jobs = jobs
        self._links: set[str] = set()
        self._linking = threading.Lock()

    @cached_property
    def node(self) -> str:
        """The id of the head's node."""
        rows = self.jobs.get("/api/v0/nodes?limit=10000")["data"]["result"]["result"]
        heads = [row["node_id"] for row in rows if row["is_head_node"] and row["state"] == "ALIVE"]
        if not heads:
            raise ClusterError(f"{self.jobs.cluster.address} knows no living head")
        return str(heads[0])

    def make(self, folder: str) -> None:
        """Make a folder that can be written, unless it is known to be there."""
        if self._known(folder) is None and self._linked(folder) is None:
            self._ask("make", folder)

    def kind(self, path: str) -> FileType:
        """Whether a path is a file, a folder or nothing."""
        inside = self._inside(path)
        found = [] if inside is None else self._glob(_literally(inside))
        if not found:
            return FileType.NotFound
        return FileType.Directory if found[0].endswith("/") else FileType.File

    def names(self, folder: str) -> list[str]:
        """What is directly in a folder; those of folders end with a slash."""
        inside = self._inside(folder)
        found = [] if inside is None else self._glob(f"{_literally(inside)}/*")
        return [name[len(f"{inside}/") :] for name in found]

    def files(self, folder: str) -> list[tuple[str, int, int]]:
        """Every file below a folder: its path in the folder, bytes, and time of change in nanoseconds."""
        return [(name, size, changed) for name, size, changed in self._ask("list", folder).get("files", ())]

    def open(self, path: str) -> BinaryIO:
        """A file's content as a stream.

        Raises:
            FileNotFoundError: there is no such file.
        """
        inside = self._inside(path)
        if inside is None:
            raise FileNotFoundError(path)
        wanted = {"node_id": self.node, "filename": inside, "lines": -1, "timeout": int(READ_S)}
        try:
            return io.BufferedReader(Answer(self.jobs.open(f"/api/v0/logs/file?{urlencode(wanted)}")))
        except RequestRefused as error:
            if ABSENT not in str(error):
                raise
            raise FileNotFoundError(path) from None

    def delete(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        self._ask("delete", path)

    def _inside(self, path: str) -> str | None:
        """A path as Ray finds it among its logs; None where nothing is there."""
        if (found := self._known(path)) is None:
            with self._linking:  # many threads may want the same link
                if (found := self._known(path) or self._linked(path)) is None and self._ask("link", path):
                    found = self._linked(path)
        return found

    def _linked(self, path: str) -> str | None:
        """The same by the links that are there now."""
        self._links = {name.rstrip("/") for name in self._glob(f"{on_head.PREFIX}*")}
        return self._known(path)

    def _known(self, path: str) -> str | None:
        """The same by the links that were there."""
        for folder in (PurePosixPath(path), *PurePosixPath(path).parents):
            if (name := on_head.link_name(str(folder))) in self._links:
                return str(name / PurePosixPath(path).relative_to(folder))
        return None

    def _glob(self, pattern: str) -> list[str]:
        found = self.jobs.get(f"/api/v0/logs?{urlencode({'node_id': self.node, 'glob': pattern})}")
        return sorted(name for names in found["data"]["result"].values() for name in names)

    def _ask(self, action: str, path: str) -> dict[str, Any]:
        """What on_head.py says there."""
        command = f"{NODE_PYTHON} {shlex.join(['-c', inspect.getsource(on_head), action, path])}"
        done = run_on_head(self.jobs, command)
        said = done.printed.strip().rpartition("\n")[2] if done is not None else ""
        if done is None or not said.startswith("{"):
            raise ClusterError(f"{self.jobs.cluster.address} could not {action} {path}: {said or 'no answer in time'}")
        told = dict(json.loads(said))
        if "error" in told:
            raise StorageError(f"storage: {HEAD}{path}: the cluster's head cannot {action} it: {told['error']}")
        return told


class Answer(io.RawIOBase):
    """The body of an answer; one that is cut short is an OSError, as of any file."""

    def __init__(self, answer: HTTPResponse) -> None:
        self.answer = answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self.answer.readinto(buffer)
        except HTTPException as error:
            raise OSError(f"the answer was cut short: {error}") from None

    def close(self) -> None:
        self.answer.close()
        super().close()


def _literally(path: str) -> str:
    """A path as a pattern that stands for itself alone."""
    return re.sub(r"([*?[])", r"[\1]", path)


class HeadFiles(FileSystemHandler):  # type: ignore[misc]
    """The head's disk as a file system of pyarrow: it is read and cleared from here, and written by runs alone."""

    def __init__(self, disk: HeadDisk) -> None:
        self.disk = disk

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeadFiles) and other.disk is self.disk

    def get_type_name(self) -> str:
        return "head"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        with _as_storage():
            return [FileInfo(path, self.disk.kind(path)) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        base = selector.base_dir
        with _as_storage():
            if selector.recursive:
                rows = self.disk.files(base)
                return [FileInfo(f"{base}/{name}", FileType.File, size=size, mtime_ns=at) for name, size, at in rows]
            kinds = {True: FileType.Directory, False: FileType.File}
            return [FileInfo(f"{base}/{name.rstrip('/')}", kinds[name.endswith("/")]) for name in self.disk.names(base)]

    def open_input_stream(self, path: str) -> pa.NativeFile:
        with _as_storage():
            return pa.PythonFile(self.disk.open(path), mode="r")

    def open_input_file(self, path: str) -> pa.NativeFile:
        copy = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (it is closed with what is returned)
        with _as_storage(), self.disk.open(path) as stream:
            shutil.copyfileobj(stream, copy)
        copy.seek(0)
        return pa.PythonFile(copy, mode="r")

    def delete_file(self, path: str) -> None:
        with _as_storage():
            self.disk.delete(path)

    delete_dir = delete_file

    def _refuse(self, *_: object) -> NoReturn:
        raise OSError("it is on the disk of a cluster's head, where the runs of that cluster alone write")

    create_dir = open_output_stream = open_append_stream = _refuse
    delete_dir_contents = delete_root_dir_contents = move = copy_file = _refuse


@contextmanager
def _as_storage() -> Iterator[None]:
    """A cluster that does not answer is a storage that does not."""
    try:
        yield
    except ClusterError as error:
        raise OSError(str(error)) from None

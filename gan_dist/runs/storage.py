"""Folders of a run, wherever pyarrow reaches: a local path, or a URI such as `s3://bucket/runs`."""

from __future__ import annotations

import errno
import importlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit
from uuid import uuid4

from gan_dist.errors import StorageError, StorageUnreachable, UsageError
from gan_dist.runs.unpacking import LARGEST_JSON
from gan_dist.spec.paths import absolute_path
from gan_dist.spec.secrets import holds_credentials, redact

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


T = TypeVar("T")
U = TypeVar("U")

AT_A_TIME = 16  # requests to a storage
SAMPLES_MARK = ".sampling.json"  # in a folder of samples, which are no data of the next run
PIECE = 1 << 20
HEAD = "head://"  # of the disk of a cluster's head, which is read from elsewhere, and written there alone
# File systems of our own by their schemes: parts of a higher layer, loaded when one is asked for.
OURS = {HEAD: "gan_dist.launch.cluster.head_disk"}
SETTLE_S = 2.0  # far longer than a storage takes to write some bytes
CONDITIONAL = ("s3", "gs", "az", "abfs", "abfss")  # schemes of stores that write on a condition
# What file systems without hard links answer.
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def home() -> Path:
    """Where known runs, the local cluster and downloads are kept: `GAN_DIST_HOME`, or `~/.gan-dist`.

    Raises:
        StorageError: neither is known, as in containers that run under a number that no user has.
    """
    try:
        return Path(os.environ.get("GAN_DIST_HOME") or Path.home() / ".gan-dist").expanduser().absolute()
    except RuntimeError:
        raise StorageError(
            f"GAN_DIST_HOME: no home folder is known (HOME is not set, and user id {os.getuid()} has no name); set "
            "GAN_DIST_HOME to a folder that may be written"
        ) from None


def in_parallel(look: Callable[[T], U], at: Iterable[T]) -> list[U]:
    """What `look` gives of each, in order, several at a time: a remote storage takes its time for each answer."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(look, at))


def is_uri(location: str) -> bool:
    """Whether `location` names a remote file system rather than a local path."""
    return "://" in location and not location.startswith("file://")


@dataclass(frozen=True)
class Folder:
    """One folder, local or remote. Writing a file replaces it as a whole or not at all.

    Args:
        uri: its local path or its URI.
        guard: is called before a file is written or removed, and raises where it must not be.
    """

    uri: str
    guard: Callable[[], None] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def at(cls, location: str | Path) -> Folder:
        """The folder at a local path (made absolute) or a URI."""
        text = str(location)
        if is_uri(text) and ("?" in text or holds_credentials(text)):
            raise StorageError(
                f"{redact(text)!r}: leave queries and passwords out; AWS_ENDPOINT_URL, AWS_DEFAULT_REGION, "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are read"
            )
        if "://" in text:
            return cls(text.rstrip("/"))
        return cls(str(absolute_path(text)))

    @cached_property
    def local(self) -> Path | None:
        """The folder as a local path, or None when it is remote."""
        return None if is_uri(self.uri) else Path(self.uri.removeprefix("file://"))

    @property
    def shared(self) -> bool:
        """Whether every node of a cluster sees it: a URI, where `file://PATH` says so of a mounted path."""
        return "://" in self.uri

    @property
    def read_only(self) -> bool:
        """Whether nothing can be stored there from this machine."""
        return self.uri.startswith(HEAD)

    def child(self, name: str) -> Folder:
        return Folder(f"{self.uri}/{name}", self.guard)

    def open(self) -> tuple[FileSystem, str]:
        """The file system of this folder and the folder's path in it."""
        from pyarrow.fs import LocalFileSystem

        if self.local is not None:
            return LocalFileSystem(), str(self.local)
        try:
            return remote_filesystem(self.uri)
        except (OSError, ValueError, ImportError) as error:
            raise StorageError(f"{self.uri!r} cannot be reached: {error}") from error

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Name the storage where it cannot be read.

        Raises:
            StorageUnreachable: an error of a remote storage.
        """
        try:
            yield
        except OSError as error:
            if self.local is not None or isinstance(error, (FileNotFoundError, StorageError)):
                raise
            raise StorageUnreachable(f"storage {self.uri!r} cannot be read: {error}") from error

    def exists(self, name: str) -> bool:
        from pyarrow.fs import FileType

        with self._reaching():
            system, path = self.open()
            return bool(system.get_file_info(f"{path}/{name}").type != FileType.NotFound)

    def names(self) -> list[str]:
        """Names of the files and folders directly inside, sorted; empty when the folder is absent."""
        _, found = self._listed(recursive=False)
        return sorted(info.base_name for info in found)

    def _listed(self, *, recursive: bool) -> tuple[str, list[Any]]:
        """The folder's path, and what pyarrow knows of each thing inside."""
        from pyarrow.fs import FileSelector

        with self._reaching():
            system, path = self.open()
            wanted = FileSelector(path, recursive=recursive, allow_not_found=True)
            try:
                return path, system.get_file_info(wanted)
            except FileNotFoundError:  # a folder that came, or went, while pyarrow looked
                return path, system.get_file_info(wanted)

    def files(self) -> Iterator[tuple[str, int]]:
        """Every file below, as (path relative to this folder, bytes)."""
        for entry in self.entries():
            yield entry.name, entry.size

    def entries(self) -> Iterator[Entry]:
        """Every file below, by its path relative to this folder."""
        from pyarrow.fs import FileType

        path, found = self._listed(recursive=True)
        for info in found:
            if info.type == FileType.File:
                yield Entry(info.path[len(path) :].lstrip("/"), info.size, info.mtime_ns or 0)

    def entry(self, name: str) -> Entry:
        """Size and time of change of one file; zeros for what cannot be looked at."""
        if self.local is not None:
            try:
                found = os.stat(self.local / name)
            except (OSError, ValueError):
                return Entry(name, 0, 0)
            return Entry(name, found.st_size, found.st_mtime_ns)
        system, path = self.open()
        info = system.get_file_info(f"{path}/{name}")
        return Entry(name, info.size or 0, info.mtime_ns or 0)

    def seekable(self, name: str) -> Any:
        """One file, open for reading at any place.

        Raises:
            OSError: it is not there, cannot be read, or is no regular file: a pipe would be waited for.
        """
        if self.local is not None:
            at = self.regular(name)
            if not str(at).isprintable():  # pyarrow takes no names that are no UTF-8
                return at.open("rb")
        system, path = self.open()
        return system.open_input_file(f"{path}/{name}")

    def stream(self, name: str) -> Any:
        """One file, open for reading from its beginning to its end. Raises as `seekable`."""
        if self.local is not None:
            return self.seekable(name)
        system, path = self.open()
        return system.open_input_stream(f"{path}/{name}", compression=None)

    def regular(self, name: str) -> Path:
        """The path of a file of this local folder.

        Raises:
            OSError: it is not there, or is no regular file: a pipe or a device would be waited for.
        """
        assert self.local is not None, "only files of a disk have a path"
        at = self.local / name
        if not stat.S_ISREG(os.stat(at).st_mode):
            raise OSError(f"{at} is no regular file")
        return at

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of one file.

        Args:
            most: bytes of it that are wanted; of a larger file there is one more.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if self.local is not None:
            with open(f"{self.local}/{name}", "rb") as file:
                return _read(file, most)
        if most is not None and (found := _read_object(self, name, most)) is not None:
            return found
        with self._reaching():
            system, path = self.open()
            with system.open_input_stream(f"{path}/{name}", compression=None) as stream:
                return _read(stream, most)

    def write(self, name: str, content: bytes) -> None:
        """Write one file; a reader sees the old content or the new, never a part.

        Raises:
            StorageError: the folder is read-only, full or unreachable, or its guard forbids it.
        """
        if self.guard is not None:
            self.guard()
        system, path = self.open()
        target = f"{path}/{name}"
        try:
            if self.local is not None or system.type_name not in FLAT:
                system.create_dir(target.rsplit("/", 1)[0], recursive=True)
            if self.local is None:
                with system.open_output_stream(target, compression=None) as stream:
                    stream.write(content)
                return
        except OSError as error:
            raise StorageError(f"storage {self.uri!r} cannot be written: {error}") from error
        with self.replacing(name) as beside:
            beside.write_bytes(content)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A path to write in place of a file of this local folder, which gets that content when the block ends well.

        Raises:
            StorageError: the folder is read-only or full.
        """
        assert self.local is not None, "only files of a disk are replaced"
        target = self.local / name
        beside = target.with_name(f"{target.name}.{uuid4().hex}.part")
        try:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                yield beside
                beside.replace(target)
            finally:
                beside.unlink(missing_ok=True)
        except StorageError:  # what is written comes from another storage
            raise
        except OSError as error:
            raise StorageError(f"storage {self.uri!r} cannot be written: {error}") from error

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of this folder, or None when it is absent, cut short or far too large.

        Raises:
            StorageError: it is there and cannot be read.
        """
        try:
            content = self.read(name, LARGEST_JSON)
            found = json.loads(content) if len(content) <= LARGEST_JSON else None
        except StorageUnreachable:
            raise
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
            return None
        except OSError as error:  # of a disk
            raise StorageError(f"storage {self.uri!r}: {name} cannot be read: {error.strerror or error}") from error
        return found if isinstance(found, dict) else None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file, as `write`.

        Raises:
            StorageError: also where it is larger than what `read_json` reads.
        """
        text = (json.dumps(content, indent=1) + "\n").encode()
        if len(text) > LARGEST_JSON:
            raise StorageError(
                f"storage {self.uri!r}: {name} would have {len(text) >> 20} MiB, and a record is read up to "
                f"{LARGEST_JSON >> 20} MiB"
            )
        self.write(name, text)

    def create(self, name: str, content: bytes) -> bool:
        """Write one file unless it is there already; whether this call wrote it.

        Of many callers one wins: on object stores by a conditional write, on a disk by a link.

        Raises:
            StorageError: the folder is read-only, full or unreachable.
        """
        if self.local is None:
            return create_object(self, name, content)
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            return _create_file(self.local / name, content)
        except OSError as error:
            raise StorageError(f"storage {self.uri!r} cannot be written: {error}") from error

    def delete(self, name: str = "") -> None:
        """Remove one file or folder inside, or, without a name, this folder; absent is no error."""
        if self.guard is not None:
            self.guard()
        with self._reaching():
            self._delete(name)

    def _delete(self, name: str) -> None:
        from pyarrow.fs import FileType

        system, path = self.open()
        target = f"{path}/{name}" if name else path
        kind = system.get_file_info(target).type
        if kind == FileType.Directory:
            system.delete_dir(target)
        elif kind == FileType.File:
            system.delete_file(target)


def _create_file(target: Path, content: bytes) -> bool:
    """Whether this call made the file, whose whole content is there from its first moment."""
    beside = target.with_name(f"{target.name}.{uuid4().hex}.part")
    beside.write_bytes(content)
    try:
        os.link(beside, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        try:
            with target.open("xb") as stream:
                stream.write(content)
        except FileExistsError:
            return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def create_object(folder: Folder, name: str, content: bytes) -> bool:
    """Write an object of a store unless it is there already; whether this call wrote it.

    Raises:
        StorageError: the store is unreachable or lets nobody in.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError

    at = urlsplit(_with_endpoint(_quoted(folder.uri)))
    if at.scheme not in CONDITIONAL:
        return _create_and_settle(folder, name, content)
    try:
        store = _object_store(at.scheme, at.netloc, at.query, tries=10)
        obstore.put(store, _object_name(at, name), content, mode="create")
    except AlreadyExistsError:
        return False
    except NotSupportedError:
        return _create_and_settle(folder, name, content)
    except BaseError as error:
        reason = " ".join(str(error).split())[:300]
        raise StorageUnreachable(f"storage {folder.uri!r} cannot be written: {reason}") from error
    return True


def _read_object(folder: Folder, name: str, most: int) -> bytes | None:
    """A small object of S3 by one request, where pyarrow makes two. None where that is refused or fails, or the object
    is larger than `most`: pyarrow looks for keys in more places, waits and explains.

    Raises:
        FileNotFoundError: there is no such object.
    """
    at = urlsplit(_with_endpoint(_quoted(folder.uri)))
    if at.scheme != "s3" or "AWS_ACCESS_KEY_ID" not in os.environ:
        return None
    import obstore
    from obstore.exceptions import BaseError, NotFoundError

    try:
        found = obstore.get(_object_store(at.scheme, at.netloc, at.query, tries=1), _object_name(at, name))
        return bytes(found.bytes()) if found.meta["size"] <= most else None
    except NotFoundError:
        raise FileNotFoundError(f"{folder.uri}/{name}") from None
    except BaseError:
        return None


@lru_cache(maxsize=256)
def _object_store(scheme: str, bucket: str, query: str, *, tries: int) -> Any:
    """A bucket as obstore has it, whose requests are made so many times before they fail."""
    from obstore.store import from_url

    given = dict(parse_qsl(query))
    options: dict[str, Any] = {"retry_config": {"max_retries": tries - 1}}
    if where := given.get("endpoint_override"):
        options["config"] = {"aws_endpoint": f"{given['scheme']}://{where}"}
        options["client_options"] = {"allow_http": True}
    return from_url(f"{scheme}://{bucket}", **options)


def _object_name(at: SplitResult, name: str) -> str:
    return f"{unquote(at.path).strip('/')}/{name}"


def _create_and_settle(folder: Folder, name: str, content: bytes) -> bool:
    """The same on a storage without conditional writes: the last of several who write at the same moment is the one,
    and all of them wait for long enough to see it."""
    if folder.exists(name):
        return False
    folder.write(name, content)
    time.sleep(SETTLE_S)
    return folder.read(name) == content


def _read(stream: Any, most: int | None) -> bytes:
    """A stream to its end, or one byte more than `most`; piece by piece, as as much memory is taken as is asked for."""
    if most is None:
        return bytes(stream.read())
    content = b""
    while piece := stream.read(min(PIECE, most + 1 - len(content))):
        content += piece
    return content


def locate(location: str) -> tuple[Folder, str | None]:
    """A folder, or the folder of a file and the file's name.

    Raises:
        FileNotFoundError: nothing is there.
    """
    from pyarrow.fs import FileType

    folder = Folder.at(location)
    system, path = folder.open()
    kind = system.get_file_info(path).type
    if kind == FileType.NotFound:
        raise FileNotFoundError(location)
    if kind == FileType.Directory:
        return folder, None
    if folder.local is not None:
        folder.regular("")
    parent, _, name = folder.uri.rpartition("/")
    return Folder(parent), name


class Entry(NamedTuple):
    """A file below a folder: its path relative to the folder, bytes, and time of change in nanoseconds."""

    name: str
    size: int
    changed: int


LOOPBACK = ("localhost", "[::1]")
FLAT = ("s3", "gcs", "abfs")  # no folders: names with slashes


@lru_cache(maxsize=256)
def remote_filesystem(uri: str) -> tuple[FileSystem, str]:
    """The file system of a URI, and the path in it.

    Raises:
        OSError, ValueError, ImportError: there is none, or what it needs is not installed.
    """
    import pyarrow as pa
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    if (module := OURS.get(f"{uri.partition('://')[0]}://")) is not None:
        return importlib.import_module(module).filesystem(uri)  # type: ignore[no-any-return]
    try:
        return FileSystem.from_uri(_with_endpoint(_quoted(uri)))  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        unknown = error
    try:
        import fsspec

        system, path = fsspec.url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{unknown}; {error}") from error
    return PyFileSystem(FSSpecHandler(system)), str(path)


def _quoted(uri: str) -> str:
    """A place as pyarrow's parser takes it: what we are given and what it lists are names as they are, with blanks,
    `%`, `#` and letters of any script."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host}{slash}{quote(path)}"


def _with_endpoint(uri: str) -> str:
    """An S3 URI with the endpoint of `AWS_ENDPOINT_URL`, which pyarrow leaves unread. Without a scheme it is reached by
    https, or by http on this machine."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or not uri.startswith("s3://"):
        return uri
    if "://" not in endpoint:
        here = endpoint.partition("/")[0].rpartition(":")[0] or endpoint
        endpoint = f"{'http' if here in LOOPBACK or here.startswith('127.') else 'https'}://{endpoint}"
    parts = urlsplit(endpoint)
    where = parts.netloc + parts.path.rstrip("/")
    return f"{uri}?{urlencode({'endpoint_override': where, 'scheme': parts.scheme})}"

"""A run's own code: an archive of what its job imports, kept with the run and unpacked where an attempt runs.

RUN/code/attempt-1.zip    what attempts from that one on import; see `gan_dist.registry.own_code` for what is in it
HOME/code/SHA256/         one archive, unpacked
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gan_dist.errors import StorageError
from gan_dist.runs.storage import Folder, home
from gan_dist.runs.unpacking import open_zip

FOLDER = "code"
ORIGIN = ".origin"  # in an unpacked archive: the folder that it was made of, for what was not taken along
_NAME = re.compile(r"attempt-(\d+)\.zip")
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def archive_code(files: Mapping[str, Path]) -> bytes:
    """An archive of some files; equal content gives equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), path.read_bytes())
    return buffer.getvalue()


def digest_of(content: bytes) -> str:
    """SHA-256 of an archive."""
    return hashlib.sha256(content).hexdigest()


def stored_code(run: Folder) -> bytes | None:
    """The archive that a run's next attempt imports; None where its job names no code of its own."""
    numbers = [int(found[1]) for name in run.child(FOLDER).names() if (found := _NAME.fullmatch(name))]
    return run.child(FOLDER).read(f"attempt-{max(numbers)}.zip") if numbers else None


def stored_code_digest(run: Folder) -> str | None:
    """SHA-256 of that archive."""
    content = stored_code(run)
    return None if content is None else digest_of(content)


def store_code(run: Folder, attempt: int, content: bytes) -> None:
    """Keep an archive with the run, from an attempt on; one that is there already is not written again.

    Raises:
        StorageError: the storage cannot be written.
    """
    if stored_code_digest(run) != digest_of(content):
        run.child(FOLDER).write(f"attempt-{attempt}.zip", content)


def unpack_code(content: bytes, origin: Path | None = None) -> Path:
    """The folder of an archive's files, unpacked once for each content.

    Args:
        origin: the folder that the archive was made of, where it is still there.

    Raises:
        StorageError: the folder cannot be written, or the archive is damaged.
    """
    place = home() / FOLDER / digest_of(content)
    try:
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
                fresh = Path(scratch) / "files"
                with open_zip(content) as archive:
                    archive.extractall(fresh)
                try:
                    os.replace(fresh, place)
                except OSError:
                    if not place.is_dir():  # else somebody else was faster
                        raise
        if origin is not None:
            (place / ORIGIN).write_text(str(origin))
    except Exception as error:  # of whatever unpacks
        raise StorageError(f"a run's code cannot be unpacked into {place}: {error}") from error
    return place


def origin_of(folder: Path) -> Path | None:
    """The folder that an unpacked archive was made of; None where it is gone, or the folder is no such archive."""
    try:
        origin = Path((folder / ORIGIN).read_text())
    except OSError:
        return None
    return origin if origin.is_dir() else None


def path_as_written(file: str) -> str:
    """The file that a person wrote, of one in an unpacked archive: in the folder that the archive was made of, or named
    from there where that folder is not on this machine. Any other path is returned as it is."""
    archives = home() / FOLDER
    path = Path(file)
    if not path.is_relative_to(archives):
        return file
    digest, *inside = path.relative_to(archives).parts
    return str(Path(origin_of(archives / digest) or "", *inside))

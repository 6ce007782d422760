"""Files that grow, on a storage that knows whole files only: written on this machine, copied whole as they grow."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gan_dist.errors import StorageError
from gan_dist.runs.storage import Folder

PUSH_S = 20.0


class Mirror:
    """A folder of this machine whose files are kept up to date on a storage. A local storage is that folder itself.

    Args:
        folder: of the storage.
        warn: is told of what could not be copied; it is tried again with the next push.
    """

    def __init__(self, folder: Folder, warn: Callable[[str], None]) -> None:
        self.folder, self.warn = folder, warn
        self.here = folder.local or Path(tempfile.mkdtemp(prefix="gan-dist-mirror-"))
        self._sent: dict[str, tuple[int, int]] = {}
        self._pushed_at = time.monotonic()

    def pull(self, name: str) -> Path:
        """The file's path here, with what the storage has of it, if it has any."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.folder.local is None and self.folder.exists(name):
            path.write_bytes(self.folder.read(name))
            self._sent[name] = _state(path)
        return path

    def push(self, least_s: float = 0.0) -> None:
        """Copy the files that changed since they were copied, unless that was less than `least_s` seconds ago."""
        if self.folder.local is not None or time.monotonic() - self._pushed_at < least_s:
            return
        for path in sorted(self.here.rglob("*")):
            if path.is_file():
                self._send(path.relative_to(self.here).as_posix(), path)
        self._pushed_at = time.monotonic()

    def _send(self, name: str, path: Path) -> None:
        state = _state(path)
        if self._sent.get(name) == state:
            return
        try:
            self.folder.write(name, path.read_bytes())
            self._sent[name] = state
        except StorageError as error:
            self.warn(str(error))

    def close(self) -> None:
        """Copy what is left, and leave nothing here."""
        self.push()
        if self.folder.local is None:
            shutil.rmtree(self.here, ignore_errors=True)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns

"""TensorBoard on a run, or on all of a storage; what lies elsewhere is copied to this machine as it grows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

from gan_dist.storage import Folder, StorageError

LOOK_S = 20.0


def show(folder: Folder, port: int | None) -> NoReturn:
    """Run TensorBoard until it is ended, in place of this process where `folder` is a local path."""
    if folder.local is not None:
        # Whoever ends this process ends TensorBoard.
        os.execv(sys.executable, _command(str(folder.local), port))
    with tempfile.TemporaryDirectory(prefix="gan-dist-board-") as here:
        sizes: dict[str, int] = {}
        fetch(folder, Path(here), sizes)
        over = threading.Event()
        threading.Thread(target=_keep_fetching, args=(folder, Path(here), sizes, over), daemon=True).start()
        try:
            code = subprocess.run(_command(here, port)).returncode
        except KeyboardInterrupt:
            code = 0
        over.set()
    raise SystemExit(code)


def fetch(folder: Folder, here: Path, sizes: dict[str, int]) -> None:
    """Copy the event files below that are new or longer than `sizes` says, which is brought up to date.

    Raises:
        StorageError: the storage cannot be read.
    """
    for name, size in folder.files():
        if "events." not in name.rpartition("/")[2] or sizes.get(name) == size:
            continue
        try:
            content = folder.read(name)
        except FileNotFoundError:  # its run was deleted meanwhile
            continue
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sizes[name] = size


def _keep_fetching(folder: Folder, here: Path, sizes: dict[str, int], over: threading.Event) -> None:
    while not over.wait(LOOK_S):
        try:
            fetch(folder, here, sizes)
        except StorageError as error:
            print(f"warning: {error}; trying again", file=sys.stderr)


def _command(folder: str, port: int | None) -> list[str]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1"]
    return [*command, *(["--port", str(port)] if port else [])]

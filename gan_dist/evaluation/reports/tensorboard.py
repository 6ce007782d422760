"""TensorBoard on a run, or on all of a storage; what lies elsewhere is copied to this machine as it grows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

from gan_dist.runs.storage import Folder

LOOK_S = 20.0


def run_tensorboard(folder: Folder, port: int | None, trials: Callable[[], Mapping[str, Folder]] = dict) -> NoReturn:
    """Run TensorBoard until it is ended, in place of this process where `folder` is a local path.

    Args:
        folder: below which event files lie.
        port: TensorBoard's; None for a free one.
        trials: asked at each look which other folders there are, where they are not linked below `folder`, by the names
            that they are shown under.
    """
    if folder.local is not None:
        # Whoever ends this process ends TensorBoard.
        os.execv(sys.executable, _command(str(folder.local), port))
    _run_beside(lambda here: EventFileCopy(folder, here, trials).renew, port)


def run_tensorboard_of_all(storage: Folder, port: int | None) -> NoReturn:
    """Run TensorBoard on every run of a storage, each once and under its id, until it is ended."""
    local = storage.local
    if local is None:
        _run_beside(lambda here: EventFileCopy(storage, here).renew, port)
    _run_beside(lambda here: partial(link_runs, local, here), port)


def link_runs(storage: Path, here: Path) -> None:
    """Link the TensorBoard folder of each run of a storage into `here`, under the run's id.

    A sweep's own folder holds nothing but links to its trials, which are runs of the storage themselves.
    """
    for board in sorted(storage.glob("*/tensorboard")):
        link = here / board.parent.name
        if not link.is_symlink() and any(not entry.is_symlink() for entry in board.iterdir()):
            link.symlink_to(board.absolute())


def _run_beside(renewing: Callable[[Path], Callable[[], None]], port: int | None) -> NoReturn:
    """Run TensorBoard on a temporary folder that is filled anew every few seconds.

    Args:
        renewing: given the folder, what fills it.
    """
    with tempfile.TemporaryDirectory(prefix="gan-dist-board-") as here:
        renew = renewing(Path(here))
        renew()
        over = threading.Event()
        threading.Thread(target=_keep_renewing, args=(renew, over), daemon=True).start()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left here
        try:
            code = subprocess.run(_command(here, port)).returncode
        except KeyboardInterrupt:
            code = 0
        over.set()
    raise SystemExit(code)


class EventFileCopy:
    """The event files of a folder, and of trials, on this machine."""

    def __init__(self, folder: Folder, here: Path, trials: Callable[[], Mapping[str, Folder]] = dict) -> None:
        self.folder, self.here, self.trials = folder, here, trials
        self.sizes: dict[Path, int] = {}

    def renew(self) -> None:
        """Copy the event files that are new or have grown.

        Raises:
            StorageError: the storage cannot be read.
        """
        for name, folder in {"": self.folder, **self.trials()}.items():
            copy_event_files(folder, self.here / name, self.sizes)


def copy_event_files(folder: Folder, here: Path, sizes: dict[Path, int]) -> None:
    """Copy the event files below that are new or longer than `sizes` says, which is brought up to date.

    Raises:
        StorageError: the storage cannot be read.
    """
    for name, size in folder.files():
        path = here / name
        if "events." not in path.name or sizes.get(path) == size:
            continue
        try:
            content = folder.read(name)
        except FileNotFoundError:  # its run was deleted meanwhile
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sizes[path] = size


def _keep_renewing(renew: Callable[[], None], over: threading.Event) -> None:
    while not over.wait(LOOK_S):
        try:
            renew()
        except (OSError, ValueError) as error:
            print(f"warning: {error}; trying again", file=sys.stderr)


def _command(folder: str, port: int | None) -> list[str]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1"]
    return [*command, *(["--port", str(port)] if port else [])]

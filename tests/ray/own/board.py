"""A tracker that writes what it is told, and in which process."""

from pathlib import Path

import psutil

from gan_dist.contracts import Shown, TrackedRun


class Board:
    """Writes a line for each call."""

    def __init__(self, *, run: TrackedRun, file: str) -> None:
        self.file = Path(file)
        self._write("begin", run.id)

    def scalars(self, values: dict[str, float], seen: int) -> None:
        self._write("scalars", seen)

    def samples(self, name: str, shown: Shown, seen: int) -> None:
        self._write(name, seen)

    def finish(self, finished: bool) -> None:
        self._write("finish", finished)

    def _write(self, *words: object) -> None:
        title = psutil.Process().cmdline()[0].partition(".")[0]
        with self.file.open("a") as file:
            print(title, *words, file=file)

"""The log of an attempt, in the run's folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from gan_dist.runs.mirror import PUSH_S, Mirror
from gan_dist.runs.run_folder import RunFolder


class AttemptLog:
    """An attempt's log, which `mirror` brings to the storage."""

    def __init__(self, file: TextIO, mirror: Mirror) -> None:
        self.file, self.mirror = file, mirror

    def write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()
        self.mirror.push(PUSH_S)


class LogTee:
    """A text stream that also writes to a log."""

    def __init__(self, stream: TextIO, log: AttemptLog) -> None:
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        self.log.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def log_prints(folder: RunFolder, attempt: int) -> Iterator[AttemptLog]:
    """Everything printed inside also goes to `logs/attempt-N.log` of a run folder, which is given."""
    out, err = sys.stdout, sys.stderr
    mirror = Mirror(folder.folder, lambda text: print(f"warning: {text}", file=err))
    path = mirror.pull(f"logs/attempt-{attempt}.log")
    with path.open("a") as file:
        log = AttemptLog(file, mirror)
        sys.stdout, sys.stderr = LogTee(out, log), LogTee(err, log)
        try:
            yield log
        finally:
            sys.stdout, sys.stderr = out, err
    mirror.close()

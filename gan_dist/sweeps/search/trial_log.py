"""`trials.jsonl` in a sweep's folder: the truth about the sweep, one line for each thing that happened.

A line is written, flushed and synced before anything follows from it, and never changed. One that a kill cut short is
dropped: what it would have said is then done again. An object store appends nothing, so there the file is written anew
with each line. Ray Tune's own state is not used to resume: its files are
rewritten in place, and a truncated one ends the sweep.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.runs.storage import Folder
from gan_dist.sweeps.search.history import History, Mode, Outcome, Task

NAME = "trials.jsonl"


class Ledger:
    """The record of a sweep.

    Args:
        folder: which holds the file; made when the first line is written.
        modes: whether the lowest or highest is best, of each metric.
    """

    def __init__(self, folder: Folder, modes: tuple[Mode, ...] = ("min",)) -> None:
        self.folder = folder
        self.history = History(modes)
        self.began: dict[str, Any] | None = None
        self.seconds = 0.0
        self._content = _whole(folder)
        for line in _lines(self._content, f"{folder.uri}/{NAME}"):
            self._take(line)

    def begin(self, facts: dict[str, Any]) -> None:
        """Note what is searched, once."""
        self._write({"what": "sweep", **facts})

    def give(self, task: Task, run: str) -> None:
        self._write({"what": "task", **asdict(task), "run": run})

    def end(self, task: Task, outcome: Outcome) -> None:
        number, repetition, leg = task.key
        self._write(
            {"what": "outcome", "number": number, "repetition": repetition, "leg": leg, "outcome": asdict(outcome)}
        )

    def spend(self, seconds: float) -> None:
        """Note how long an attempt has taken so far; the last of an attempt counts."""
        self._write({"what": "spent", "seconds": seconds})

    def _write(self, line: dict[str, Any]) -> None:
        self._take(line)
        text = (json.dumps({**line, "time": round(time.time(), 3)}) + "\n").encode()
        if self.folder.local is None:
            self._content += text
            self.folder.write(NAME, self._content)
        else:
            _append(self.folder.local / NAME, text)

    def _take(self, line: dict[str, Any]) -> None:
        match line["what"]:
            case "sweep":
                self.began = line
            case "task":
                self.history.give(Task(**{key: line[key] for key in Task.__dataclass_fields__}))
            case "outcome":
                task = self.history.tasks[line["number"], line["repetition"], line["leg"]]
                self.history.end(task, Outcome.read(line["outcome"]))
            case "spent":
                self.seconds = line["seconds"]


def trial_uri(sweep: str, trial: tuple[int, int], seeds: int) -> str:
    """The folder of a trial, beside its sweep: `-t` and the configuration's number, with seeds `s` and its number."""
    number, repetition = trial
    return f"{sweep}-t{number:03d}" + (f"s{repetition}" if seeds > 1 else "")


def _append(path: Path, text: bytes) -> None:
    _cut_partial_line(path)
    with path.open("ab") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _cut_partial_line(path: Path) -> None:
    """Drop a last line without its end, so that the next does not continue it. Only the one writer may do so."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)


def _whole(folder: Folder) -> bytes:
    """The lines of a ledger that have their end; none where there is no ledger."""
    try:
        content = folder.read(NAME)
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _lines(content: bytes, where: str) -> list[dict[str, Any]]:
    """Raises ValueError where a line is damaged."""
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            raise UsageError(f"{where}:{number}: this line of the sweep's record is damaged") from None
    return found

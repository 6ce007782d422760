"""Reading by several processes: what one would write, errors as one would raise them, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gan_dist.data import executors
from gan_dist.data import source as parts_of_sources
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.source import Part
from gan_dist.data.sources.registry import find_source
from gan_dist.errors import DataError, StorageError
from gan_dist.runs.storage import Folder
from tests.data.corpus import many, spec


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    monkeypatch.setattr(parts_of_sources, "rows_of_a_part", lambda look: 4)
    monkeypatch.setattr(executors, "usable_cpus", lambda: 3)
    many(tmp_path / "in", 30)
    return list(find_source(spec(tmp_path / "in")).parts)


def test_processes_write_what_one_writes(parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = list(write_shards_on_processes(parts, Folder.at(tmp_path / "several")))
    monkeypatch.setattr(executors, "usable_cpus", lambda: 1)
    assert sorted(several, key=str) == sorted(write_shards_on_processes(parts, Folder.at(tmp_path / "one")), key=str)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "several" / path.name).read_bytes() == path.read_bytes()


def test_they_are_other_processes(parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "write_shard", lambda part, folder: {"by": os.getpid()})
    by = {record["by"] for record in write_shards_on_processes(parts, Folder.at(tmp_path))}
    assert len(by) == 3 and os.getpid() not in by


def test_an_error_is_the_one_that_was_raised(
    parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: Part, folder: Folder) -> dict[str, Any]:
        raise StorageError(f"storage {folder.uri!r} cannot be written: no space left")

    monkeypatch.setattr(executors, "write_shard", full)
    with pytest.raises(StorageError, match="no space left"):
        list(write_shards_on_processes(parts, Folder.at(tmp_path)))
    assert not multiprocessing.active_children()


def test_a_killed_process_is_noticed(parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(part: Part, folder: Folder) -> dict[str, Any]:
        if part.first == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        return {"file": part.first}

    monkeypatch.setattr(executors, "write_shard", killed)
    with pytest.raises(DataError, match="was killed, most often because memory ran out"):
        list(write_shards_on_processes(parts, Folder.at(tmp_path)))
    assert not multiprocessing.active_children()


def test_who_stops_listening_leaves_nobody(parts: list[Part], tmp_path: Path) -> None:
    reading = write_shards_on_processes(parts, Folder.at(tmp_path))
    next(reading)
    reading.close()
    assert not multiprocessing.active_children()


def test_an_object_store_is_read_by_threads(parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their clients do not survive a fork."""
    monkeypatch.setattr(executors, "write_shard", lambda part, folder: {"by": os.getpid()})
    assert {record["by"] for record in write_shards_on_processes(parts, Folder("s3://bucket/x"))} == {os.getpid()}


class Odd(Exception):
    """It does not pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} of {two}")


def test_an_error_that_does_not_travel_is_told_in_words(
    parts: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(part: Part, folder: Folder) -> dict[str, Any]:
        raise Odd(1, 2)

    monkeypatch.setattr(executors, "write_shard", odd)
    with pytest.raises(RuntimeError, match="Odd: 1 of 2"):
        list(write_shards_on_processes(parts, Folder.at(tmp_path)))

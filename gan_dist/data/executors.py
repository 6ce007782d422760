"""The two executors that decode parts of a source into shards: processes of this machine, and Ray Data.

Decoding is work of Pillow's and of Python's; threads would wait for Python's lock half of the time.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.prepare import Executor, Prepared
from gan_dist.data.shards import read_samples, write_shard
from gan_dist.data.source import Part
from gan_dist.distributed.machine import usable_cpus
from gan_dist.errors import DataError, StorageError
from gan_dist.runs.storage import Folder, is_uri

Record = dict[str, Any]


def write_shards_on_processes(parts: Sequence[Part], folder: Folder) -> Iterator[Record]:
    """Writes the shards of all parts; their records, as they come.

    Raises:
        DataError: a part cannot be read, or a process was killed while it read.
        StorageError: the folder cannot be written.
    """
    workers = min(usable_cpus(), len(parts))
    if workers > 1 and _may_fork(parts[0], folder):
        yield from _forked(parts, folder, workers)
        return
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from pool.map(lambda part: write_shard(part, folder), parts)


def _may_fork(part: Part, folder: Folder) -> bool:
    """Clients of object stores do not survive a fork; they wait for the network, where threads do as well. Nor do
    macOS's own libraries, and daemons may have no children."""
    remote = folder.local is None or is_uri(part.root)
    return sys.platform == "linux" and not multiprocessing.current_process().daemon and not remote


def _forked(parts: Sequence[Part], folder: Folder, workers: int) -> Iterator[Record]:
    """Forked, not started anew: a new process would import for longer than most sets take to read."""
    context = multiprocessing.get_context("fork")
    reading: dict[Connection, Any] = {}
    try:
        for number in range(workers):
            receiver, sender = context.Pipe(duplex=False)
            # Neighbours: a page of names that one process touches becomes its own copy.
            mine = range(number * len(parts) // workers, (number + 1) * len(parts) // workers)
            process = context.Process(
                target=_read, args=(parts, mine, folder, receiver, sender, os.getpid()), daemon=True
            )
            process.start()
            sender.close()
            reading[receiver] = process
        yield from _received(reading)
    finally:
        for process in reading.values():
            process.terminate()
            process.join()


def _received(reading: dict[Connection, Any]) -> Iterator[Record]:
    """What the processes send, until each has sent None: that it is done."""
    waiting = dict(reading)
    while waiting:
        ready = wait([*waiting, *(process.sentinel for process in waiting.values())])
        for receiver in [one for one, process in waiting.items() if one in ready or process.sentinel in ready]:
            try:
                sent = receiver.recv()
            except EOFError:
                raise DataError(
                    "data: a process that read samples was killed, most often because memory ran out; "
                    "try again, with less else running"
                ) from None
            if isinstance(sent, Exception):
                raise sent
            if sent is None:
                del waiting[receiver]
            else:
                yield sent


def _read(
    parts: Sequence[Part], mine: range, folder: Folder, receiver: Connection, sender: Connection, parent: int
) -> None:
    """Read some parts, as long as there is somebody to tell."""
    receiver.close()  # else nobody would notice that the other side is gone
    gc.freeze()  # looking for garbage among the parent's objects would make a copy of each page of them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this one ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for number in mine:
            if os.getppid() != parent:
                return
            sender.send(write_shard(parts[number], folder))
        sender.send(None)
    except (DataError, StorageError) as error:
        sender.send(error)
    except Exception as error:  # it may not pickle
        sender.send(RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


READ_HERE_BYTES = 256 << 20


def write_shards_on_ray(cpus: int) -> Executor:
    """Decodes parts as Ray Data tasks, `cpus` at a time; the records come as they are done."""

    def execute(parts: Sequence[Part], folder: Folder) -> Iterator[Record]:
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"asked": json.dumps({"part": asdict(part), "folder": folder.uri})} for part in parts]
        # The workers start meanwhile and may hold every CPU, so the tasks ask for none; their number is limited.
        written = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _write, batch_size=1, batch_format="numpy", num_cpus=0, concurrency=min(cpus, len(items))
        )
        for row in written.iter_rows():
            yield json.loads(row["record"])

    return execute


def blocks_of(found: Prepared) -> list[Any]:
    """References to the shards' images in the object store, in canonical order."""
    import ray

    ends = np.cumsum([record["rows"] for record in found.records])
    labels = np.split(found.column("label"), ends[:-1])
    shards = list(zip(found.records, labels, strict=True))
    if found.bytes <= READ_HERE_BYTES:
        return [ray.put(read_samples(found.folder, record, classes)) for record, classes in shards]
    read = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(read_samples)
    return [read.remote(found.folder, record, classes) for record, classes in shards]


def _write(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """One part, as text: Arrow would turn its tuples and mappings into something else."""
    (asked,) = map(json.loads, batch["asked"])
    return {"record": [json.dumps(write_shard(Part.of(asked["part"]), Folder(asked["folder"])))]}

"""What this process may use of its machine: of its CPUs and of its memory, as far as a container's limits allow."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

ROOT = Path("/")  # below it lie /proc and /sys
MEMORY_FILES = (  # limit, usage, and what of that usage is a cache of files; of version 2 and of version 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
NO_LIMIT = 1 << 60  # bytes; version 1 writes a number near 2^63 where there is no limit
# By default glibc gives large blocks back to the system when they are freed. A training step takes and frees the same
# ones each time, and the system would fill their pages with zeros anew.
KEEPS_FREED_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 62),
    # Ray Train's function runs in a thread, and what the system gives to threads has parts of 64 MiB at most.
    "MALLOC_ARENA_MAX": "1",
}
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def usable_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may use, at least 1: by its affinity, and by the quotas of its cgroups."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [quota / period for quota, period in _quotas(root) if quota > 0 and period > 0]
    return max(1, min([count, *map(int, shares)]))


def total_memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may ever use: the machine's, or the least limit of its cgroups."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _memory(root))])


def available_memory(root: Path = ROOT) -> int:
    """Bytes of memory that are free now for this process; a cgroup's cache of files counts as free."""
    return min([int(psutil.virtual_memory().available), *(max(0, limit - used) for limit, used in _memory(root))])


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees for what it takes next; False where its C library cannot.

    A process that is started with the variables of `KEEPS_FREED_MEMORY` does so too.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl has a mallopt too, which does nothing
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of CPU time in each period of so many, by each cgroup."""
    for folder in _cgroups(root, "cpu"):
        if (written := _text(folder / "cpu.max")) is not None:
            quota, _, period = written.partition(" ")
            yield _number(quota), _number(period)
        yield _number(_text(folder / "cpu.cfs_quota_us")), _number(_text(folder / "cpu.cfs_period_us"))


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """The limit of each cgroup in bytes, and what is used of it."""
    for folder in _cgroups(root, "memory"):
        for limit, usage, files in MEMORY_FILES:
            if 0 < (most := _number(_text(folder / limit))) < NO_LIMIT:
                lines = (line.split() for line in (_text(folder / "memory.stat") or "").splitlines())
                held = {line[0]: _number(line[1]) for line in lines if len(line) == 2}
                yield most, max(0, _number(_text(folder / usage)) - max(0, held.get(files, 0)))


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and of those above, of version 2 and of a controller of version 1.
    A container sees its own at the top, whatever path it is told."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounted = [controllers, controller] if controllers else ["", "unified"]
        below = PurePosixPath(path.strip("/"))
        for mount in dict.fromkeys(mounted):
            for one in (below, *below.parents) if below.name else (below,):
                yield root / "sys/fs/cgroup" / mount / one


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None


def _number(written: str | None) -> int:
    """-1 for none, and for `max`."""
    return int(written) if written is not None and written.isdigit() else -1

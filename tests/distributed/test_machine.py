"""Limits of containers, as made-up files of cgroups tell them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gan_dist.distributed.machine import available_memory, total_memory, usable_cpus

MIB = 1 << 20
MACHINE = SimpleNamespace(total=8192 * MIB, available=4096 * MIB)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 CPUs and 8 GiB, half of which is free."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: MACHINE)


def cgroups(root: Path, told: str, files: dict[str, str]) -> Path:
    """A root folder whose /proc tells of a cgroup, and whose /sys has these files."""
    for name, text in {"proc/self/cgroup": told, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("told", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "max 100000"}, 16),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "150000 100000"}, 1),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "9900000 100000"}, 16),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b", {"a/cpu.max": "800000 100000", "a/b/cpu.max": "200000 100000"}, 2),
        ("0::/of/the/host", {"cpu.max": "500000 100000"}, 5),
        ("0::/", {"unified/cpu.max": "600000 100000"}, 6),
        (
            "3:cpu,cpuacct:/x",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "50000"},
            5,
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ("3:cpu:/gone", {"cpu/cpu.cfs_quota_us": "700000", "cpu/cpu.cfs_period_us": "100000"}, 7),
        ("4:memory:/x", {"memory/x/cpu.cfs_quota_us": "100000", "memory/x/cpu.cfs_period_us": "100000"}, 16),
        ("nonsense", {}, 16),
        ("0::/", {"cpu.max": "none of it"}, 16),
        ("0::/", {"cpu.max": "100000 0"}, 16),
    ],
)
def test_cpus_by_quota(tmp_path: Path, told: str, files: dict[str, str], cpus: int) -> None:
    cgroups(tmp_path, told, files)
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("told", "files", "total", "free"),
    [
        ("0::/", {}, 8192, 4096),
        ("0::/", {"memory.max": "max", "memory.current": str(MIB)}, 8192, 4096),
        ("0::/", {"memory.max": str(1024 * MIB), "memory.current": str(24 * MIB)}, 1024, 1000),
        (
            "0::/",
            {
                "memory.max": str(1024 * MIB),
                "memory.current": str(924 * MIB),
                "memory.stat": f"anon {24 * MIB}\ninactive_file {900 * MIB}",
            },
            1024,
            1000,
        ),
        ("0::/a/b", {"a/memory.max": str(512 * MIB), "a/memory.current": str(12 * MIB)}, 512, 500),
        (
            "7:memory:/docker/x",
            {
                "memory/docker/x/memory.limit_in_bytes": str(2048 * MIB),
                "memory/docker/x/memory.usage_in_bytes": str(1048 * MIB),
                "memory/docker/x/memory.stat": f"inactive_file 5\ntotal_inactive_file {500 * MIB}",
            },
            2048,
            1500,
        ),
        ("7:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 8192, 4096),
        ("0::/", {"memory.max": str(64 * MIB), "memory.current": str(80 * MIB)}, 64, 0),
    ],
)
def test_memory_by_limit(tmp_path: Path, told: str, files: dict[str, str], total: int, free: int) -> None:
    cgroups(tmp_path, told, files)
    assert (total_memory(tmp_path), available_memory(tmp_path)) == (total * MIB, free * MIB)


def test_without_cgroups_it_is_the_machine(tmp_path: Path) -> None:
    assert (usable_cpus(tmp_path), total_memory(tmp_path), available_memory(tmp_path)) == (
        16,
        MACHINE.total,
        MACHINE.available,
    )

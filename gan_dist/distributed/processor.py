"""Which processor and device a worker computes on, as a run records it: another one rounds in other places."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine(device: torch.device, cpu_info: Path = CPU_INFO) -> dict[str, str]:
    """The CPU's name, the instruction set that torch uses there, and the GPU's name where the worker has one."""
    found = {"cpu": _cpu_name(cpu_info), "instructions": torch.backends.cpu.get_cpu_capability()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _cpu_name(cpu_info: Path) -> str:
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()

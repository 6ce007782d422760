"""Which device a process computes on, and what that device can do."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 natively (NVIDIA from compute capability 8.0)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def pick_device(asked: str) -> torch.device:
    """The device of a process that has the machine to itself.

    Raises:
        ValueError: CUDA was asked for and is not there.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("resources.device: cuda, but this machine has no usable CUDA device")
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")

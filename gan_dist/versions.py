"""Which versions made a run, for its records and for comparing a cluster with this machine."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("gan-dist", "ray", "torch", "pyarrow", "numpy", "safetensors")


def versions() -> dict[str, str]:
    """Version of Python and of each package that matters; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

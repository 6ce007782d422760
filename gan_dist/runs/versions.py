"""Which versions made a run, for its records and for comparing a cluster with this machine."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("gan-dist", "ray", "torch", "pyarrow", "numpy", "safetensors")


def installed_versions() -> dict[str, str]:
    """Version of Python and of each package that matters; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def version_differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What a cluster runs in other versions than the machine a job was submitted from."""
    return [
        f"the cluster has {name} {here[name]}, this run was submitted with {theirs}; resuming on the other is not exact"
        for name, theirs in there.items()
        if name in here and here[name] != theirs
    ]

"""What every test of sweeps gets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """A record of trials is forced to the disk at each line, thousands of times; nobody cuts the power of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield

"""What every test gets: one torch thread, and a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
HOME_AT_START = os.environ.get("GAN_DIST_HOME")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write tests/golden/*.json anew, after a change of the numbers that was meant",
    )


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the runs or clusters of the person who runs it; a wider fixture may have set a home already."""
    monkeypatch.delenv("GAN_DIST_STORAGE", raising=False)
    if os.environ.get("GAN_DIST_HOME") == HOME_AT_START:
        monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))

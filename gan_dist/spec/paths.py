"""Local paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def absolute_path(written: str | Path) -> Path:
    """A local path made absolute from where we are. The home of a user that nobody is stays as it is written."""
    return Path(os.path.expanduser(written)).absolute()

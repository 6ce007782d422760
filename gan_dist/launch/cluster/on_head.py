"""What a small job does on the disk of a cluster's head. This file is the job's command, so it needs Python alone.

    python -c "$(cat on_head.py)" make|link|list|delete FOLDER

It prints one line of JSON: what came of it, or `error`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

PREFIX = "gan-dist-"


def link_name(folder: str) -> str:
    """What the link to a folder is called among the logs of Ray's session."""
    return PREFIX + hashlib.sha256(folder.encode()).hexdigest()[:16]


def make(folder: Path) -> dict[str, Any]:
    """Make a folder, unless it is there, and link it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "it may not be written", str(folder))
    return link(folder)


def link(folder: Path) -> dict[str, Any]:
    """Link the storage that a folder is in, or else the folder; nothing where there is neither."""
    runs = [one for one in (folder, *folder.parents) if (one / "request.json").is_file()]
    root = runs[-1].parent if runs else folder
    if not root.is_dir():
        return {}
    # Ray writes what a job prints into a file among its logs.
    logs = Path(os.readlink("/proc/self/fd/1")).parent
    if not (logs / link_name(str(root))).is_symlink():
        (logs / link_name(str(root))).symlink_to(root)
    return {"root": str(root)}


def list_files(folder: Path) -> dict[str, Any]:
    """Every file below: its path in the folder, bytes, and time of change in nanoseconds."""
    found = []
    for here, _, names in os.walk(folder):
        for path in (Path(here, name) for name in names):
            try:
                state = path.stat()
            except OSError:  # removed meanwhile, or a link to nothing
                continue
            found.append((str(path.relative_to(folder)), state.st_size, state.st_mtime_ns))
    return {"files": found}


def delete(path: Path) -> dict[str, Any]:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return {}


ACTIONS = {"make": make, "link": link, "list": list_files, "delete": delete}

if __name__ == "__main__":
    try:
        print(json.dumps(ACTIONS[sys.argv[1]](Path(sys.argv[2]))))
    except OSError as error:
        print(json.dumps({"error": f"{error.filename or sys.argv[2]}: {error.strerror or error}"}))

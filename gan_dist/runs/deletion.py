"""Deleting runs: what gan-dist wrote is removed, and what somebody else put there is kept."""

from __future__ import annotations

import re

from gan_dist.errors import UsageError
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder

# What a run's folder holds of ours.
OURS = re.compile(
    r"(request|job|status|lineage)\.json|scalars\.jsonl|trials\.jsonl|stop-.*|lease|logs|tensorboard|grids|"
    r"checkpoints|snapshots|code|metrics|ray|trials|results.*|sweep.*|events\.jsonl|.*\.part"
)


def check_deletable(run: RunFolder) -> None:
    """Whether a folder is a run, and no link to one.

    Raises:
        UsageError: it is not.
    """
    where = run.folder.local
    if where is not None and where.is_symlink():
        raise UsageError(f"{where} is a link to {where.resolve()}; delete that run, or remove the link itself")
    request = run.folder.read_json("request.json") or {}
    if not {"run_id", "job"} <= request.keys():
        raise UsageError(f"{run.uri} is no run of gan-dist (its request.json says nothing of one); nothing is deleted")


def delete_run(run: RunFolder) -> list[str]:
    """Remove what is ours in a run's folder, and the folder if nothing else is in it; the names that were kept."""
    folder: Folder = run.folder
    kept = [name for name in folder.names() if not OURS.fullmatch(name)]
    if not kept:
        folder.delete()
        return []
    # Last of all the mark of a run: a deletion that was cut short can be done again.
    for name in sorted(folder.names(), key=lambda name: name == "request.json"):
        if name not in kept:
            folder.delete(name)
    return kept

"""gan-dist from Python: train a job, and load a trained generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gan_dist.launch.load_job import load_job
from gan_dist.runs.index import new_run_id, remember_run, storage_root
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.sweeps.local import run_here


def train(
    job: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    storage: str | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> RunFolder:
    """Train a job in this process, without Ray; the run's folder.

    Args:
        job: a job file.
        overrides: `{"optimizer.lr": 1e-4}` or `["optimizer.lr=1e-4"]`.
        storage: where the run is stored.
        on_event: receives progress as it happens.

    Raises:
        JobError: the job is wrong.
        RuntimeError: training failed; the text says why.
    """
    spec = load_job(job, overrides)
    run = RunFolder(storage_root(storage, spec.storage).child(new_run_id(spec.name)))
    remember_run(run, attempt=1)
    code = run_here(RunRequest(run.id, run.uri, spec.model_dump_json(by_alias=True)), on_event)
    if code not in (0, 3):
        raise RuntimeError(f"run {run.id} failed: {run.status().get('message')}")
    return run

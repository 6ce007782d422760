"""The trackers of a job."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gan_dist.contracts import TrackedRun
from gan_dist.registry import lookup
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.job import JobSpec
from gan_dist.training.trackers.background import Trackers

FILES = "trackers"  # of a run's folder


def make_trackers(spec: JobSpec, folder: RunFolder, seen: int, warn: Callable[[str], None]) -> Trackers | None:
    """Begin to show a run where its job says; None where it says nothing.

    Args:
        seen: samples seen where this attempt begins.
        warn: told what goes wrong with one.
    """
    if not spec.trackers:
        return None
    local = folder.folder.local
    place = Path(tempfile.mkdtemp(prefix="gan-dist-")) if local is None else local / FILES
    place.mkdir(parents=True, exist_ok=True)
    run = TrackedRun(
        id=folder.id, uri=folder.uri, folder=str(place), job=spec.model_dump(mode="json", by_alias=True), seen=seen
    )
    roots = [spec.environment.code or "."]
    makers = [
        (one.use, partial(lookup.build_component, "tracker", one.use, one.args, {"run": run}, roots))
        for one in spec.trackers
    ]
    return Trackers(makers, warn)

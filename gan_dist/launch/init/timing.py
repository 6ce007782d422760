"""How long an image of a job takes to train on here, measured by some iterations of it on noise."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

WARM, TIMED = 2, 6  # iterations, of which the first are slower than all others


def seconds_per_image_here(job: str, workers: int) -> float:
    """Seconds that one image of a run takes: the fastest of a few iterations in this process, shared by `workers`.

    Args:
        job: the job of a set of images, as YAML.
        workers: processes that share the batch, with a core each.

    Raises:
        ValueError: the job cannot be trained.
    """
    import torch

    from gan_dist.distributed.runtime import LocalRuntime
    from gan_dist.execution.local import read_rows
    from gan_dist.execution.smoke import shorten_job
    from gan_dist.launch.load_job import load_job
    from gan_dist.runs.run_folder import RunFolder
    from gan_dist.runs.storage import Folder
    from gan_dist.training.trainer import train_run

    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        (here / "job.yaml").write_text(job)
        spec = load_job(here / "job.yaml")
        noise = spec.data.model_copy(update={"source": str(here / "noise"), "ingest": "memory"})
        spec = shorten_job(spec.model_copy(update={"data": noise, "metrics": ()}), WARM + TIMED)
        folder = RunFolder(Folder.at(here / "run"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            rows = read_rows(spec, Folder.at(here / "prepared"), smoke=True, emit=lambda event: None)
            run = LocalRuntime(torch.device("cpu"), lambda event: None, lambda: False)
            train_run(spec, run=run, rows=rows, folder=folder, attempt=1, start_from=None)
        finally:
            torch.set_num_threads(threads)
        reports = [json.loads(line) for line in folder.folder.read("scalars.jsonl").splitlines()]
    fastest: float = max(report["speed/step_samples_per_s"] for report in reports[WARM:])
    return 1 / fastest / workers

"""The driver's entrypoint, `python -m gan_dist.launch.driver`, started by `gan-dist submit`.

It imports little at first, so that an early stop is heard and the data are read while torch is loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any


def main() -> int:
    """Run the request in the environment; the exit code."""
    stop = threading.Event()
    from gan_dist.execution.signals import listen_for

    listen_for(lambda _: stop.set())
    from gan_dist.execution.log_lines import preparation_progress, print_event

    print_event({"event": "stage", "text": "starting"})  # from here on a stop is heard
    import ray

    from gan_dist.execution.ray.prepare_ahead import BackgroundPreparation
    from gan_dist.runs.request import RunRequest
    from gan_dist.runs.run_folder import RunFolder
    from gan_dist.runs.storage import Folder

    request = RunRequest.from_env()
    spec = request.job()
    logging.getLogger("ray").setLevel(logging.WARNING)
    ray.init(log_to_driver=True, logging_level=logging.WARNING)
    listen_for(lambda _: stop.set())  # Ray has put a handler of its own in place of ours, which saves nothing
    cluster: Any = ray
    cpus = max(1, int(cluster.cluster_resources().get("CPU", 1)))
    if spec.resources.data_cpus != "auto":
        cpus = min(cpus, spec.resources.data_cpus)
    cache = RunFolder(Folder(request.uri)).prepared()
    stand_in_of = spec.batch if request.mode == "smoke" else None
    reading = BackgroundPreparation(
        data=spec.data, cache=cache, cpus=cpus, stand_in_of=stand_in_of, progress=preparation_progress(print_event)
    )
    # Torch comes with these imports and takes seconds, in which the data are read.
    if spec.sweep is not None:
        from gan_dist.sweeps.ray_tune import conduct_sweep

        return conduct_sweep(request, stop, reading)
    from gan_dist.execution.ray.run import run_job

    return run_job(request, stop, reading)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A fit that never got its workers still runs in a thread that nothing can end; the process ends it.
    os._exit(code)

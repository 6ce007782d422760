"""Loading what workers need into idle processes of the cluster, while the driver still reads the data.

Ray starts actors in idle processes it has; one that has imported torch already is a worker some seconds sooner.
"""

from __future__ import annotations

import importlib

# Ray Train's controller and the two workers of the default job; more would only compete for the same cores.
PROCESSES = 3
MODULES = ("ray.train.torch", "gan_dist.ray_worker")


def warm_workers() -> None:
    """Start the imports; nobody waits for them."""
    import ray

    load = ray.remote(num_cpus=0, max_retries=0)(_load)
    for _ in range(PROCESSES):
        load.remote()


def _load() -> None:
    for module in MODULES:
        importlib.import_module(module)

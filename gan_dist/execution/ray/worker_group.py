"""A group of workers by Ray Train, joined by `torch.distributed`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gan_dist.execution.ray.resources import ResolvedResources
from gan_dist.runs.storage import Folder

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer


def make_torch_trainer(
    worker: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    ask: ResolvedResources,
    folder: Folder,
    name: str,
    max_failures: int = 0,
) -> TorchTrainer:
    """What runs `worker(config)` on each of the workers asked for; its result is that of rank 0.

    Args:
        folder: where Ray Train keeps its own records, seen by every node.
        name: of this group among others there.
        max_failures: how often the workers are started again when one is lost.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from gan_dist.execution.ray.rendezvous import OneMachine

    system, path = folder.open()
    workers: Any = ask.workers
    return TorchTrainer(
        worker,
        train_loop_config=config | {"threads": max(1, int(ask.cpus_per_worker))},
        torch_config=OneMachine() if ask.nodes == 1 else TorchConfig(),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=ask.gpu, resources_per_worker=ask.per_worker),
        run_config=RunConfig(
            name=f"{name}-{time.time_ns()}",
            storage_path=path,
            storage_filesystem=system,
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )

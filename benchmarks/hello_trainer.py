"""The least that Ray Train can do: two workers that say when their function begins."""

from __future__ import annotations

import tempfile
import time

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def hello(config: dict[str, float]) -> None:
    import torch

    torch.ones(1)
    print(f"BEGAN {time.time()}", flush=True)


ray.init()
TorchTrainer(
    hello,
    train_loop_config={},
    scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(name=f"hello-{time.time_ns()}", storage_path=tempfile.mkdtemp()),
).fit()

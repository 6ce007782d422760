"""The least that Ray Tune can do with Ray Train: trials whose one worker reports once."""

from __future__ import annotations

import sys
import tempfile

import ray
from ray import tune
from ray.train import RunConfig, ScalingConfig, get_context, report
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

STORAGE = tempfile.mkdtemp()


def worker(config: dict[str, float]) -> None:
    import torch

    report({"value": float(torch.ones(1)) * config["lr"] + get_context().get_world_rank()})


def trial(config: dict[str, float]) -> None:
    name = tune.get_context().get_trial_id()
    TorchTrainer(
        worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name=f"train-{name}", storage_path=STORAGE, callbacks=[TuneReportCallback()]),
    ).fit()


ray.init()
tune.Tuner(
    trial,
    param_space={"lr": tune.loguniform(1e-4, 1e-3)},
    tune_config=tune.TuneConfig(num_samples=int(sys.argv[1]), max_concurrent_trials=2),
    run_config=tune.RunConfig(storage_path=STORAGE),
).fit()

"""Extractors that are trained on the data: once for all runs on these."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load, save

from gan_dist.data.ingest import Ingest
from gan_dist.data.source import state_of
from gan_dist.distributed.runtime import WorkerRuntime
from gan_dist.evaluation.metric_inputs import FORMAT, make_contiguous
from gan_dist.runs.storage import Folder


def fit_or_load_extractor(extractor: Any, key: str, rows: Ingest, cache: Folder, run: WorkerRuntime) -> None:
    """Give an extractor what it learns of the data; the first worker trains it, and the others read what it stored.

    Args:
        extractor: with `fit`.
        key: its name and arguments.
        rows: the data.
        cache: folder where it is kept.
        run: whose workers call this, every one.
    """
    facts = rows.facts
    # The same data have more words where a file with words of its own is compared with them.
    shapes = {name: list(tensor.shape) for name, tensor in extractor.state_dict().items()}
    name = f"extractor-{state_of([FORMAT, facts.checksum, facts.classes, key, shapes])}"
    if not all_ranks(run, cache.exists(f"{name}.safetensors")) and run.rank == 0:
        run.emit({"event": "stage", "text": f"metrics: training features {key}"})
        with torch.random.fork_rng(devices=[]):
            found = extractor.fit(rows.rows, facts.count)
        cache.write_json(f"{name}.json", {"features": key, "format": FORMAT, **found})
        cache.write(f"{name}.safetensors", save(make_contiguous(extractor.state_dict())))
        told = ", ".join(f"{fact} {value:.4g}" for fact, value in found.items())
        run.emit({"event": "stage", "text": f"metrics: features {key} trained ({told})"})
    all_ranks(run, True)
    extractor.load_state_dict(load(cache.read(f"{name}.safetensors")))


def all_ranks(run: WorkerRuntime, truth: bool) -> bool:
    """Whether it is true for all workers; who is first waits for the others."""
    votes = torch.tensor([float(truth)], device=run.device)
    return round(run.sum(votes).item()) == run.world

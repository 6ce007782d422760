"""The Fréchet distance of 10,000 samples of 32 pixels by two processes, against a plain loop in one with the same
generator, features and moments. Wanted: at least 1.6.

    python benchmarks/judging.py [REPEATS]

On a machine that does other things too, look at the second ratio: samples per second of CPU time that the loop, and the
busier of the processes, used.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from side_by_side import Rates, compare_rates

from gan_dist.data.encoding.image import decode
from gan_dist.data.facts import ImageFacts
from gan_dist.data.ingest import Memory
from gan_dist.distributed.runtime import DistributedRuntime
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.generation.samples import metric_samples
from gan_dist.metrics.features.random_network import RandomNetwork
from gan_dist.metrics.image.frechet import Frechet
from gan_dist.metrics.statistics import Moments
from gan_dist.networks.image.dcgan import Generator
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec

SAMPLES, SIZE, CHUNK, REAL, WORKERS = 10_000, 32, 64, 640, 2
CPU = torch.device("cpu")


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(size=SIZE, channels=3, width=32).eval()


def real() -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(0).randint(0, 256, (REAL, 3, SIZE, SIZE)).astype(np.uint8))


@torch.no_grad()
def plain() -> Rates:
    """The loop that one would write."""
    made, network, moments = generator(), RandomNetwork(size=SIZE), Moments.empty(640, CPU)
    known = Moments.of(network(real()))
    began, used = time.perf_counter(), time.process_time()
    for start in range(0, SAMPLES, CHUNK):
        count = min(CHUNK, SAMPLES - start)
        moments.add(start, network(decode(made(torch.randn(count, made.z)))))
    Frechet().compare(known, moments)
    return Rates(SAMPLES / (time.perf_counter() - began), SAMPLES / (time.process_time() - used))


def member(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORKERS)
    run = DistributedRuntime(CPU, lambda event: None, lambda: False)
    pixels, made = real(), generator()
    facts = ImageFacts(count=REAL, size=SIZE, channels=3, checksum="noise")
    rows: Any = Memory(blocks=[pixels.numpy()], labels=np.zeros(REAL, np.int64), facts=facts, seed=0, batch=1)
    spec = MetricSpec.model_validate({"use": "frechet", "samples": SAMPLES})
    measuring = MetricRunner(metrics=[spec], facts=facts, cache=Folder(folder), run=run)
    measuring._reference(rows)
    began, used = time.perf_counter(), time.process_time()
    measuring.measure(lambda part: metric_samples(made, part, 0, None, CPU), rows)
    rates = Rates(SAMPLES / (time.perf_counter() - began), SAMPLES / (time.process_time() - used))
    (Path(folder) / f"rates-{rank}").write_text(json.dumps(rates))
    dist.destroy_process_group()


def ours() -> Rates:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(member, (folder,), nprocs=WORKERS)
        found = [Rates(*json.loads(path.read_text())) for path in Path(folder).glob("rates-*")]
        return Rates(*(min(values) for values in zip(*found, strict=True)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    compare_rates("judging", ours, plain, int(sys.argv[1]) if len(sys.argv) > 1 else 3, "samples/s")

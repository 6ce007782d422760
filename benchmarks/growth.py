"""What a run costs while one thing grows: CPU seconds, or what is sent, at each size, and the exponent of the curve.

    python -m benchmarks.growth [rows] [workers] [trials] [samples] [length] [vocabulary]      (from the root)

The exponent is the slope of the logarithms by least squares: 0 is flat, 1 is in proportion, 2 is with the square. Each
point is the least of three tries, in one thread. Wanted: nothing that a step or a message costs grows with rows or
workers; the rest no faster than its formula (pairs of samples 2, attention 2, the others 1).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as spawning

ROWS_OF_A_SHARD, BATCH = 1365, 64
ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
WORKERS = (1, 2, 4)
TRIALS = (10, 50, 200)
SAMPLES = (2_000, 10_000, 50_000)
LENGTHS = (64, 128, 256, 512)
VOCABULARIES = (1_000, 4_000, 16_000, 64_000)


class Curve(NamedTuple):
    """A quantity at each size."""

    what: str
    unit: str
    sizes: Sequence[int]
    values: Sequence[float]

    @property
    def exponent(self) -> float:
        sizes, values = np.log(self.sizes), np.log(np.maximum(self.values, 1e-12))
        return float(np.polyfit(sizes, values, 1)[0])

    def __str__(self) -> str:
        points = ", ".join(f"{size:,}: {value:.3g}" for size, value in zip(self.sizes, self.values, strict=True))
        return f"{self.what} ({self.unit}): {points}; exponent {self.exponent:.2f}"


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least of three tries; one is enough of what takes ten seconds."""
    taken: list[float] = []
    while len(taken) < 3 and max(taken, default=0.0) < 10:
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def rows() -> Iterator[Curve]:
    """The order of a run's samples, by shards that are only counted."""
    from gan_dist.data.order import ServingOrder

    seeds = count()

    def order(rows: int, window: int) -> ServingOrder:
        shards = (ROWS_OF_A_SHARD,) * (rows // ROWS_OF_A_SHARD)
        return ServingOrder(next(seeds), BATCH, shards, window)  # of another seed nothing is remembered

    def begin(rows: int, window: int) -> None:
        order(rows, window).positions(0)

    def serve(plan: ServingOrder) -> None:
        for number in range(1, 101):
            plan.positions(BATCH * number)

    for kind, window in (("memory", 0), ("stream", 8)):
        begun = [cpu_seconds(partial(begin, rows, window)) for rows in ROWS]
        served = [cpu_seconds(partial(serve, order(rows, window))) / 100 for rows in ROWS]
        yield Curve(f"{kind}, the first batch of an epoch, by rows", "CPU s", ROWS, begun)
        yield Curve(f"{kind}, each other batch, by rows", "CPU s", ROWS, served)


def workers() -> Iterator[Curve]:
    """What one worker hands to the reduction in a step of two small networks."""
    sent = []
    with tempfile.TemporaryDirectory() as folder:
        for world in WORKERS:
            spawning.spawn(_count_sent, (world, folder), nprocs=world)
            sent.append(torch.load(f"{folder}/{world}.pt"))
    for place, (what, unit) in enumerate((("bytes", "bytes"), ("messages", "reductions"))):
        yield Curve(f"{what} of a worker's step, by workers", unit, WORKERS, [one[place] for one in sent])


def _count_sent(rank: int, world: int, folder: str) -> None:
    from gan_dist.distributed.runtime import DistributedRuntime, never
    from tests.integration.gang import Training, train_one
    from tests.integration.test_rank_equality import job

    torch.set_num_threads(1)
    reduce, sent, steps = dist.all_reduce, [], 8

    def counting(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sent.append(tensor.numel() * tensor.element_size())
        return reduce(tensor, *args, **kwargs)

    dist.all_reduce = counting
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{world}", rank=rank, world_size=world)
    run = DistributedRuntime(torch.device("cpu"), lambda event: None, never)
    train_one(Training(job(until=f"{steps} steps", every={"report": "1G"}), f"{folder}/run{world}"), run)
    if rank == 0:
        torch.save((sum(sent) / steps, len(sent) / steps), f"{folder}/{world}.pt")
    dist.destroy_process_group()


def trials() -> Iterator[Curve]:
    """What the search itself costs, of trials that are formulas: all of them, and so each."""
    from tests.sweeps.simulated import section, simulate

    def sweep(trials: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            simulate(section(trials=trials, search="random"), Path(folder), places=4)

    taken = [cpu_seconds(partial(sweep, number)) for number in TRIALS]
    yield Curve("a random search, by trials", "CPU s", TRIALS, taken)


def samples() -> Iterator[Curve]:
    """Metrics of 64 features: of moments, and of all pairs."""
    from gan_dist.metrics.image.kid import Kid
    from gan_dist.metrics.image.prdc import Prdc
    from gan_dist.metrics.statistics import Moments

    drawn = torch.Generator().manual_seed(0)
    sets = {size: [torch.randn(size, 64, generator=drawn) for _ in "ab"] for size in SAMPLES}
    metrics: dict[str, Callable[[Any], object]] = {
        "moments": lambda both: [Moments.of(one) for one in both],
        "kid": lambda both: Kid().compare(*both),
        "prdc": lambda both: Prdc().compare(*both),
    }
    for name, measure in metrics.items():
        taken = [cpu_seconds(partial(measure, sets[size])) for size in SAMPLES]
        yield Curve(f"{name}, by samples", "CPU s", SAMPLES, taken)


def _likelihood(network: torch.nn.Module, vocabulary: int, length: int, batch: int) -> float:
    tokens = torch.randint(2, vocabulary, (batch, length), generator=torch.Generator().manual_seed(0))
    asked: Any = network
    return cpu_seconds(lambda: (-asked.log_prob(tokens).mean()).backward())


def length() -> Iterator[Curve]:
    """Forward and backward of a likelihood, 8 sentences of a vocabulary of 1,000."""
    from gan_dist.networks.text import lstm, transformer

    kinds = {"lstm": (lstm, {"hidden": 64}), "transformer": (transformer, {"width": 64, "layers": 2, "heads": 4})}
    for name, (module, sizes) in kinds.items():
        taken = [
            _likelihood(module.Generator(vocabulary=1000, length=one, bos=0, eos=None, **sizes), 1000, one, 8)
            for one in LENGTHS
        ]
        yield Curve(f"{name}, a likelihood, by tokens of a sentence", "CPU s", LENGTHS, taken)


def vocabulary() -> Iterator[Curve]:
    """The same by words, sentences of 20."""
    from gan_dist.networks.text import lstm

    taken = [
        _likelihood(lstm.Generator(vocabulary=one, length=20, bos=0, eos=None, hidden=64), one, 20, 16)
        for one in VOCABULARIES
    ]
    yield Curve("lstm, a likelihood, by words of the vocabulary", "CPU s", VOCABULARIES, taken)


KINDS: dict[str, Callable[[], Iterator[Curve]]] = {
    "rows": rows, "workers": workers, "trials": trials, "samples": samples, "length": length, "vocabulary": vocabulary,
}  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND")
    torch.set_num_threads(1)
    for kind in asked.parse_args().kinds or KINDS:
        for curve in KINDS[kind]():
            print(curve, flush=True)


if __name__ == "__main__":
    main()

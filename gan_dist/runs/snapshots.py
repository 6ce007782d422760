"""Averages of a run's generator stored at many times, of which that of any width is made afterwards.

snapshots/000000064000.safetensors   in float16: each average under its sigma, `0.05/layer.weight`, and once what is not
                                      averaged, `buffers/layer.mean`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from gan_dist.errors import CheckpointError, StorageError
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.power_average import exponent_of, inner_product

ENDING = ".safetensors"
BUFFERS = "buffers"


@dataclass(frozen=True)
class Snapshots:
    """Those of one run.

    Attributes:
        folder: where they are.
        sigmas: the widths of the averages that the run has.
    """

    folder: Folder
    sigmas: tuple[float, ...]

    @classmethod
    def of_run(cls, run: RunFolder, spec: JobSpec) -> Snapshots:
        """Those of a run with a job, beside its checkpoints."""
        sigmas = tuple(one.sigma for one in spec.ema or () if one.sigma is not None)
        return cls(run.folder.child("snapshots"), sigmas)

    def times(self) -> list[int]:
        """Samples seen at each, in order."""
        stems = [name.removesuffix(ENDING) for name in self.folder.names() if name.endswith(ENDING)]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def write(self, seen: int, averages: Mapping[float, Mapping[str, Tensor]], averaged: frozenset[str]) -> None:
        """Store one.

        Args:
            seen: samples seen.
            averages: by sigma, the generator's weights and buffers.
            averaged: the names of the weights; all others are stored once.
        """
        tensors = {
            f"{sigma:g}/{name}": _halved(tensor)
            for sigma, state in averages.items()
            for name, tensor in state.items()
            if name in averaged
        }
        first = next(iter(averages.values()))
        others = {name: tensor for name, tensor in first.items() if name not in averaged}
        tensors |= {f"{BUFFERS}/{name}": tensor.detach().cpu().contiguous().clone() for name, tensor in others.items()}
        self.folder.write(f"{seen:012d}{ENDING}", save(tensors))

    def forget_after(self, seen: int) -> None:
        """Delete those of an attempt that went on from here and was lost."""
        for time in self.times():
            if time > seen:
                self.folder.delete(f"{time:012d}{ENDING}")

    def reconstruct(self, sigma: float, latest: int) -> tuple[dict[str, Tensor], int]:
        """The average of a width at the last stored time up to `latest`: the generator's tensors, and that time.

        Raises:
            ValueError: the width is out of range.
            CheckpointError: nothing is stored up to then, or a file is damaged.
        """
        exponent = exponent_of(sigma)
        times = [time for time in self.times() if time <= latest]
        if not times:
            raise CheckpointError(f"{self.folder.uri}: no snapshot of averages is stored up to {latest:,} samples seen")
        profiles = [(exponent_of(one), time) for time in times for one in self.sigmas]
        shares = iter(combine(profiles, (exponent, times[-1])))
        found: dict[str, Tensor] = {}
        for time in times:
            stored = self._read(time)
            for one in self.sigmas:
                share = next(shares)
                for name in _named(stored, f"{one:g}") if share else ():
                    part = share * stored[f"{one:g}/{name}"].float()
                    found[name] = found[name] + part if name in found else part
        return found | {name: stored[f"{BUFFERS}/{name}"] for name in _named(stored, BUFFERS)}, times[-1]

    def _read(self, time: int) -> dict[str, Tensor]:
        name = f"{time:012d}{ENDING}"
        try:
            found: dict[str, Tensor] = load(self.folder.read(name))
        except (StorageError, MemoryError):
            raise
        except Exception as error:
            raise CheckpointError(f"{self.folder.uri}: {name} is damaged: {error}") from error
        if missing := [f"{one:g}" for one in self.sigmas if not _named(found, f"{one:g}")]:
            raise CheckpointError(f"{self.folder.uri}: {name} has no average of sigma {missing[0]}")
        return found


def combine(profiles: Sequence[tuple[float, float]], target: tuple[float, float]) -> list[float]:
    """The share of each stored profile in the combination that is nearest to the target, by least squares (equation
    146); they add up to 1. Profiles and target are (exponent, time)."""
    if target in profiles:
        return [float(profile == target) for profile in profiles]
    table = np.array([[inner_product(one, other) for other in profiles] for one in profiles])
    wanted = np.array([inner_product(one, target) for one in profiles])
    found = np.linalg.solve(table, wanted)
    return [float(share) for share in found / found.sum()]


def _named(tensors: Mapping[str, Tensor], group: str) -> list[str]:
    return [name.removeprefix(f"{group}/") for name in tensors if name.startswith(f"{group}/")]


def _halved(tensor: Tensor) -> Tensor:
    """In half the bytes, unless its numbers are too large for that."""
    half = tensor.detach().cpu().half()
    kept = half if torch.isfinite(half).all() else tensor.detach().cpu().float()
    return kept.contiguous().clone()

"""Which weights of a generator are meant: raw, the average, or an average of some width."""

from __future__ import annotations

from torch import Tensor

from gan_dist.errors import UsageError
from gan_dist.runs.checkpoint import EMA, Checkpoint, average_name
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.snapshots import Snapshots
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.power_average import exponent_of

RAW = "raw"


def parse_weights(written: str) -> float | None:
    """The width that `ema:0.10` asks for; None where it is `ema` or `raw`.

    Raises:
        UsageError: it is none of these, or no average has that width.
    """
    if written in ("ema", RAW):
        return None
    kind, _, sigma = written.partition(":")
    try:
        found = float(sigma) if kind == "ema" else None
    except ValueError:
        found = None
    if found is None:
        raise UsageError(f"weights: {written!r}; allowed: ema, raw, or ema:SIGMA such as ema:0.10")
    try:
        exponent_of(found)
    except ValueError as error:
        raise UsageError(f"weights: {written!r}: {error}") from error
    return found


def read_weights(stored: Checkpoint, spec: JobSpec, weights: str) -> tuple[str, dict[str, Tensor], int]:
    """The generator's tensors of a checkpoint, their name there, and how many samples they had seen.

    An average of a width that the run does not have is made of its snapshots, at the last of them.

    Raises:
        UsageError: there is no such choice, or the run stored nothing of which that width could be made.
        CheckpointError: a file is damaged.
    """
    sigma = parse_weights(weights)
    if weights == RAW:
        return "generator", stored.tensors("generator"), stored.seen
    name = EMA
    if sigma is not None:
        sigmas = [one.sigma for one in spec.ema or ()]
        if sigma not in sigmas:
            return EMA, *_reconstructed(stored, spec, sigma)
        name = EMA if sigmas.index(sigma) == 0 else average_name(sigma)
    name = name if sigma is not None or stored.has(f"{EMA}.safetensors") else "generator"
    return name, stored.tensors(name), stored.seen


def _reconstructed(stored: Checkpoint, spec: JobSpec, sigma: float) -> tuple[dict[str, Tensor], int]:
    uri = stored.folder.uri
    snapshots = Snapshots.of_run(RunFolder(Folder(uri.rsplit("/", 2)[0])), spec)
    known = [one for one in spec.ema or () if one.sigma is not None]
    if not known or not any(time <= stored.seen for time in snapshots.times()):
        have = f"averages of {', '.join(f'{one.sigma:g}' for one in known)}" if known else "no average by sigma"
        raise UsageError(
            f"weights: ema:{sigma:g}: {uri.split('/')[-3]} has {have}, and no snapshots to make another of; train with "
            "ema: [{sigma: 0.05}, {sigma: 0.10}] and every: {snapshot: AMOUNT}"
        )
    return snapshots.reconstruct(sigma, stored.seen)

"""A generator on its own, out of its run: weights, and a config that says how it is built.

FOLDER/
  model.safetensors   the weights (or model.pt2, model.onnx)
  config.json         format, the job, what its data were, samples seen, checksums of the weights and of itself
  README.md           model card, with samples.png or samples.txt
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from gan_dist.data.facts import DataFacts, facts_from_record
from gan_dist.errors import UsageError
from gan_dist.runs import checkpoint
from gan_dist.runs.checkpoint import Checkpoint
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec

KIND, FORMAT = "gan-dist generator", 2
DIGITS = 16  # of a SHA-256, by which what was imported is known
OWN_CHECKSUM = "config_checksum"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(kw_only=True, frozen=True)
class Exported:
    """What a folder holds; `run` is the id of the run it came from."""

    run: str
    spec: JobSpec
    facts: DataFacts
    seen: int
    tensors: dict[str, Tensor]


def config_of(run: str, *, spec: JobSpec, facts: DataFacts, seen: int, weights: str, file: Path) -> dict[str, Any]:
    """The config beside a file of weights."""
    job: dict[str, Any] = json.loads(spec.model_dump_json(by_alias=True))
    config = {
        "kind": KIND,
        "format": FORMAT,
        "run": run,
        "samples_seen": seen,
        "weights": weights,
        "file": file.name,
        "checksum": hashlib.sha256(file.read_bytes()).hexdigest(),
        "generator": job["generator"],
        "job": job,
        "data": facts.as_dict(),
    }
    return {**config, OWN_CHECKSUM: checksum_of(config)}


def checksum_of(config: dict[str, Any]) -> str:
    """Of all that a config says."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def is_exported(folder: str | Path) -> bool:
    """Whether a folder holds an exported generator in any form."""
    try:
        there = os.path.isfile(Path(folder) / CONFIG)
        return there and (Folder.at(folder).read_json(CONFIG) or {}).get("kind") == KIND
    except OSError:
        return False


def read_exported(folder: str | Path) -> Exported:
    """The generator of a folder.

    Raises:
        ValueError: it is of another form or a newer format, or its weights are missing or damaged.
    """
    root = Path(folder)
    config = Folder.at(folder).read_json(CONFIG) or {}
    form = config.get("format")
    if form != FORMAT:
        raise UsageError(f"{str(root)!r} has format {form}, written by another gan-dist; this one reads {FORMAT}")
    if config.pop(OWN_CHECKSUM, None) != checksum_of(config):
        raise UsageError(f"'{root}/{CONFIG}' is damaged or was altered (its checksum differs); export it again")
    if config["file"] != WEIGHTS:
        raise UsageError(f"{str(root)!r} holds {config['file']}, a program of its own, see its README.md; not weights")
    path = root / WEIGHTS
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != config["checksum"]:
        raise UsageError(f"{str(path)!r} is missing or damaged (its checksum differs); export it again")
    try:
        spec, facts = JobSpec.model_validate(config["job"]), facts_from_record(config["data"])
        return Exported(run=config["run"], spec=spec, facts=facts, seen=config["samples_seen"], tensors=load(content))
    except MemoryError:
        raise
    except Exception as error:  # a file that is whole, and yet is not what it says
        raise UsageError(f"{str(root)!r} is no exported generator: {error}") from error


def exported_checkpoint(folder: str | Path, parent: Folder) -> Checkpoint:
    """An exported generator as a checkpoint that runs start from. Raises what `read_exported` raises."""
    known = read_exported(folder)
    content = hashlib.sha256((Path(folder) / CONFIG).read_bytes()).hexdigest()  # the weights' checksum is a part of it
    return imported_checkpoint(
        parent,
        content[:DIGITS],
        spec=known.spec,
        facts=known.facts,
        seen=known.seen,
        weights={"generator": known.tensors},
    )


def imported_checkpoint(
    parent: Folder,
    name: str,
    *,
    spec: JobSpec,
    facts: DataFacts,
    seen: int,
    weights: Mapping[str, Mapping[str, Tensor]],
) -> Checkpoint:
    """The checkpoint `name` in `parent`, which holds the networks of a model and nothing of its training; made once.

    Args:
        weights: of each network, its tensors by name.
    """
    if (kept := Checkpoint(parent.child(name))).folder.exists("meta.json"):
        kept.verify()
        return kept
    meta = {
        "job": spec.model_dump(mode="json", by_alias=True),
        "data": facts.as_dict(),
        "clock": {"seen": seen, "reals_drawn": 0},
        "metrics": {},
    }
    contiguous = {network: {key: one.contiguous() for key, one in own.items()} for network, own in weights.items()}
    return checkpoint.write(parent, name, networks=contiguous, training={}, meta=meta)

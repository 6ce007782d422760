"""What an attempt at a run was asked to do, and by which versions."""

from __future__ import annotations

import getpass
import json
import os
import platform
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from gan_dist.errors import UsageError
from gan_dist.runs.code import FOLDER as CODE
from gan_dist.runs.storage import HEAD, home
from gan_dist.spec.job import JobSpec

VARIABLE = "GAN_DIST_REQUEST"
META_RUN, META_URI, META_OWNER = "gan_dist_run", "gan_dist_uri", "gan_dist_owner"  # of Ray's record of a job


PACKAGES = ("gan-dist", "ray", "torch", "pyarrow", "numpy", "safetensors", "pillow", "scikit-learn", "tokenizers")
# What decides how files become samples, and how the steps of a training are rounded.
READING = ("gan-dist", "python", "numpy", "pillow", "pyarrow", "scikit-learn", "tokenizers")
TRAINING = ("gan-dist", "torch", "numpy", "instructions", "gpu")
NO_MACHINE: Mapping[str, str] = {}


def installed_versions() -> dict[str, str]:
    """Version of Python and of each package that matters; absent ones are left out."""
    return dict(_installed_versions())


@cache  # reading the records of the packages takes as long as writing a small checkpoint
def _installed_versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def version_differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """What a cluster runs in other versions than the machine a job was submitted from."""
    return [
        f"the cluster has {name} {here[name]}, this run was submitted with {theirs}; resuming on the other is not exact"
        for name, theirs in there.items()
        if name in here and here[name] != theirs
    ]


def current_user() -> str:
    """Who submits: a name for others to see, no proof."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def made_otherwise(meta: Mapping[str, Any], names: Collection[str], machine: Mapping[str, str] = NO_MACHINE) -> str:
    """What a checkpoint was made with and is not here, as `torch 2.11.0 (here 2.13.0)`; empty where all is the same.

    Args:
        meta: of the checkpoint.
        names: of the packages and parts of a machine that matter.
        machine: what this process computes on.
    """
    here = {**installed_versions(), **machine}
    there = {name: was for kind in ("versions", "machine") for name, was in as_mapping(meta.get(kind)).items()}
    wanted = (name for name in names if name in here and there.get(name, here[name]) != here[name])
    return ", ".join(f"{name} {there[name]} (here {here[name]})" for name in wanted)


def as_mapping(stored: Any) -> Mapping[str, Any]:
    """A stored mapping; an empty one where something else is stored, as in a damaged or a foreign run."""
    return stored if isinstance(stored, Mapping) else {}


@dataclass(frozen=True)
class RunRequest:
    """One attempt at one run.

    `uri` is the run's folder (a local path or a URI) and `spec` the validated job as JSON; `start_from` says whose
    weights are loaded; `attempt` counts the submissions of this run from 1; `code` is the SHA-256 of the archive of the
    person's own code that this attempt imports, empty where there is none. `owner` is who submitted it, and `versions`
    are those of the machine it was submitted from.
    """

    run_id: str
    uri: str
    spec: str
    mode: Literal["train", "smoke"] = "train"
    resume: bool = False
    start_from: InitialWeights | None = None
    attempt: int = 1
    code: str = ""
    owner: str = field(default_factory=current_user)
    versions: Mapping[str, str] = field(default_factory=installed_versions)

    @property
    def submission_id(self) -> str:
        return f"{self.run_id}.{self.attempt}"

    @property
    def metadata(self) -> dict[str, str]:
        """What whoever lists a cluster's jobs is told of this one."""
        return {META_RUN: self.run_id, META_URI: self.uri, META_OWNER: self.owner}

    def record(self) -> dict[str, Any]:
        """What the run folder's `request.json` holds."""
        return {
            "run_id": self.run_id,
            "job": json.loads(self.spec),
            "mode": self.mode,
            "owner": self.owner,
            "start_from": self.start_from and asdict(self.start_from),
            "versions": dict(self.versions),
            "created": time.time(),
        }

    def job(self) -> JobSpec:
        """The job, whose own code is the copy that was kept, where it is unpacked here."""
        spec = JobSpec.model_validate_json(self.spec)
        place = home() / CODE / self.code
        if not self.code or not place.is_dir():
            return spec
        return spec.model_copy(update={"environment": spec.environment.model_copy(update={"code": str(place)})})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunRequest:
        told = json.loads(text)
        return cls(**told | {"start_from": InitialWeights.read(told["start_from"])})

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> RunRequest:
        """The request this process was started with.

        Raises:
            ValueError: the process was not started by `gan-dist submit`.
        """
        if VARIABLE not in environ:
            raise UsageError(f"{VARIABLE} is not set: this module is started by `gan-dist submit`")
        request = cls.from_json(environ[VARIABLE])
        start = request.start_from
        start = start and replace(start, folder=start.folder.removeprefix(HEAD))
        return replace(request, uri=request.uri.removeprefix(HEAD), start_from=start)  # a driver is on the head


@dataclass(frozen=True)
class InitialWeights:
    """Weights of another run.

    Args:
        folder: a checkpoint's, as a URI.
        only: the networks that are taken from there; all of the job's that it has, where there are none.
    """

    folder: str
    only: tuple[str, ...] = ()

    @classmethod
    def read(cls, told: Mapping[str, Any] | None) -> InitialWeights | None:
        """What a request's JSON says."""
        return None if told is None else cls(told["folder"], tuple(told["only"]))

    def takes(self, network: str) -> bool:
        return not self.only or network in self.only

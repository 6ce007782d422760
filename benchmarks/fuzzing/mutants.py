"""Shipped jobs of small networks, changed so that `validate` still accepts them, and trained for two iterations.

What is accepted and then cannot be trained has to be refused in our words: by preflight, as too large for the memory
that there is, or as diverged.
"""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.fuzzing.cases import Case, Subject
from benchmarks.fuzzing.jobs import DAMAGES
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.prepare import prepare_or_load
from gan_dist.errors import GanDistError, JobError
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.local import run_attempt_here, train_here
from gan_dist.execution.smoke import shorten_job
from gan_dist.launch.load_job import load_job
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import PREPARED
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData, TextData
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import read_job_file

JOBS = Path(__file__).parents[2] / "jobs"
STEPS, TRIES = 2, 200
# A shipped job, and what makes its networks narrow.
NARROW: dict[str, dict[str, Any]] = {
    "mlp": {"generator": {"hidden": 8, "layers": 2}, "discriminator": {"hidden": 8, "layers": 2}},
    "dcgan": {"generator": {"width": 4}, "discriminator": {"width": 4}},
    "dcgan-conditional": {"generator": {"width": 4}, "discriminator": {"width": 4}},
    "wgan-gp": {"generator": {"width": 4}, "discriminator": {"width": 4}},
    "sngan": {"generator": {"width": 4}, "discriminator": {"width": 4}},
    "r3gan": {"generator": {"width": 8}, "discriminator": {"width": 8}},
    "vae": {"generator": {"width": 4}},
    "stylegan2-ada": {"generator": {"capacity": 64, "most": 8}, "discriminator": {"capacity": 64, "most": 8}},
    "seqgan-oracle": {"data": {"vocabulary": 50, "count": 200, "length": 6}},
    "relgan-small": {"data": {"vocabulary": 50, "count": 200, "length": 6}, "discriminator": {"representations": 4}},
}
# What stays as it is: where the data are, and what only says how often something is written.
FIXED = ("source", "name", "storage", "environment", "resources", "every", "version", "until")


@cache
def _job(name: str) -> dict[str, Any]:
    written = copy.deepcopy(read_job_file(JOBS / f"{name}.yaml").value)
    for section, changes in NARROW[name].items():
        written[section] |= changes
    return written | {"batch": 8, "metrics": [], "resources": {"device": "cpu"}, "every": {"grid": "1 steps"}}


@cache
def _prepared() -> Path:
    """The digits and sentences of the jobs as they are, so that most mutants find their data ready."""
    root = Path(tempfile.mkdtemp(prefix="gan-dist-fuzz-"))
    for name in NARROW:
        data = load_job(_job(name)).data
        assert isinstance(data, ImageData | TextData)
        prepare_or_load(
            data, Folder.at(root / PREPARED), executor=write_shards_on_processes, progress=lambda done, total: None
        )
    return root / PREPARED


def _mutant(draw: random.Random, name: str) -> JobSpec:
    """A job that is accepted, and differs from the shipped one."""
    sound = _job(name)
    for _ in range(TRIES):
        tree: Any = copy.deepcopy(sound)
        for _ in range(draw.choice((1, 1, 2, 3))):
            tree = draw.choice(DAMAGES)(draw, tree)
        if not isinstance(tree, dict):
            continue
        tree |= {key: sound[key] for key in FIXED if key in sound}
        if isinstance(tree.get("data"), dict):
            tree["data"] = {**tree["data"], "source": sound["data"]["source"]}
        if tree == sound:
            continue
        try:
            return load_job(tree)
        except JobError:
            continue
    raise RuntimeError(f"none of {TRIES} changes of {name} was accepted")


def _trained(spec: JobSpec, folder: Path) -> str:
    shutil.copytree(_prepared(), folder / PREPARED)
    events: list[dict[str, Any]] = []
    request = RunRequest("run", str(folder / "run"), spec.model_dump_json(by_alias=True))
    attempt = Attempt(request, events.append)
    code = run_attempt_here(
        attempt, lambda one: train_here(one, one.spec, lambda spec, count: shorten_job(spec, STEPS))
    )
    if code and isinstance(attempt.error, GanDistError):
        raise attempt.error
    if isinstance(attempt.error, MemoryError):
        raise attempt.error
    if code:
        raise RuntimeError(f"exit code {code}: {events[-1].get('message')}; job: {request.spec}") from attempt.error
    return "read"


def make(draw: random.Random, folder: Path) -> Case:
    """A mutant of one of the jobs."""
    torch.set_num_threads(1)
    name = draw.choice(sorted(NARROW))
    _prepared()
    return Case(name, partial(_trained, _mutant(draw, name), folder))


# oneDNN keeps the code that it has made for each shape of a layer: of 184 unlike jobs in one process, 1 GiB.
SUBJECT = Subject(make, most_s=20.0, in_a_process=10)

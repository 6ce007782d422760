"""Jobs at published scale: they are valid, and their networks have the parameters that their first lines tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.launch.load_job import load_job
from gan_dist.registry.lookup import build_component
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import PairData
from tests.helpers import ROOT

JOBS = sorted((ROOT / "jobs" / "published").glob("*.yaml"))
CLASSES = {"download:cifar-10": 10, "imagenet/train": 1000}
MAPS = {"vae32": {"size": 32, "channels": 32}, "sd-vae": {"size": 32, "channels": 4}}  # of 256 pixels


def provided(job: Path) -> dict[str, Any]:
    """What the data of a job supply to its networks."""
    data = load_job(job).data
    if isinstance(data, PairData):
        return {"size": data.size, "channels": 3, "input_channels": 3}
    classes = 0 if getattr(data, "labels", "none") == "none" else CLASSES[str(data.source)]
    if encode := getattr(data, "encode", None):
        return {**MAPS[encode], "classes": classes}
    return {"size": getattr(data, "size", 0), "channels": 3, "classes": classes}


def millions(kind: Any, job: Path) -> float:
    spec = getattr(load_job(job), kind)
    random = {"weights": "random"} if spec.use == "projected" else {}
    with torch.device("meta"):
        network = build_component(kind, spec.use, {**spec.args, **random}, provided(job))
    return sum(one.numel() for one in network.parameters() if one.requires_grad) / 1e6


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_the_parameters_are_those_that_it_tells(job: Path) -> None:
    words = re.sub(r"\n# ?", " ", job.read_text())
    told = re.search(r"G has ([\d.]+) M\s+parameters, D ([\d.]+)\s+M", words)
    found = [millions(kind, job) for kind in ("generator", "discriminator")]
    assert told is not None, f"{job.name} tells no parameters; it has {found}"
    assert [f"{one:.{len(text.partition('.')[2])}f}" for one, text in zip(found, told.groups(), strict=True)] == list(
        told.groups()
    )


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_it_names_its_command_and_what_came_of_it(job: Path) -> None:
    text = job.read_text()
    assert text.startswith(f"# gan-dist submit jobs/published/{job.name}\n")
    words = re.sub(r"\n# ?", " ", text)
    assert "Never trained here." in words and load_job(job).name == job.stem
    assert re.search(r"[Tt]ime not published|\b(hours?|days?)\b", words), "how long it takes, or that nobody says it"


def rehearsal(job: Path) -> list[str]:
    """Options of the command in a job's head that rehearses it on a CPU, narrow enough for that."""
    text = re.sub(r" \\\n# +", " ", job.read_text())
    told = re.search(rf"^# .*: gan-dist submit jobs/published/{job.name} (--smoke --local(?: -o \S+)+)$", text, re.M)
    assert told is not None, f"{job.name} names no command that rehearses it on a CPU"
    return told[1].split()


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_it_names_a_rehearsal_for_a_cpu(job: Path) -> None:
    assert load_job(job, rehearsal(job)[3::2]).batch <= 4


# One of each kind of data and of what stands in for it; the others are rehearsed in the tier of what takes long.
OFTEN = ("gat-s", "pix2pix-facades", "projected-few256", "r3gan-cifar10", "stylegan2-ada-cifar10")


def by_tier() -> list[Any]:
    tiers = {True: pytest.mark.slow, False: pytest.mark.fleet}
    return [pytest.param(job, marks=tiers[job.stem.startswith(OFTEN)], id=job.stem) for job in JOBS]


@pytest.mark.parametrize("job", by_tier())
def test_it_is_rehearsed(job: Path, gan_dist: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, told = gan_dist("submit", job, "--name", "rehearsed", *rehearsal(job))
    assert code == 0 and "full run" in told, told
    status = RunFolder(Folder.at(tmp_path / "runs" / "rehearsed")).status()
    assert status["seen"] == 6 * load_job(job, rehearsal(job)[3::2]).batch

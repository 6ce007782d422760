"""A sweep on a real Ray: its cluster, trials and a worker are killed, and what comes out is what nobody disturbed."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from gan_dist.launch.load_job import load_job
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.sweeps.local import run_here
from gan_dist.sweeps.results import StoredSweep
from tests.ray.conftest import PATIENCE_S, Site, wait_for

JOB = str(Path(__file__).with_name("sweep.yaml"))


def outcomes(folder: str | Path) -> dict[int, Any]:
    """Each configuration's final value."""
    return {row.number: row.means for row in StoredSweep(RunFolder(Folder.at(folder))).ranking()}


def alive(site: Site, what: str, name: str) -> list[str]:
    """What of a kind Ray still has, by its class or state."""
    (record,) = (site.root / "home" / "local").glob("*/cluster.json")
    cluster = json.loads(record.read_text())
    token = Path(cluster["token_path"]).read_text().strip()
    url = f"{cluster['address']}/api/v0/{what}?limit=1000"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        rows = json.load(answer)["data"]["result"]["result"]
    return [row[name] for row in rows if row["state"] not in ("DEAD", "REMOVED")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """The same sweep in one process without Ray."""
    folder = tmp_path_factory.mktemp("reference") / "s"
    assert run_here(RunRequest("s", str(folder), load_job(JOB).model_dump_json(by_alias=True)), lambda event: None) == 0
    return outcomes(folder)


@pytest.mark.ray
def test_kills_of_cluster_trial_and_worker_change_nothing(site: Site, undisturbed: dict[int, Any]) -> None:
    """Every process of the cluster dies at once, while the trials train; the next attempt is on a new cluster. There
    trials die as they begin, two of which fill a machine of two CPUs, and later one dies with a worker of another."""
    following = site.start("submit", JOB, "--name", "s")
    wait_for(lambda: len(site.checkpoints("s-t000")) >= 2, "two checkpoints of the first trial")
    for process in [keeper := site.keeper(), *keeper.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    printed, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 1 and "gan-dist submit --resume s" in printed
    with (site.folder("s") / "trials.jsonl").open("a") as record:
        record.write('{"what": "result", "num')

    refused = site.run("submit", "--resume", "s", "-o", "sweep.space.optimizer.lr={choice: [1]}")
    assert refused.returncode == 2 and "changed: sweep.space.optimizer.lr" in refused.stderr

    following = site.start("submit", "--resume", "s")
    wait_for(lambda: site.processes("RayTrainWorker"), "the first worker")
    for process in site.processes("ResourceTrainable"):
        process.kill()
    wait_for(lambda: site.status("s-t000").get("attempt", 0) > 2, "the first trial's third attempt")
    # Usually one of each trial; on a slow machine the first has ended before the second begins.
    wait_for(lambda: site.processes("RayTrainWorker") and site.processes("ResourceTrainable"), "a trial that trains")
    for process in (*site.processes("RayTrainWorker")[-1:], *site.processes("ResourceTrainable")[:1]):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    printed, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, printed
    assert outcomes(site.folder("s")) == undisturbed
    assert alive(site, "placement_groups", "state") == []
    assert not {"TuneTrial", "Desk", "TrainController", "RayTrainWorker"} & set(alive(site, "actors", "class_name"))
    assert site.processes("ResourceTrainable") == [] and site.processes("RayTrainWorker") == []
    best = site.run("results", "s", "--best-job", "best.yaml")
    assert best.returncode == 0 and load_job(site.root / "best.yaml").sweep is None


@pytest.mark.ray
def test_more_trials_at_a_time_than_the_cluster_holds(site: Site) -> None:
    asked = site.run("submit", JOB, "-o", "sweep.concurrent=64", "--name", "wide")
    assert asked.returncode == 2
    assert "sweep.concurrent: 64 trials with 1 worker (1 CPU) at a time" in asked.stdout + asked.stderr


@pytest.mark.fleet  # without Ray: tests/sweeps/test_trials.py
def test_the_median_rule_stops_a_trial_that_trains(site: Site) -> None:
    """By the learning rate as a metric, so that it is known which trial is hopeless."""
    rates = "sweep.space.optimizer.lr={grid: [4e-4, 3e-4, 2e-4, 1e-6]}"
    rule = ["-o", "sweep.scheduler={use: median, first: 20 steps}", "-o", "sweep.metric=lr/generator"]
    words = ["submit", JOB, "--name", "median", "-o", rates, *rule, "-o", "sweep.mode=max", "-o", "until=200 steps"]
    done = site.run(*words, "-o", "sweep.concurrent=1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = StoredSweep(RunFolder(Folder.at(site.folder("median")))).ranking()
    assert [(row.number, row.state) for row in rows] == [*((n, "finished") for n in range(3)), (3, "pruned")]
    assert rows[-1].seen < rows[0].seen and site.status("median-t003")["status"] == "stopped"
    assert alive(site, "placement_groups", "state") == []

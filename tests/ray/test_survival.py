"""Kills, stops and resumes on a real Ray: the last bit of the weights is that of a run nobody touched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gan_dist.launch.load_job import load_job
from tests.integration.gang import Training, train_together
from tests.ray.conftest import PATIENCE_S, Site, wait_for

pytestmark = pytest.mark.ray
JOB = str(Path(__file__).with_name("job.yaml"))


@dataclass(frozen=True)
class Reference:
    """Checksums of the last checkpoint of two processes without Ray, which nobody disturbed."""

    checksums: dict[str, str]
    seen: int


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    import json

    folder = tmp_path_factory.mktemp("reference")
    spec = load_job(JOB)
    train_together(2, [Training(spec.model_dump(mode="json", by_alias=True), str(folder), data="job")])
    last = json.loads(sorted((folder / "checkpoints").glob("*/meta.json"))[-1].read_text())
    return Reference(last["checksums"], last["clock"]["seen"])


def last_checkpoint(site: Site, run: str) -> dict[str, Any]:
    return site.checkpoints(run)[-1]


def test_a_killed_driver_and_a_killed_worker_cost_no_bit(site: Site, reference: Reference) -> None:
    """The driver in the first attempt, a worker in the one that resumes it."""
    following = site.start("submit", JOB, "--name", "killed")
    wait_for(lambda: len(site.checkpoints("killed")) >= 2, "two checkpoints")
    for process in site.processes("gan_dist.launch.driver"):
        process.kill()
    printed, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 1 and "gan-dist submit --resume killed" in printed
    before = len(site.checkpoints("killed"))
    assert last_checkpoint(site, "killed")["clock"]["seen"] < reference.seen

    resuming = site.start("submit", "--resume", "killed")
    wait_for(lambda: len(site.checkpoints("killed")) > before, "a checkpoint of the second attempt")
    site.processes("RayTrainWorker")[-1].kill()
    printed, _ = resuming.communicate(timeout=PATIENCE_S)
    assert resuming.returncode == 0, printed
    assert last_checkpoint(site, "killed")["clock"]["seen"] == reference.seen
    assert last_checkpoint(site, "killed")["checksums"] == reference.checksums


def test_stop_saves_its_iteration_and_one_worker_goes_on(site: Site) -> None:
    # Long enough that no machine ends it before it is stopped.
    following = site.start("submit", JOB, "--name", "stopped", "-o", "until=1000000 steps")
    wait_for(lambda: len(site.checkpoints("stopped")) >= 1, "a checkpoint")
    stopped = site.run("stop", "stopped")
    printed, _ = following.communicate(timeout=PATIENCE_S)
    assert stopped.returncode == 0, stopped.stderr
    assert following.returncode == 3, printed
    saved = last_checkpoint(site, "stopped")["clock"]
    assert saved["seen"] == site.status("stopped")["seen"] == saved["reals_drawn"]
    refused = site.run("submit", "--resume", "stopped", "-o", "batch=32")
    assert refused.returncode == 2 and "batch: 64 -> 32" in refused.stderr
    end = saved["seen"] + 640
    resumed = site.run("submit", "--resume", "stopped", "-o", "resources.workers=1", "-o", f"until={end}")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    last = last_checkpoint(site, "stopped")
    assert last["world"] == 1 and last["clock"] == {"seen": end, "reals_drawn": end}
    finished = site.run("submit", "--resume", "stopped", "-o", f"until={end}")
    assert finished.returncode == 2 and "is finished" in finished.stderr

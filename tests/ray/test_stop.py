"""A stop on a real Ray, and what may and may not change when the run goes on. Kills: test_chaos.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ray.conftest import PATIENCE_S, Site, wait_for

pytestmark = pytest.mark.ray
JOB = str(Path(__file__).with_name("job.yaml"))


def last_checkpoint(site: Site, run: str) -> dict[str, Any]:
    return site.checkpoints(run)[-1]


def title(process: psutil.Process) -> str:
    """What Ray calls a process: the class of its actor, or what it does."""
    return process.cmdline()[0].removeprefix("ray::").partition(".")[0]


def has_torch(process: psutil.Process) -> bool:
    return any("libtorch" in mapped.path for mapped in process.memory_maps())


def check_that_another_waits(site: Site) -> None:
    """A second run on a cluster of two CPUs, whose two workers the first one has."""
    site.run("submit", JOB, "--name", "second", "--detach")
    wait_for(lambda: site.status("second").get("status") == "waiting", "that the second run waits")
    why = site.status("second")["message"]
    assert why.startswith("waiting for 2 CPUs: 0 free of 2; stopped.1 of ") and why.endswith(" holds the rest")
    assert site.run("stop", "second").returncode == 0
    assert site.status("second")["status"] == "stopped"
    assert not site.checkpoints("second")


def test_stop_saves_its_iteration_and_one_worker_goes_on(site: Site) -> None:
    # Long enough that no machine ends it before it is stopped.
    following = site.start("submit", JOB, "--name", "stopped", "-o", "until=1000000 steps")
    wait_for(lambda: len(site.checkpoints("stopped")) >= 1, "a checkpoint")
    loaded = {name for process in site.processes("ray::") if (name := title(process)) and has_torch(process)}
    assert loaded == {"RayTrainWorker"}, "a process that trains nothing has imported torch"
    check_that_another_waits(site)
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

"""Runs on several machines, one of which is lost or is going to be, end as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.launch.load_job import load_job
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder, remote_filesystem
from tests.helpers import ROOT
from tests.integration.gang import Training, train_together
from tests.ray import machines
from tests.ray.conftest import PATIENCE_S, wait_for
from tests.ray.machines import Machine, Machines

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(machines.why_not() is not None, reason=f"several machines: {machines.why_not()}"),
]
JOB = """
name: nodes
data: {source: digits, size: 16}
generator: {use: dcgan, width: 8}
discriminator: {use: dcgan, width: 8}
objective: {use: non_saturating}
optimizer: {lr: 2e-4}
batch: 32
until: 400 steps
every: {report: 20 steps, grid: 10000 steps, checkpoint: 20 steps}
keep: {last: 50}
resources: {workers: 2}
environment: {env: [AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION]}
"""


class Fleet:
    """Machines with a bucket beside them, and a person who submits from this one."""

    def __init__(self, network: Machines, root: Path, environ: dict[str, str]) -> None:
        self.network, self.root = network, root
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_"))}
        self.environ = {**clean, **environ, "GAN_DIST_HOME": str(root / "home"), "PYTHONPATH": str(ROOT)}
        (root / "job.yaml").write_text(JOB)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from gan_dist.cli import main; main()", *words],
            cwd=self.root, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def submit(self, name: str) -> subprocess.Popen[str]:
        return self.start("submit", "job.yaml", "--name", name, "--address", self.network.url, "--storage", "s3://runs")

    def checkpoints(self, name: str) -> list[Any]:
        return stored(RunFolder(Folder(f"s3://runs/{name}")).checkpoints())

    def wait_for_checkpoints(self, name: str, count: int, following: subprocess.Popen[str]) -> None:
        def there() -> bool:
            if following.poll() is not None:
                raise AssertionError(f"{name} has ended: {following.communicate()[0]}")
            time.sleep(0.5)
            return len(self.checkpoints(name)) >= count

        wait_for(there, f"{count} checkpoints of {name}")

    def with_a_worker(self) -> Machine:
        """A machine other than the head that trains."""
        for machine in self.network.made[1:]:
            if "RayTrainWorker" in machine.processes():
                return machine
        raise AssertionError("no machine but the head trains")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("fleet")
    with (
        machines.machines(root, 3) as network,
        machines.bucket(network.host) as environ,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in environ.items():
            patch.setenv(key, value)
        remote_filesystem.cache_clear()
        yield Fleet(network, root, environ)
        remote_filesystem.cache_clear()


@pytest.fixture(scope="module")
def undisturbed(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checksums of the last checkpoint of two processes without Ray."""
    run = tmp_path_factory.mktemp("undisturbed")
    spec = load_job(fleet.root / "job.yaml")
    train_together(2, [Training(spec.model_dump(mode="json", by_alias=True), str(run), data="job")])
    return dict(json.loads(sorted((run / "checkpoints").glob("*/meta.json"))[-1].read_text())["checksums"])


def test_a_folder_that_the_head_does_not_see_is_refused(fleet: Fleet) -> None:
    asked = fleet.start("submit", "job.yaml", "--name", "unseen", "--address", fleet.network.url)
    told, _ = asked.communicate(timeout=PATIENCE_S)
    assert asked.returncode == 2 and "does not see" in told and "Traceback" not in told, told
    assert not (fleet.root / "runs").exists()


def test_a_lost_machine_ends_no_run_that_can_go_on(fleet: Fleet, undisturbed: dict[str, str]) -> None:
    following = fleet.submit("lost")
    fleet.wait_for_checkpoints("lost", 2, following)
    machine = fleet.with_a_worker()
    machine.kill()
    told, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, told
    assert f"node {machine.address} lost; restart 1 of 3 from " in told, told
    assert "Traceback" not in told
    assert fleet.checkpoints("lost")[-1].meta["checksums"] == undisturbed

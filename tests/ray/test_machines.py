"""Runs on several machines, one of which is lost, end as if nothing had happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.launch.cluster.address import Cluster
from gan_dist.launch.cluster.jobs_api import ENDED, JobsClient
from gan_dist.launch.load_job import load_job
from gan_dist.runs.request import RunRequest
from gan_dist.runs.storage import Folder
from gan_dist.sweeps.local import run_here
from tests.ray import machines
from tests.ray.conftest import OWN, PATIENCE_S, wait_for
from tests.ray.machines import Fleet, Machines
from tests.ray.own import patient
from tests.ray.test_sweep import outcomes

SETTLE_S = 5.0  # longer than a checkpoint takes that has been begun

pytestmark = [
    pytest.mark.skipif(machines.why_not() is not None, reason=f"several machines: {machines.why_not()}"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with machines.fleet(tmp_path_factory.mktemp("fleet"), 3) as found:
        yield found


@pytest.mark.ray
def test_a_folder_that_the_head_does_not_see_is_refused(fleet: Fleet) -> None:
    asked = fleet.start("submit", "job.yaml", "--name", "unseen", "--address", fleet.network.url)
    told, _ = asked.communicate(timeout=PATIENCE_S)
    assert asked.returncode == 2 and "does not see" in told and "Traceback" not in told, told
    assert not (fleet.root / "runs").exists()


@pytest.mark.ray
def test_a_lost_machine_ends_no_run_that_can_go_on(fleet: Fleet, tmp_path: Path) -> None:
    following = fleet.submit("lost")
    fleet.wait_for_checkpoints("lost", 2, following)
    machine = fleet.with_a_worker()
    machine.kill()
    told, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, told
    assert f"node {machine.address} lost; restart 1 of 3 from " in told, told
    assert "Traceback" not in told
    assert fleet.checkpoints("lost")[-1].meta["checksums"] == machines.undisturbed(
        fleet.root / "job.yaml", tmp_path / "alone"
    )


@pytest.fixture
def other_head(tmp_path: Path) -> Iterator[Machines]:
    """A cluster of one machine, which reaches the bucket of the fleet."""
    with machines.machines(tmp_path / "other", 1, (2, 2)) as found:
        yield found


@pytest.mark.fleet
def test_a_driver_that_was_cut_off_writes_nothing_of_a_run_that_another_has_taken(
    fleet: Fleet, other_head: Machines, tmp_path: Path
) -> None:
    first = other_head.head
    following = fleet.submit("cut", "-o", "objective.use=patient:Held", to=other_head)
    fleet.wait_for_checkpoints("cut", 2, following)
    hold = first.root / patient.HOLD.relative_to("/")
    hold.touch()  # its workers stand still in the midst of a step, and go on when they see the network again
    time.sleep(SETTLE_S)
    before = fleet.checkpoints("cut")[-1].name
    first.cut_network()
    following.kill()
    fleet.wait_until_free("cut")
    again = fleet.resume("cut")
    fleet.wait_for_checkpoints("cut", len(fleet.checkpoints("cut")) + 1, again)

    taken = len(fleet.bucket.writes)
    first.mend_network()
    hold.unlink()
    ended = wait_for_end(other_head, "cut.1")
    told, _ = again.communicate(timeout=PATIENCE_S)

    assert "another driver has taken this run; this one stops" in ended, ended
    assert "LeaseLost" in ended, ended  # its workers were alive, and tried to write
    assert again.returncode == 0, told
    late = {write.name for write in fleet.bucket.writes[taken:] if write.address == first.address}
    assert late <= {"cut/logs/attempt-1.log"}, late  # what it printed, which is its own
    assert before.endswith("-a1") and fleet.checkpoints("cut")[-1].name.endswith("-a2")
    assert fleet.checkpoints("cut")[-1].meta["checksums"] == machines.undisturbed(
        fleet.root / "job.yaml", tmp_path / "alone"
    )


SWEPT = ("sweep={metric: loss/D, search: grid, space: {optimizer.lr: {grid: [1e-4, 2e-4]}}}", "resources.workers=1")


@pytest.mark.fleet
def test_a_sweep_that_loses_a_machine_comes_out_as_if_nothing_had_happened(fleet: Fleet, tmp_path: Path) -> None:
    fleet.network.add()  # another test may have taken one
    following = fleet.submit("swept", *(word for change in SWEPT for word in ("-o", change)))
    fleet.wait_for_checkpoints("swept-t000", 2, following)
    fleet.with_a_worker().kill()
    told, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0 and "Traceback" not in told, told
    spec = load_job(fleet.root / "job.yaml", SWEPT, [str(OWN)])
    request = RunRequest("alone", str(tmp_path / "alone"), spec.model_dump_json(by_alias=True))
    assert run_here(request, lambda event: None) == 0
    assert outcomes("s3://runs/swept") == outcomes(tmp_path / "alone")


SECRET = "xk2-Quiet-Harbour-77"
MOUNTED = "/tmp/mounted-pass"
KEYED = ("-o", f"environment.secrets={{MY_PASS: {MOUNTED}}}", "-o", "objective.use=keyed:Keyed")
KEYED += ("-o", "data={source: 'keyed:Noise', size: 16}", "-o", "until=20 steps")


@pytest.mark.fleet
def test_secrets_are_read_on_the_nodes_and_kept_nowhere(fleet: Fleet) -> None:
    there = [machine for machine in fleet.network.made if machine.leader.poll() is None]
    for machine in there[:-1]:
        (machine.root / MOUNTED[1:]).write_text(SECRET + "\n")
    stored = Folder("s3://runs")
    before = set(stored.files())
    told, _ = fleet.submit("keyed", *KEYED).communicate(timeout=PATIENCE_S)
    assert f"environment.secrets.MY_PASS: node {there[-1].address}: {MOUNTED} cannot be read: No such file" in told
    assert told.count("environment.secrets") == 1 and "Traceback" not in told, told
    assert set(stored.files()) == before

    (there[-1].root / MOUNTED[1:]).write_text(SECRET + "\n")
    following = fleet.submit("keyed", *KEYED)
    told, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, told
    for machine in there:
        (machine.root / MOUNTED[1:]).unlink()
    assert [name for name, _ in stored.files() if name.startswith("keyed/checkpoints/")]
    assert not [name for name, _ in stored.files() if SECRET.encode() in stored.read(name)]
    jobs = JobsClient(Cluster(fleet.network.url))
    assert SECRET not in told + jobs.logs("keyed.1") + str(jobs.list())
    written = [path for root in (fleet.root, *(machine.root for machine in there)) for path in root.rglob("*")]
    assert not [path for path in written if path.is_file() and SECRET.encode() in path.read_bytes()]


def alone(fleet: Fleet, where: Path) -> dict[str, str]:
    """Checksums of the fleet's job when nobody disturbs it."""
    return machines.undisturbed(fleet.root / "job.yaml", where / "alone")


def wait_for_end(network: Machines, job: str) -> str:
    """What a job has printed, once it has ended."""
    jobs = JobsClient(Cluster(network.url))

    def over() -> Any:
        return jobs.info(job)["status"] in ENDED

    wait_for(over, f"the end of {job}")
    return jobs.logs(job)

"""Runs on several machines, one of which is lost, end as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray import machines
from tests.ray.conftest import PATIENCE_S
from tests.ray.machines import Fleet

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(machines.why_not() is not None, reason=f"several machines: {machines.why_not()}"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with machines.fleet(tmp_path_factory.mktemp("fleet"), 3) as found:
        yield found


def test_a_folder_that_the_head_does_not_see_is_refused(fleet: Fleet) -> None:
    asked = fleet.start("submit", "job.yaml", "--name", "unseen", "--address", fleet.network.url)
    told, _ = asked.communicate(timeout=PATIENCE_S)
    assert asked.returncode == 2 and "does not see" in told and "Traceback" not in told, told
    assert not (fleet.root / "runs").exists()


def test_a_lost_machine_ends_no_run_that_can_go_on(fleet: Fleet, tmp_path: Path) -> None:
    following = fleet.submit("lost")
    fleet.wait_for_checkpoints("lost", 2, following)
    machine = fleet.with_a_worker()
    machine.kill()
    told, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 0, told
    assert f"node {machine.address} lost; restart 1 of 3 from " in told, told
    assert "Traceback" not in told
    assert fleet.checkpoints("lost")[-1].meta["checksums"] == machines.undisturbed(fleet, tmp_path)

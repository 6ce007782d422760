"""Placement groups that dead trials left: found and removed on a real Ray, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

from tests.ray.conftest import PATIENCE_S

pytestmark = pytest.mark.ray

NEIGHBOUR = """
import sys
import ray
from ray.util.placement_group import placement_group
ray.init(address=sys.argv[1], log_to_driver=False)
group = placement_group([{"CPU": 1}], name="neighbour", lifetime="detached")
ray.get(group.ready())
"""
SCRIPT = """
import json, subprocess, sys, time
import ray
from ray.util.placement_group import placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from gan_dist.sweeps import ray_tune

context = ray.init(num_cpus=4, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=sys.argv[1],
                   log_to_driver=False)
subprocess.run([sys.executable, "-c", sys.argv[2], context.address_info["address"]], check=True)

def granted(name, bundle):
    group = placement_group([bundle], name=name)
    ray.get(group.ready())
    return group

class Worker:
    def __init__(self, seconds):
        time.sleep(seconds)

    def here(self):
        return True

def inhabited(name, seconds):
    into = PlacementGroupSchedulingStrategy(granted(name, {"CPU": 1}))
    return ray.remote(Worker).options(num_cpus=1, scheduling_strategy=into).remote(seconds)

def left():
    time.sleep(1)
    return sorted(row["name"] for row in placement_group_table().values() if row["state"] != "REMOVED")

granted("empty", {"CPU": 1})
granted("tune", {"memory": 2**20})
worker, beginning = inhabited("lived-in", 0), inhabited("beginning", 600)
ray.get(worker.here.remote())
waiting = placement_group([{"CPU": 1}], name="waiting")
told = [left()]
ray_tune.LOOK_EVERY_S, ray_tune.IDLE_S = 0.0, 4.0
warnings = []
found = ray_tune.OrphanedPlacementGroups(warnings.append)
found.remove_idle()
told.append(left())
time.sleep(ray_tune.IDLE_S)
found.remove_idle()
told.append(left())
placement_group([{"CPU": 4}], name="never granted")
found.remove_all()
told.append(left())
print("TOLD", json.dumps([*told, warnings]), flush=True)
"""


def test_only_empty_places_of_this_drivers_trials_are_removed() -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="orphans-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        command = [sys.executable, "-c", SCRIPT, temp, NEIGHBOUR]
        environ = clean | {"RAY_AUTH_MODE": "disabled"}
        done = subprocess.run(command, env=environ, text=True, capture_output=True, timeout=PATIENCE_S)
    lines = [line.removeprefix("TOLD ") for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    assert len(lines) == 1, done.stdout + done.stderr
    everything = ["beginning", "empty", "lived-in", "neighbour", "tune", "waiting"]
    before, looked, later, removed, warnings = json.loads(lines[0])
    assert before == everything
    assert looked == everything, "one that may just have been granted"
    assert later == ["beginning", "lived-in", "neighbour", "tune", "waiting"], "the waiting one has its CPU now"
    assert len(warnings) == 1 and "the CPUs or GPUs it had reserved are given back" in warnings[0]
    assert removed == ["neighbour", "tune"]

"""How many trials train at a time, and with how many workers, where the configurations ask for different ones."""

from __future__ import annotations

from typing import Any

import pytest

from gan_dist.distributed.lanes import lanes_of
from gan_dist.execution.ray.resources import ResolvedResources, resolve_resources
from gan_dist.spec.job import JobSpec
from gan_dist.sweeps.ray_tune import places_for
from gan_dist.sweeps.sweep import sweep_problems
from tests.helpers import SMALL, rows_of


def asked(one: JobSpec) -> ResolvedResources:
    """On a machine of four CPUs."""
    return resolve_resources(one.resources, len(lanes_of(one.batch)), {"CPU": 4.0}, [{"Alive": True}])


def searched(space: dict[str, Any]) -> JobSpec:
    return JobSpec.model_validate({**SMALL, "sweep": {"metric": "loss/D", "search": "grid", "space": space}})


@pytest.mark.parametrize(
    ("space", "workers", "places"),
    [
        ({"optimizer.lr": {"grid": [1e-4]}}, 2, 2),
        ({"batch": {"grid": [4]}}, 1, 4),
        ({"batch": {"grid": [4, 16]}}, 2, 2),
        ({"resources.workers": {"grid": [1, 3]}, "batch": {"grid": [16]}}, 3, 1),
    ],
)
def test_the_largest_ask_counts_and_each_configuration_has_its_own(space, workers, places):
    spec = searched(space)
    ask, found = places_for(spec, asked)
    assert (ask.workers, found) == (workers, places)
    assert sweep_problems(spec, rows_of(spec).facts, lambda one: asked(one).most, (".",)) == []


def test_workers_that_a_batch_cannot_feed_are_told():
    spec = searched({"batch": {"grid": [4, 16]}, "resources.workers": {"grid": [3]}})
    problems = sweep_problems(spec, rows_of(spec).facts, lambda one: asked(one).most, (".",))
    assert len(problems) == 1 and "batch 4 gives work to at most 1 workers, not 3" in problems[0]

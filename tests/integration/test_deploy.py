"""What stands in deploy/: its fields, files and commands are there. `gan-dist help cluster` says what was run of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gan_dist.execution.ray.gauges import GAUGES
from tests.helpers import ROOT

DEPLOY = ROOT / "deploy"
CRD = os.environ.get("GAN_DIST_KUBERAY_CRD")  # KubeRay's helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml
# Fields of a v1 RayJob that are used, as KubeRay 1.6 has them.
RAYJOB = {
    "entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "rayClusterSpec",
}  # fmt: skip
CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def rayjob() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "rayjob.yaml").read_text())
    return loaded


def unknown(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Fields that a structural schema does not have, and values of other types."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if schema.get("x-kubernetes-int-or-string"):
        kinds = {}
    if (kind := kinds.get(schema.get("type", ""))) and not isinstance(value, kind):
        yield f"{path} is no {schema['type']}"
    elif isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            if key in schema["properties"]:
                yield from unknown(inner, schema["properties"][key], f"{path}.{key}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{key}"
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from unknown(inner, schema.get("items", {}), f"{path}[{number}]")


def test_the_rayjob_uses_fields_that_kuberay_has() -> None:
    job = rayjob()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= RAYJOB and job["spec"]["rayClusterSpec"].keys() <= CLUSTER
    assert all(group.keys() <= WORKERS for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"])


@pytest.mark.skipif(CRD is None, reason="GAN_DIST_KUBERAY_CRD names no file of KubeRay's ray.io_rayjobs.yaml")
def test_the_rayjob_is_one_by_kuberays_own_schema() -> None:
    assert CRD is not None
    versions = YAML(typ="safe").load(Path(CRD).read_text())["spec"]["versions"]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1"]
    assert list(unknown(rayjob(), schema)) == []
    assert list(unknown({"spec": {"entrypont": ""}}, schema)) == [".spec.entrypont"]


def test_the_entry_point_is_a_command_that_exists() -> None:
    from gan_dist.cli import PANELS

    words = shlex.split(rayjob()["spec"]["entrypoint"])
    assert words[0] == "gan-dist" and words[1] in PANELS["Run jobs"]
    mounts = rayjob()["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert any(words[2].startswith(mount["mountPath"]) for mount in mounts), "where the job file is mounted"


def test_the_image_copies_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in sources.split())
    assert "USER ray" in text and text.index("USER ray") < text.index("ENV OMP"), "it does not run as root"


def test_scripts_are_shell() -> None:
    for script in DEPLOY.glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", str(script)], check=True)


@pytest.mark.parametrize("file", ["cluster.yaml", "deploy/aws.yaml", "deploy/gcp.yaml"])
def test_rays_launcher_takes_it(file: str) -> None:
    """By Ray's own schema, after its own preparation, as `ray up` does it before it asks the cloud for anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    text = (ROOT / file).read_text()
    ready = prepare_config(YAML(typ="safe").load(text))
    validate_config(ready)
    nodes = ready["available_node_types"]
    if file.startswith("deploy"):
        head, gpu = nodes["head"], nodes["gpu"]
        assert "GPU" not in head["resources"] and gpu["resources"]["GPU"] == 1 and gpu["min_workers"] == 0
        assert 0 < gpu["max_workers"] <= ready["max_workers"] and ready["head_node_type"] == "head"
        assert "resources: {workers: 4, device: cuda, autoscale: true" in text
    starts = [*ready["head_start_ray_commands"], *ready["worker_start_ray_commands"]]
    assert any("--dashboard-host=127.0.0.1" in line and "--autoscaling-config" in line for line in starts)
    wrong = YAML(typ="safe").load(text) | {"max_wrokers": 3}
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(wrong))


def test_every_metric_of_the_board_is_one_of_ours_or_of_ray() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [one["query"] for one in board["templating"]["list"]]
    named = {name for query in queries for name in re.findall(r"\bray_(\w+)", query)}
    ours = {name.removeprefix("gan_dist_") for name in named if name.startswith("gan_dist_")}
    assert ours == set(GAUGES)
    ray = find_spec("ray")
    assert ray is not None and ray.origin is not None
    # What Ray's nodes report, and what its own boards ask, read as text: imported they would load a dashboard.
    modules = Path(ray.origin).parent / "dashboard" / "modules"
    theirs = set(re.findall(r'Gauge\(\s*"(\w+)"', (modules / "reporter/reporter_agent.py").read_text()))
    boards = modules / "metrics/dashboards/default_dashboard_panels.py"
    theirs |= set(re.findall(r"\bray_(\w+)", boards.read_text()))
    assert named - {f"gan_dist_{name}" for name in ours} <= theirs

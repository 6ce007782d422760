"""Runs on the disk of a cluster's head, used and gone on with from a machine that shares no disk with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.ray import machines
from tests.ray.conftest import PATIENCE_S
from tests.ray.machines import Bucket, Fleet

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(machines.why_not() is not None, reason=f"a machine of its own: {machines.why_not()}"),
]
STORAGE = "head:///tmp/data/runs"
SMALL = ("-o", "environment.env=[]", "-o", "until=40 steps")


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Fleet]:
    """Who submits to a cluster of one machine, without a bucket."""
    with machines.machines(tmp_path / "machines", 1, (2, 2)) as network:
        (tmp_path / "here").mkdir()
        yield Fleet(network, tmp_path / "here", Bucket({}, []))


def test_a_run_on_the_disk_of_the_head(person: Fleet) -> None:
    def run(*words: str) -> tuple[int, str]:
        started = person.start(*words)
        told, _ = started.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in told, told
        return started.returncode, told

    there = ("--address", person.network.url)
    code, told = run("submit", "job.yaml", "--name", "here", *SMALL, *there)
    assert code == 2 and "head:///data/runs" in told, told

    code, told = run("submit", "job.yaml", "--name", "faces", *SMALL, *there, "--storage", STORAGE)
    assert code == 0, told
    uri = f"{STORAGE.replace('head://', person.network.url.replace('http', 'head'))}/faces"
    on_head = person.network.head.root / "tmp" / "data" / "runs" / "faces"
    assert uri in told and len(stored(RunFolder(Folder(str(on_head))).checkpoints())) == 2, told

    for words in (("list",), ("list", *there), ("list", "--storage", uri.removesuffix("/faces"))):
        code, told = run(*words, "--json")
        (row,) = [row for row in json.loads(told) if row["id"] == "faces"]
        assert code == 0 and (row["status"], row["uri"], row["seen"]) == ("succeeded", uri, 1280), told
    code, told = run("results", "faces")
    assert code == 0 and "succeeded, 1,280 samples seen" in told, told
    for words in (("sample", "faces", "--n", "4", "--out", "samples"), ("export", "faces", "--out", "model")):
        code, told = run(*words)
        assert code == 0 and (person.root / words[-1]).exists(), told
    code, told = run("pull", "faces", "copy")
    assert code == 0, told
    copied = {path.relative_to(person.root / "copy") for path in (person.root / "copy").rglob("*.safetensors")}
    assert copied == {path.relative_to(on_head) for path in on_head.rglob("*.safetensors")} != set()

    code, told = run("submit", "--resume", "faces", "-o", "until=60 steps")
    assert code == 0 and len(stored(RunFolder(Folder(str(on_head))).checkpoints())) == 3, told
    assert run("pull", "faces", "copy")[0] == 0 and (person.root / "copy" / "logs" / "attempt-2.log").exists()

    person.network.add()
    code, told = run("submit", "job.yaml", "--name", "two", *SMALL, *there, "--storage", STORAGE)
    assert code == 2 and "the cluster has 2 nodes; use a bucket" in told, told
    code, told = run("delete", "faces", "--yes")
    assert code == 0 and not on_head.exists(), told

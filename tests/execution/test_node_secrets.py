"""Secrets that are read on the nodes: where they are, and where they must not be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import PreflightError
from gan_dist.events import REFUSED
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.local import run_attempt_here
from gan_dist.execution.node_secrets import LARGEST, read_on_start, read_secrets
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.packaging import Environment
from gan_dist.launch.plan import LaunchPlan
from gan_dist.launch.submit import runtime_env, submit_plan
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.secrets import FILES, HIDDEN, redact
from tests.helpers import request_of, small

VALUE = "kJ8s0-hidden-Zq31"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A secret of this node; the variables that a test sets are as before afterwards."""
    for name in (FILES, "MY_PASS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    path = tmp_path / "mounted"
    path.write_text(f"{VALUE}\n")
    return {"MY_PASS": str(path)}


def test_they_are_read_from_files(mounted: dict[str, str]) -> None:
    environ: dict[str, str] = {}
    assert read_secrets(mounted, environ=environ) == []
    assert environ == {"MY_PASS": VALUE, FILES: json.dumps(mounted)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "holds no secret: it is empty"),
        (b"x" * (LARGEST + 1), "holds no secret: it is longer than 64 KiB"),
        (b"\xff\xfe", "cannot be read: it is no text"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_key_node_and_file(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    environ: dict[str, str] = {}
    assert read_secrets({"KEY": str(path)}, "10.0.0.12", environ) == [
        f"environment.secrets.KEY: node 10.0.0.12: {path} {told}"
    ]
    assert "KEY" not in environ


def test_what_is_shown_hides_them_whatever_their_names(mounted: dict[str, str]) -> None:
    environ: dict[str, str] = {}
    read_secrets(mounted, environ=environ)
    assert redact(f"pass {VALUE}", environ) == f"pass {HIDDEN}"


def test_a_job_carries_names_and_files_and_no_values(
    mounted: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASS", VALUE)
    request = request_of(small(environment={"secrets": mounted}), tmp_path / "run")
    sent = runtime_env(request, Cluster("http://x"), Environment(secrets=mounted))
    assert VALUE not in json.dumps(sent)
    assert json.loads(sent["env_vars"][FILES]) == mounted
    assert sent["worker_process_setup_hook"].rpartition(".")[2] == read_on_start.__name__


def test_a_run_has_them_and_keeps_none(mounted: dict[str, str], tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    attempt = Attempt(request_of(small(environment={"secrets": mounted}), tmp_path / "run"), events.append)

    def train(attempt: Attempt) -> dict[str, Any]:
        print("my pass is", os.environ["MY_PASS"])
        return {"ending": "finished", "seen": 0}

    assert run_attempt_here(attempt, train) == 0
    assert VALUE not in json.dumps(events)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert f"my pass is {HIDDEN}" in (tmp_path / "run/logs/attempt-1.log").read_text()
    assert not [path for path in files if VALUE.encode() in path.read_bytes()]


def test_a_missing_file_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    spec = small(environment={"secrets": {"MY_PASS": "/no/such"}})
    assert run_attempt_here(Attempt(request_of(spec, tmp_path / "run"), events.append)) == REFUSED
    assert "environment.secrets.MY_PASS: node " in events[-1]["message"] and "/no/such" in events[-1]["message"]
    assert not (tmp_path / "run").exists()

    request = request_of(spec, tmp_path / "run")
    plan = LaunchPlan(RunFolder(Folder(request.uri)), spec, request, Environment.asked(spec.environment))
    with pytest.raises(PreflightError, match=r"environment\.secrets\.MY_PASS"):
        submit_plan(plan, Cluster("http://127.0.0.1:1", local=True))
    assert not (tmp_path / "run").exists()

"""What is left of a submission that was refused: nothing. No Ray runs here."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import ClusterError, NoSuchRun, UsageError
from gan_dist.execution import attempt as attempts
from gan_dist.execution.attempt import Attempt
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.plan import LaunchPlan, plan_new, plan_resume
from gan_dist.launch.run_status import every_status
from gan_dist.launch.submit import submit_plan
from gan_dist.runs.index import find_run, known_runs, remember_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import SMALL


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Answers the version, and to everything else what `answer` says."""

    answer: tuple[int, Any] = (500, "")

    def do_GET(self) -> None:
        code, body = (200, {"ray_version": "2"}) if self.path == "/api/version" else self.answer
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def dashboard() -> Iterator[type[Dashboard]]:
    handler = type("Handler", (Dashboard,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()


def cluster_of(dashboard: Any, *, local: bool = True) -> Cluster:
    return Cluster(dashboard.address, local=local, python=sys.executable)


@pytest.fixture
def plan(tmp_path: Path) -> LaunchPlan:
    return plan_new(SMALL, storage=str(tmp_path / "runs"), name="r")


def test_a_cluster_that_refuses_leaves_neither_folder_nor_entry(dashboard: Any, plan: LaunchPlan) -> None:
    dashboard.answer = (500, "ConnectionError: the agent is gone")
    with pytest.raises(ClusterError, match="the agent is gone"):
        submit_plan(plan, cluster_of(dashboard))
    assert not plan.run.folder.names() and not known_runs()


def test_of_two_submissions_of_a_name_the_second_is_told(dashboard: Any, plan: LaunchPlan, tmp_path: Path) -> None:
    second = plan_new(SMALL, storage=str(tmp_path / "runs"), name="r")
    dashboard.answer = (200, {"submission_id": "r.1"})
    assert submit_plan(plan, cluster_of(dashboard)) == "r.1"
    before = plan.run.folder.read("request.json")
    with pytest.raises(UsageError, match="by another command; follow it: gan-dist logs -f r"):
        submit_plan(second, cluster_of(dashboard))
    assert plan.run.folder.read("request.json") == before and known_runs()[0]["submission"] == "r.1"


def test_of_two_resumes_the_second_is_told(dashboard: Any, plan: LaunchPlan) -> None:
    dashboard.answer = (200, {"submission_id": "r.1"})
    submit_plan(plan, cluster_of(dashboard))
    dashboard.answer = (500, "ValueError: Job with submission_id r.2 already exists.")
    with pytest.raises(UsageError, match="by another command; follow it: gan-dist logs -f r"):
        submit_plan(plan_resume("r", storage=plan.run.uri.rpartition("/")[0]), cluster_of(dashboard))
    assert plan.run.folder.exists("request.json")
    assert known_runs()[0]["attempt"] == 1


def test_what_another_cluster_refused_meanwhile_is_forgotten(dashboard: Any, plan: LaunchPlan) -> None:
    remember_run(plan.run, address=dashboard.address, local=False, submission="r.1", attempt=1)
    end = {"event": "end", "status": "failed", "exit_code": 2, "message": "data.source: there is none", "summary": []}
    dashboard.answer = (200, {"status": "FAILED", "driver_exit_code": 2, "logs": f"@gan-dist {json.dumps(end)}\n"})
    assert every_status(None) == [] and not known_runs()
    with pytest.raises(NoSuchRun, match=rf"^run {plan.run.id} was refused .*: data\.source: there is none$"):
        find_run(plan.run.id)


def test_an_attempt_at_a_storage_that_cannot_be_written_is_forgotten(
    plan: LaunchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_run(plan.run, attempt=1)
    monkeypatch.setattr(attempts, "storage_problems", lambda folder: ["storage: it is full"])
    assert Attempt(plan.request, lambda event: None).run(lambda attempt: {}) == 2
    assert not known_runs()
    assert RunFolder(Folder(plan.run.uri)).status()["attempt"] == 0

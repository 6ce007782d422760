"""Jobs really submitted to a local Ray, with a driver that trains nothing."""

import contextlib
import io
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gan_dist.errors import ClusterError, NoSuchJob, RequestRefused
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.launch.follow import LiveDisplay, follow_job
from gan_dist.launch.packaging import Environment
from gan_dist.launch.run_status import RunJob, job_of, log_lines, run_status, stop
from gan_dist.launch.submit import submit
from gan_dist.runs.index import remember_run
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.ray.conftest import wait_for

pytestmark = pytest.mark.ray
HERE = Environment(code=str(Path(__file__).parent))


def request_of(name, **spec):
    return RunRequest(name, f"/nowhere/{name}", json.dumps(spec))


def followed(cluster, request, environment=HERE):
    job = submit(request, cluster, environment, "fake_driver")
    printed = io.StringIO()
    outcome = follow_job(
        JobsClient(cluster),
        job,
        run_id=request.run_id,
        follower=LiveDisplay(Console(file=printed, width=200)),
        ask=None,
    )
    return outcome, printed.getvalue()


def test_followed_to_its_end(cluster, monkeypatch):
    monkeypatch.setenv("FLAVOUR", "with vanilla")
    outcome, printed = followed(cluster, request_of("fine"), replace(HERE, env=("FLAVOUR",)))
    assert (outcome.status, outcome.exit_code) == ("succeeded", 0)
    assert outcome.summary == ("stored in /nowhere/fine",)
    assert "reading data ..." in printed and "a print of the user with vanilla" in printed
    assert "1k / 1k (100.0%)  1,234 samples/s  eta 0:00  D 1.25  G 0.5  2 workers" in printed
    assert "Running entrypoint" not in printed and "@gan-dist" not in printed


def test_exit_code_and_death(cluster):
    outcome, _ = followed(cluster, request_of("failing", exit=1))
    assert (outcome.status, outcome.exit_code, outcome.message) == ("failed", 1, "a nan")
    outcome, _ = followed(cluster, request_of("dying", die_at=300))
    assert outcome.exit_code == 1 and "driver died" in outcome.message
    assert "resume: gan-dist submit --resume dying" in outcome.summary


def test_ids_are_unique_and_unknown_ones_told(cluster):
    followed(cluster, request_of("twice"))
    with pytest.raises(RequestRefused, match=r"already exists"):
        submit(request_of("twice"), cluster, HERE, "fake_driver")
    with pytest.raises(NoSuchJob):
        JobsClient(cluster).info("never")


def test_code_travels_to_another_cluster(cluster, tmp_path):
    """The same cluster, looked at as somebody else's: code and this very package go there as an archive."""
    driver = (Path(__file__).parent / "fake_driver.py").read_text()
    told = "    import gan_dist\n    print('runs from', gan_dist.__file__, flush=True)\n    emit(event=\"stage\""
    (tmp_path / "fake_driver.py").write_text(driver.replace('    emit(event="stage"', told, 1))
    outcome, printed = followed(cluster_as_foreign(cluster), request_of("far"), Environment(code=str(tmp_path)))
    assert outcome.exit_code == 0
    origin = next(line for line in printed.splitlines() if line.startswith("runs from")).split()[-1]
    assert "/runtime_resources/working_dir_files/" in origin


def cluster_as_foreign(cluster):
    return replace(cluster, local=False, gcs=None, python=None)


def test_another_python_is_refused(cluster):
    with pytest.raises(ClusterError, match="gan-dist down"):
        submit(request_of("other"), replace(cluster, python="/usr/bin/other"), HERE)


def test_stop_waits_for_the_checkpoint(cluster, tmp_path):
    run = RunFolder(Folder.at(tmp_path / "stopping"))
    request = RunRequest("stopping", run.uri, json.dumps({"until": 100_000, "pause": 0.1}))
    job = submit(request, cluster, HERE, "fake_driver")
    remember_run(run, submission=job, local=True, address=cluster.address, attempt=1)
    jobs = JobsClient(cluster)
    wait_for(lambda: "adversarial" in jobs.logs(job), "its first report")
    assert run_status(run)["status"] == "running"
    events = stop(job_of(run))
    assert events["end"]["status"] == "stopped"
    assert events["checkpoint"]["path"].startswith(f"{run.uri}/checkpoints/")
    assert run_status(run)["status"] != "running"
    assert any("a print of the user" in line for line in log_lines(run, job_of(run)))


def test_stop_of_a_job_that_just_starts(cluster):
    job = submit(request_of("early", until=100_000, pause=0.1, saving=0), cluster, HERE, "fake_driver")
    stop(RunJob(JobsClient(cluster), job))
    assert JobsClient(cluster).info(job)["status"] in ("STOPPED", "SUCCEEDED", "FAILED")


@pytest.mark.parametrize("answer", ["leave", "stop"])
def test_interrupt_asks(cluster, answer):
    request = request_of(f"asked-{answer}", until=100_000, pause=0.1, saving=0)
    job = submit(request, cluster, HERE, "fake_driver")
    jobs = JobsClient(cluster)

    def interrupt():
        wait_for(lambda: "adversarial" in jobs.logs(job), "its first report")
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    follower = LiveDisplay(Console(file=io.StringIO()))
    outcome = follow_job(jobs, job, run_id=request.run_id, follower=follower, ask=lambda: answer == "stop")
    thread.join()
    if answer == "stop":
        assert (outcome.status, outcome.exit_code) == ("stopped", 3)
    else:
        assert outcome.exit_code == 130 and jobs.info(job)["status"] == "RUNNING"
        assert f"  stop it     gan-dist stop {request.run_id}" in outcome.summary
        with contextlib.suppress(ClusterError):
            stop(RunJob(jobs, job))


def test_python_is_this_one(cluster):
    assert cluster.python == sys.executable

"""The local Ray and its keeper, really started."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from gan_dist.launch.cluster.address import Cluster, ClusterError, find_local, resolve_address, start_local, stop_local
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.launch.cluster.local import LocalClusterState, why_ended
from gan_dist.launch.follow import LiveDisplay, follow_job
from gan_dist.launch.packaging import Environment
from gan_dist.launch.submit import submit
from gan_dist.runs.request import RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.ray.conftest import PATIENCE_S, wait_for

pytestmark = pytest.mark.ray

LISTENERS = """
import os
import sys
import psutil
group = int(sys.argv[1])
for process in psutil.process_iter():
    try:
        if os.getpgid(process.pid) == group:
            for c in process.net_connections("tcp"):
                if c.status == "LISTEN":
                    print(c.laddr.ip)
    except psutil.Error:
        continue
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    stop_local()


def group_members(group: int) -> list[int]:
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            members.append(int(entry.name))
    return members


def test_nothing_is_left_of_a_killed_keeper(home):
    start_local()
    owner = LocalClusterState.here().owner()
    assert len(group_members(owner["pid"])) > 3
    os.kill(owner["pid"], signal.SIGKILL)
    wait_for(lambda: LocalClusterState.here().owner() is None, "a lock that is free")
    assert find_local() is None
    wait_for(lambda: not group_members(owner["pid"]) and not Path(owner["temp"]).exists(), "nothing of it")


def test_idle_cluster_ends_itself_but_not_under_a_job(home, monkeypatch):
    monkeypatch.setenv("GAN_DIST_IDLE_MINUTES", "0.3")
    jobs = JobsClient(start_local())
    began = time.monotonic()
    jobs.submit({"entrypoint": "sleep 25", "submission_id": "busy"})
    wait_for(lambda: LocalClusterState.here().owner() is None, "the end of an idle cluster")
    assert time.monotonic() - began > 25
    assert "idle" in LocalClusterState.here().log.read_text()


def test_death_at_start_is_told_with_the_log(home, monkeypatch):
    LocalClusterState.here().prepare()
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    (home / "python").write_text("#!/bin/sh\necho this Python is broken\nexit 3\n")
    (home / "python").chmod(0o755)
    with pytest.raises(ClusterError, match=r"(?s)did not start.*this Python is broken"):
        start_local()


OTHER = """
import sys, ray
context = ray.init(num_cpus=1, include_dashboard=True, dashboard_host="127.0.0.1",
                   _node_ip_address="127.0.0.1", _temp_dir=sys.argv[1], log_to_driver=False)
print("READY", context.dashboard_url, flush=True)
for line in sys.stdin:
    print("SUM", ray.get(ray.remote(lambda: 41 + 1).remote()), flush=True)
ray.shutdown()
"""


@pytest.fixture
def other():
    """A Ray that is not ours: its process, and its address."""
    temp = tempfile.mkdtemp(prefix="other-", dir="/tmp")
    environ = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", OTHER, temp], text=True, env=environ, **pipes)
    try:
        yield process, "http://" + next(line for line in process.stdout if line.startswith("READY")).split()[1]
    finally:
        process.stdin.close()
        process.wait(PATIENCE_S)
        shutil.rmtree(temp, ignore_errors=True)


def test_two_starts_give_one_private_cluster_on_loopback_beside_another(home, other):
    found = []
    starts = [threading.Thread(target=lambda: found.append(start_local())) for _ in range(2)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    cluster = found[0]
    assert found[1] == cluster == find_local() == resolve_address(None, {})
    assert resolve_address(cluster.address, {}) == cluster  # with its token
    check_it_is_private(home, cluster)

    process, address = other
    assert cluster.address != address and not resolve_address(address, {}).local
    jobs = JobsClient(cluster)
    assert jobs.list() == []  # nobody's connection but a run is a job
    jobs.submit({"entrypoint": "echo hello", "submission_id": "beside"})
    wait_for(lambda: jobs.info("beside")["status"] == "SUCCEEDED", "a job")
    owner = LocalClusterState.here().owner()
    assert stop_local()
    assert find_local() is None and not LocalClusterState.here().record.exists() and not Path(owner["temp"]).exists()
    wait_for(lambda: not group_members(owner["pid"]), "the end of its processes")
    assert not stop_local()
    assert JobsClient(Cluster(address)).version()
    process.stdin.write("\n")
    process.stdin.flush()
    assert next(line for line in process.stdout if line.startswith("SUM")).split()[1] == "42"


def check_it_is_private(home, cluster):
    state = LocalClusterState.here()
    for path in (state.token, state.record, state.keeper):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    owner = state.owner()
    assert len(owner["temp"]) <= 40 and stat.S_IMODE(os.stat(owner["temp"]).st_mode) == 0o700
    command = [sys.executable, "-c", LISTENERS, str(owner["pid"])]
    listening = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(listening) > 5 and {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    (home / "wrong").write_text("0" * 64)
    for token, words in (("wrong", "refuses our token"), ("absent", "wants a token")):
        with pytest.raises(ClusterError, match=words):
            JobsClient(Cluster(cluster.address, token_path=str(home / token))).list()


def test_a_ray_that_lost_a_part_lets_its_jobs_save_and_ends(home):
    """By its GCS server, whose loss many calls of Ray wait for; the raylet's is in test_chaos.py."""
    cluster, run = start_local(), RunFolder(Folder.at(home / "saved"))
    request = RunRequest("saved", run.uri, json.dumps({"until": 100_000, "pause": 0.1}))
    job = submit(request, cluster, Environment(code=str(Path(__file__).parent)), "fake_driver")
    jobs = JobsClient(cluster)
    wait_for(lambda: "adversarial" in jobs.logs(job), "its first report")
    keeper = psutil.Process(LocalClusterState.here().owner()["pid"])
    (lost,) = [child for child in keeper.children() if "gcs_server" in " ".join(child.cmdline())]
    lost.kill()
    wait_for(lambda: why_ended(cluster) is not None, "that it is noticed")
    assert why_ended(cluster) == "it lost its GCS server" and find_local() is None
    display = LiveDisplay(Console(file=io.StringIO()))
    outcome = follow_job(jobs, job, run_id="saved", follower=display, ask=None, run=run)
    assert outcome.status == "lost" and "gan-dist submit --resume saved" in outcome.summary[0], outcome
    wait_for(lambda: not group_members(keeper.pid), "the end of its processes")
    with pytest.raises(ClusterError, match="our local one has ended: it lost its GCS server"):
        jobs.version()

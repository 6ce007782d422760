"""The disk of a cluster's head is a storage like another: read through the dashboard, written by runs there alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import ClusterError, StorageError, StorageUnreachable
from gan_dist.evaluation.reports.tensorboard import EventFileCopy
from gan_dist.launch import submit
from gan_dist.launch.cluster.head_disk import Answer, disk_of, make_folder
from gan_dist.launch.cluster.head_storage import address_of, as_sent, with_cluster
from gan_dist.launch.cluster.jobs_api import JobsClient
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.plan import plan_new, plan_resume
from gan_dist.launch.run_status import cluster_status, every_status
from gan_dist.runs.index import known_run, remember_run
from gan_dist.runs.request import VARIABLE, InitialWeights, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder, remote_filesystem
from gan_dist.sweeps.local import run_here
from tests.cli.test_pull import WEIGHTS, files_of, make_run
from tests.dashboard import Dashboard, dashboard

Call = Callable[..., tuple[int, str]]
JOB = {
    "name": "faces",
    "data": {"source": "digits", "size": 16},
    "generator": "mlp",
    "discriminator": "mlp",
    "objective": "non_saturating",
    "batch": 32,
    "until": "64 samples",
}


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Dashboard]:
    """A cluster; its head's disk is `tmp_path/disk`."""
    with dashboard(tmp_path / "logs") as running:
        yield running
    disk_of.cache_clear()
    remote_filesystem.cache_clear()


@pytest.fixture
def storage(head: Dashboard, tmp_path: Path) -> str:
    return f"head://{head.where}{tmp_path}/disk/runs"


def jobs_of(head: Dashboard) -> int:
    """How many jobs were submitted."""
    return len(list(head.logs.glob("job-driver-*.log")))


def test_what_is_there_is_read(head: Dashboard, storage: str, tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "disk" / "runs"), "a [b] é*")
    folder = Folder.at(f"{storage}/{run.id}")
    assert RunFolder(folder).status()["status"] == "succeeded"
    assert folder.names() == run.folder.names() and Folder.at(storage).names() == [run.id]
    assert folder.child("checkpoints").exists("64-a1/meta.json")
    assert not folder.exists("checkpoint") and folder.child("no").names() == []
    with folder.stream("checkpoints/64-a1/generator.safetensors") as stream:
        assert stream.read(300) == WEIGHTS[:300] and stream.read() == WEIGHTS[300:]
    with folder.seekable("checkpoints/64-a1/generator.safetensors") as stream:
        stream.seek(-3, 2)
        assert stream.read() == WEIGHTS[-3:] and stream.size() == len(WEIGHTS)
    with pytest.raises(FileNotFoundError):
        folder.read("checkpoints/none")
    assert sorted(folder.entries()) == sorted(run.folder.entries())
    before = len(head.asked)
    assert folder.read_json("status.json") is not None and len(head.asked) == before + 1
    assert jobs_of(head) == 2 and not head.jobs  # one made the link and one listed the entries; nothing is left of them


def test_nothing_is_there_yet(head: Dashboard, storage: str) -> None:
    folder = Folder.at(storage)
    assert folder.names() == [] and not folder.exists("x") and list(folder.files()) == []
    assert folder.read_json("x.json") is None


def test_what_is_not_written_from_here(head: Dashboard, storage: str, tmp_path: Path) -> None:
    make_run(str(tmp_path / "disk" / "runs"), "faces")
    with pytest.raises(StorageError, match="where the runs of that cluster alone write"):
        Folder.at(storage).write("faces/status.json", b"{}")
    Folder.at(storage).delete("faces/logs")
    assert not (tmp_path / "disk" / "runs" / "faces" / "logs").exists()
    Folder.at(storage).delete("faces/status.json")
    assert not (tmp_path / "disk" / "runs" / "faces" / "status.json").exists()


def test_a_folder_is_made_once(head: Dashboard, storage: str, tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(Folder(storage), f"http://{head.where}")
    assert (tmp_path / "disk" / "runs").is_dir() and jobs_of(head) == 1
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"the cluster's head cannot make it: .*/file"):
        make_folder(Folder(f"head://{head.where}{tmp_path}/file/runs"), f"http://{head.where}")


def test_a_cluster_that_does_not_answer(head: Dashboard, storage: str) -> None:
    head.shutdown()
    head.server_close()
    with pytest.raises(StorageUnreachable, match=rf"storage '{storage}' cannot be read: no Ray cluster answers"):
        Folder.at(storage).names()
    remember_run(RunFolder(Folder(f"{storage}/faces")), address=f"http://{head.where}")
    (row,) = every_status(None)
    assert (row["id"], row["status"], row["reachable"]) == ("faces", "unknown", False)


def test_an_answer_that_is_cut_short_is_an_error_of_the_file() -> None:
    from http.client import IncompleteRead

    class Cut:
        def readinto(self, _: Any) -> int:
            raise IncompleteRead(b"half")

        def close(self) -> None: ...

    cut: Any = Cut()
    with pytest.raises(OSError, match="cut short"):
        Answer(cut).read(10)


def test_names_of_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    on_head = Folder("head:///data/runs")
    assert with_cluster(on_head, "http://10.0.0.1:8265").uri == "head://10.0.0.1:8265/data/runs"
    assert with_cluster(on_head, "head").uri == "head://head:8265/data/runs"
    with pytest.raises(ClusterError, match="none is named: add --address URL"):
        with_cluster(on_head, None)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://[::1]:8265")
    assert with_cluster(on_head, None).uri == "head://[::1]:8265/data/runs"
    for other in ("https://head:8265", "http://head/ray", "http://head"):
        with pytest.raises(StorageError, match="make a tunnel"):
            with_cluster(on_head, other)
    assert with_cluster(Folder("s3://bucket/runs"), "head") == Folder("s3://bucket/runs")
    assert address_of(Folder("head://head/data")) == "http://head:8265"
    assert address_of(on_head) is None and address_of(Folder("/data")) is None


def test_our_local_ray_has_this_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Cluster("http://127.0.0.1:1", local=True)
    monkeypatch.setattr("gan_dist.launch.cluster.head_storage.resolve_address", lambda address: ours)
    assert with_cluster(Folder("head:///data/runs"), None) == Folder("/data/runs")


def test_what_a_job_is_told() -> None:
    assert as_sent("head://head:8265/data/runs/a", "http://head:8265") == "head:///data/runs/a"
    assert as_sent("s3://bucket/a", "http://head:8265") == "s3://bucket/a"
    with pytest.raises(StorageError, match=r"use --address http://other:8265"):
        as_sent("head://other:8265/data/runs/a", "http://head:8265")
    start = InitialWeights("head:///data/runs/b/checkpoints/64")
    sent = RunRequest("a", "head:///data/runs/a", "{}", start_from=start).to_json()
    there = RunRequest.from_env({VARIABLE: sent})
    assert (there.uri, there.start_from) == ("/data/runs/a", InitialWeights("/data/runs/b/checkpoints/64"))


@pytest.mark.slow
def test_a_run_on_the_head(head: Dashboard, storage: str, tmp_path: Path, gan_dist: Call) -> None:
    there, here = f"http://{head.where}", f"head://{tmp_path}/disk/runs"
    plan = plan_new(JOB, storage=here, address=there, name="faces")
    assert plan.run.uri == f"{storage}/faces"
    submit.submit_plan(plan, Cluster(there))
    assert known_run(plan.run)["address"] == there
    (sent,) = head.sent
    assert sent["runtime_env"]["working_dir"] in [f"gcs://{name}" for name in head.packages]
    request = RunRequest.from_env(sent["runtime_env"]["env_vars"])
    assert request.uri == str(tmp_path / "disk" / "runs" / "faces")
    assert sent["metadata"]["gan_dist_uri"] == f"{here}/faces"

    assert run_here(request, lambda event: None) == 0  # as its driver does
    (head.logs / "job-driver-faces.1.log").write_text("a line\n")
    code, told = gan_dist("list")
    assert code == 0 and f"{storage}/faces" in told and "succeeded" in told, told
    (row,) = cluster_status(there)
    assert (row["uri"], row["reachable"], row["seen"]) == (plan.run.uri, True, 64)
    assert "succeeded" in gan_dist("status", "faces")[1]
    assert gan_dist("logs", "faces")[1].splitlines()[-1] == "a line"
    assert "faces: succeeded, 64 samples seen" in gan_dist("results", "faces")[1]
    for words in (("sample", "faces", "--n", "4"), ("export", "faces")):
        code, told = gan_dist(*words, "--out", str(tmp_path / words[0]))
        assert code == 0 and (tmp_path / words[0]).exists(), told
    code, told = gan_dist("evaluate", "faces", "--metric", "frechet", "--features", "random", "--n", "64")
    assert code == 0 and "fd_random_64" in told, told
    events = tmp_path / "events"
    EventFileCopy(plan.run.folder, events).renew()
    assert files_of(events) == {name: text for name, text in contents(request.uri).items() if "events." in name}
    code, told = gan_dist("pull", "faces", str(tmp_path / "copy"))
    assert code == 0 and files_of(tmp_path / "copy") == contents(request.uri), told
    assert "0 files to copy" in gan_dist("pull", "faces", str(tmp_path / "copy"))[1]
    code, told = gan_dist("delete", "faces", "--yes")
    assert code == 0 and not (tmp_path / "disk" / "runs" / "faces").exists(), told


def contents(run: str) -> dict[str, bytes]:
    """The files of a run that are copied."""
    return {name: text for name, text in files_of(Path(run)).items() if not name.startswith("lease/")}


def test_a_run_goes_on_where_it_is(head: Dashboard, storage: str, tmp_path: Path) -> None:
    run = make_run(str(tmp_path / "disk" / "runs"), "faces")
    plan = plan_new(JOB, storage=str(tmp_path / "elsewhere"), name="faces")
    run.folder.write_json("request.json", plan.request.record())
    (tmp_path / "disk" / "runs" / "faces" / "checkpoints" / "64-a1" / "meta.json").unlink()
    remember_run(RunFolder(Folder(f"{storage}/faces")), address=f"http://{head.where}", attempt=1)
    again = plan_resume("faces")
    assert (again.run.uri, again.request.attempt) == (f"{storage}/faces", 2)
    with pytest.raises(StorageError, match=rf"on the head of http://{head.where}"):
        submit.submit_plan(again, Cluster("http://other:8265"))


def test_code_is_sent_once(head: Dashboard) -> None:
    jobs = JobsClient(Cluster(f"http://{head.where}"))
    uri = jobs.upload(b"an archive")
    assert head.packages == {uri.removeprefix("gcs://"): b"an archive"}
    head.packages[uri.removeprefix("gcs://")] = b"as it was sent before"
    assert jobs.upload(b"an archive") == uri
    assert head.packages == {uri.removeprefix("gcs://"): b"as it was sent before"}

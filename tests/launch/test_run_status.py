"""Where runs stand, and what it costs a storage to say so."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gan_dist.api import Run
from gan_dist.errors import ClusterError
from gan_dist.launch.cluster import jobs_api
from gan_dist.launch.follow import ended_outcome
from gan_dist.launch.run_status import every_status, run_status
from gan_dist.runs.index import remember_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder

RUNS = 20
NOWHERE = "http://127.0.0.1:9"


class Requests(logging.Handler):
    """The requests that an S3 server has answered, as it logs them."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.made.append(record.getMessage())


@pytest.fixture
def requests(bucket: str) -> Iterator[Requests]:
    log, counting = logging.getLogger("werkzeug"), Requests()
    log.addHandler(counting)
    yield counting
    log.removeHandler(counting)


def test_one_request_for_each_run_that_has_ended(bucket: str, requests: Requests) -> None:
    storage = Folder(f"{bucket}/many")
    for number in range(RUNS):
        run = RunFolder(storage.child(f"run-{number:02}"))
        run.folder.write_json("request.json", {"run_id": run.id, "job": {}, "created": 1.0})
        run.update(status="succeeded", seen=64, attempt=1)
    storage.write(".prepared/shards/manifest.json", b"{}")
    before = len(requests.made)
    rows = every_status(storage.uri)
    assert [row["id"] for row in rows] == [f"run-{number:02}" for number in range(RUNS)]
    asked = requests.made[before:]
    assert sum("/status.json" in one for one in asked) == RUNS + 1
    assert len(asked) <= RUNS + 6, asked  # to list the storage, and to see that .prepared is no run


@pytest.mark.parametrize(
    ("facts", "leased", "status"),
    [
        ({"address": NOWHERE}, False, "unknown"),
        ({"address": NOWHERE}, True, "lost"),
        ({"address": NOWHERE, "created": 1.0}, False, "lost"),
        ({"local": True}, False, "lost"),
    ],
    ids=["a busy cluster", "a dead driver", "long ago", "our local Ray has ended"],
)
def test_a_run_that_may_begin_is_not_lost(
    tmp_path: Path,
    cli: Callable[..., tuple[Any, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, Any],
    leased: bool,
    status: str,
) -> None:
    run = RunFolder(Folder.at(tmp_path / "young"))
    run.folder.write_json("request.json", {"run_id": run.id, "job": {}})
    if leased:
        run.folder.write_json(
            "lease/000001.json", {"attempt": 1, "host": socket.gethostname(), "pid": 2**22, "time": 0.0}
        )
    remember_run(run, **facts)
    monkeypatch.setattr(jobs_api, "GIVE_UP_S", 0.0)
    assert run_status(run)["status"] == status
    code, said, complaint = cli("stop", run.id)
    if status == "lost":
        assert code == 0 and "run young has ended already: lost" in said
    else:
        assert code == 5 and "no Ray cluster answers" in complaint
        assert ended_outcome(run) is None
        with pytest.raises(ClusterError):
            Run(run).stop()
    assert (cli("delete", run.id, "--yes")[0] == 0) == (status == "lost")


def test_keys_that_are_in_no_variable_are_for_pyarrow_to_find(
    bucket: str, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(f"{bucket}/one")
    folder.write_json("status.json", {"status": "succeeded"})
    folder.open()  # with the keys that are there
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    before = len(requests.made)
    assert folder.read_json("status.json") == {"status": "succeeded"} and folder.read_json("other.json") is None
    assert any('"HEAD ' in one for one in requests.made[before:]), "as pyarrow does"

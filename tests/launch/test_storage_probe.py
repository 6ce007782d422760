"""A storage that a cluster does not see is refused before anything is sent."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import StorageError
from gan_dist.launch.cluster.local import Cluster
from gan_dist.launch.storage_probe import check_storage_is_seen
from gan_dist.runs.storage import Folder


class Jobs:
    """A cluster whose head runs a job's command here, or on a machine that has no such folder."""

    def __init__(self, sees: bool) -> None:
        self.cluster, self.sees, self.deleted = Cluster("http://head:8265"), sees, list[str]()
        self._code = 1

    def submit(self, body: Mapping[str, Any]) -> str:
        if self.sees:
            self._code = subprocess.run(body["entrypoint"], shell=True).returncode
        return str(body["submission_id"])

    def info(self, job: str) -> dict[str, Any]:
        return {"status": "FAILED" if self._code else "SUCCEEDED"}

    def logs(self, job: str) -> str:
        return ""

    def delete(self, job: str) -> bool:
        self.deleted.append(job)
        return True


@pytest.mark.parametrize("name", ["runs", "a b/it's é"])
def test_a_folder_that_both_see_is_taken_and_left_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    jobs: Any = Jobs(sees=True)
    check_storage_is_seen(Folder.at(tmp_path / name), jobs)
    assert list((tmp_path / name).iterdir()) == [] and len(jobs.deleted) == 1


def test_a_folder_of_this_machine_alone_is_refused(tmp_path: Path) -> None:
    jobs: Any = Jobs(sees=False)
    with pytest.raises(
        StorageError,
        match=r"(?s)which the cluster at http://head:8265 does not.*head:///data/runs.*file:///shared/runs",
    ):
        check_storage_is_seen(Folder.at(tmp_path / "runs"), jobs)
    assert not (tmp_path / "runs").exists(), "what was made for it is removed"

"""A storage that refuses: a clear message, exit codes as promised, and the last good checkpoint still there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gan_dist.execution.local import run_local
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import Trained, assert_same_state, request_of, small, train

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse(
    monkeypatch: pytest.MonkeyPatch, what: str, free: int = 0, error: OSError = FULL, last: str | None = None
) -> None:
    """Takes no more files whose path holds `what`, after `free` of them or after the first that is called `last`: half
    of the next one is written."""
    write = Path.write_bytes
    taken: list[str] = []

    def refusing(path: Path, content: bytes) -> int:
        full = len(taken) >= free if last is None else any(name.startswith(last) for name in taken)
        if what in str(path):
            taken.append(path.name)
        if what in str(path) and full:
            write(path, content[: len(content) // 2])
            raise error
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", refusing)


def run(root: Path) -> tuple[int, dict[str, Any]]:
    events: list[dict[str, Any]] = []
    code = run_local(request_of(small(), root), events.append)
    return code, events[-1]


def left_of(root: Path) -> Trained:
    return Trained(RunFolder(Folder.at(root)))


def test_a_read_only_run_folder_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, str(tmp_path), error=OSError(errno.EROFS, os.strerror(errno.EROFS)))
    code, end = run(tmp_path / "run")
    assert code == end["exit_code"] == 2
    assert end["message"] == f"storage {str(tmp_path / 'run')!r} cannot be written: [Errno 30] Read-only file system"


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, end = run(tmp_path / "file" / "run")
    assert code == 2 and f"storage {str(tmp_path / 'file' / 'run')!r} cannot be written" in end["message"]


@pytest.mark.parametrize("files", [5, 6, 7])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """A checkpoint has four files: both networks, the training state, the meta."""
    refuse(monkeypatch, "/checkpoints/", files)
    code, end = run(tmp_path / "run")
    monkeypatch.undo()
    assert code == end["exit_code"] == 1
    assert end["message"].startswith(f"storage '{tmp_path / 'run' / 'checkpoints'}")
    assert end["message"].endswith("cannot be written: [Errno 28] No space left on device")
    assert left_of(tmp_path / "run").newest.seen == 16


def test_the_run_goes_on_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "/checkpoints/", 6)
    run(tmp_path / "run")
    monkeypatch.undo()
    straight, again = train(small(), tmp_path / "straight"), train(small(), tmp_path / "run", attempt=2)
    assert_same_state(straight.newest, again.newest)


def test_a_disk_that_takes_nothing_more_still_ends_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, str(tmp_path), last="meta.json")  # the first checkpoint is whole
    code, end = run(tmp_path / "run")
    monkeypatch.undo()
    assert code == end["exit_code"] == 1 and "No space left on device" in end["message"]
    assert left_of(tmp_path / "run").newest.seen == 16


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not on this system")
def test_a_grid_that_does_not_fit_ends_the_run_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "run" / "grids").mkdir(parents=True)
    (tmp_path / "run" / "grids" / "real.png").symlink_to("/dev/full")
    code, end = run(tmp_path / "run")
    assert code == end["exit_code"] == 1 and "No space left on device" in end["message"]
    assert left_of(tmp_path / "run").run.status()["status"] == "failed"


@pytest.mark.parametrize("error", [FULL, OSError(errno.EIO, os.strerror(errno.EIO))])
def test_an_error_names_the_folder_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    refuse(monkeypatch, "run", error=error)
    with pytest.raises(ValueError) as caught:
        left_of(tmp_path / "run").run.update(seen=1)
    assert str(caught.value) == f"storage {str(tmp_path / 'run')!r} cannot be written: {error}"


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_whose_folder_goes_away_says_so_and_leaves_nothing(tmp_path: Path, moved: bool) -> None:
    events: list[dict[str, Any]] = []

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] == "progress" and (tmp_path / "run").exists():
            if moved:
                (tmp_path / "run").rename(tmp_path / "elsewhere")
            else:
                shutil.rmtree(tmp_path / "run")

    assert run_local(request_of(small(until="400 steps"), tmp_path / "run"), emit) == 1
    told = f"storage '{tmp_path / 'run'}' cannot be written: it was deleted or moved while the run was training"
    assert events[-1]["message"] == told
    assert not (tmp_path / "run").exists()

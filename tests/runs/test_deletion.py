"""Deleting runs removes what gan-dist wrote, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gan_dist.errors import UsageError
from gan_dist.runs.deletion import check_deletable, delete_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder


def run_at(place: Path) -> RunFolder:
    for name in ("grids/1.png", "checkpoints/a/meta.json", "logs/attempt-1.log", "code/attempt-1.zip", "status.json"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    (place / "request.json").write_text(json.dumps({"run_id": "x", "job": {}}))
    return RunFolder(Folder.at(place))


def test_a_run_is_gone(tmp_path: Path) -> None:
    run = run_at(tmp_path / "x")
    check_deletable(run)
    assert delete_run(run) == [] and not (tmp_path / "x").exists()


def test_what_somebody_else_put_there_is_kept_and_named(tmp_path: Path) -> None:
    run = run_at(tmp_path / "x")
    (tmp_path / "x" / "thesis.tex").write_text("mine")
    (tmp_path / "x" / "figures").mkdir()
    assert delete_run(run) == ["figures", "thesis.tex"]
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["figures", "thesis.tex"]


def test_links_inside_are_not_followed(tmp_path: Path) -> None:
    run = run_at(tmp_path / "x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").touch()
    (tmp_path / "x" / "tensorboard").symlink_to(tmp_path / "elsewhere")
    delete_run(run)
    assert (tmp_path / "elsewhere" / "a").exists()


def test_a_link_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    run_at(tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(UsageError, match=r"link is a link to .*/x; delete that run, or remove the link itself"):
        check_deletable(RunFolder(Folder.at(tmp_path / "link")))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "request.json").write_text('{"method": "GET"}')
    with pytest.raises(UsageError, match="is no run of gan-dist"):
        check_deletable(RunFolder(Folder.at(tmp_path / "other")))

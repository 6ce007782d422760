"""Code of a person's own: it is kept with the run, and what others name runs nothing unless somebody vouches for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gan_dist
from gan_dist.errors import PreflightError, UsageError, UserCodeError
from gan_dist.registry.own_code import own_files
from gan_dist.runs.code import archive_code, digest_of, origin_of, path_as_written, stored_code_digest, unpack_code
from gan_dist.runs.storage import Folder

NET = """
import helper
import torch
from torch import nn
from pathlib import Path

(Path(__file__).parent / "RAN").touch() if {marks} else None

class Generator(nn.Module):
    def __init__(self, *, size, channels, z=4):
        super().__init__()
        self.z, self.shape = z, (channels, size, size)
        self.body = nn.Linear(z, channels * size * size)

    def draw(self, n, rng):
        return rng.normal(self.z)

    def forward(self, noise, cond=None):
        return torch.tanh(helper.scale() * self.body(noise)).unflatten(1, self.shape)
"""
JOB: dict[str, Any] = {
    "version": 1,
    "name": "own",
    "data": {"source": "digits", "size": 8},
    "generator": {"use": "own_net:Generator"},
    "discriminator": {"use": "mlp", "hidden": 8},
    "objective": "hinge",
    "optimizer": {"lr": 1e-3},
    "batch": 16,
    "until": 32,
    "every": {"report": 16, "grid": "1k", "checkpoint": 16},
    "resources": {"device": "cpu"},
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a network of one's own, in which the person works."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "own_net.py").write_text(NET.format(marks=False))
    (place / "helper.py").write_text("def scale():\n    return 1.0\n")
    (place / "unused.py").write_text("raise SystemExit('must not run')\n")
    monkeypatch.chdir(place)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    yield place
    forget()


def forget() -> None:
    """As a new process begins."""
    for name in ("own_net", "helper"):
        sys.modules.pop(name, None)


def test_only_what_a_job_imports_is_taken_along(code: Path) -> None:
    (code / "palette.txt").write_text("red")
    (code / "big.bin").write_bytes(b"0" * (2 << 20))
    files = own_files(code, ["own_net"])
    assert sorted(files) == ["helper.py", "own_net.py", "palette.txt"]
    content = archive_code(files)
    place = unpack_code(content, code)
    assert digest_of(content) == place.name and origin_of(place) == code
    assert (place / "helper.py").read_text() == (code / "helper.py").read_text()
    assert archive_code(own_files(place, ["own_net"])) == content


def test_of_a_package_what_is_reached_is_taken(tmp_path: Path) -> None:
    written = {
        "mine/__init__.py": "",
        "mine/nets/__init__.py": "from mine.other import thing",
        "mine/nets/a.py": "from . import b\nfrom ..losses import c\nimport torch, gan_dist",
        "mine/nets/b.py": "",
        "mine/losses.py": "def broken(:",
        "mine/other.py": "",
        "mine/unused.py": "",
        "gan_dist/__init__.py": "",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(own_files(tmp_path, ["mine.nets.a"])) == written.keys() - {"mine/unused.py", "gan_dist/__init__.py"}


def test_a_run_goes_on_with_the_code_that_was_kept(code: Path) -> None:
    run = gan_dist.train(JOB, storage=str(code / "runs"))
    straight = gan_dist.train(JOB | {"until": 64}, storage=str(code / "runs"))
    kept = stored_code_digest(Folder(run.path))
    (code / "helper.py").write_text("def scale():\n    return 0.0\n")
    forget()
    with pytest.warns(UserWarning, match=r"has changed since run own-.* --new-code takes the code as it is now"):
        again = gan_dist.train(resume=run, until=64)
    assert stored_code_digest(Folder(run.path)) == kept
    ours, theirs = again.load(weights="raw"), straight.load(weights="raw")
    for one, other in zip(ours.generator.parameters(), theirs.generator.parameters(), strict=True):
        assert torch.equal(one, other)
    forget()
    changed = gan_dist.train(resume=run, until=96, new_code=True)
    assert stored_code_digest(Folder(changed.path)) != kept


def test_a_run_goes_on_where_the_folder_of_its_code_is_gone(code: Path) -> None:
    run = gan_dist.train(JOB, storage=str(code.parent / "runs"))
    for name in ("own_net.py", "helper.py"):
        (code / name).unlink()
    shutil.rmtree(code.parent / "home" / "code")
    forget()
    assert gan_dist.train(resume=run, until=64).seen == 64
    assert gan_dist.load(run).sample(2).shape == (2, 1, 8, 8)


def test_an_error_names_the_file_that_the_person_wrote(code: Path) -> None:
    fails = {PreflightError: "assert False", UserCodeError: "assert noise.device.type == 'meta'"}
    for kind, line in fails.items():
        (code / "own_net.py").write_text(NET.format(marks=False).replace("return torch", f"{line}; return torch"))
        forget()
        with pytest.raises(kind) as told:
            gan_dist.train(JOB, storage=str(code.parent / "runs"))
        if kind is UserCodeError:
            (run,) = gan_dist.list_runs(storage=str(code.parent / "runs"))
            assert f"submit --resume {run.id} --new-code" in "".join(run.folder.status()["summary"])
        assert f"{code / 'own_net.py'}:" in str(told.value) and str(code.parent / "home") not in str(told.value)
    copy = next((code.parent / "home" / "code").iterdir())
    shutil.rmtree(code)  # as on a machine of a cluster
    assert path_as_written(str(copy / "nets" / "a.py")) == "nets/a.py"
    assert path_as_written("elsewhere/a.py") == "elsewhere/a.py"


def test_what_others_made_runs_nothing(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gan_dist.train(JOB, storage=str(code.parent / "runs"))
    gan_dist.export(run, tmp_path / "given")
    (code / "own_net.py").write_text(NET.format(marks=True))
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "other-home"))
    forget()
    words = r"generator\.use: own_net:Generator.*--trust-code"
    for attempt in (
        lambda: gan_dist.load(run),
        lambda: gan_dist.load(str(tmp_path / "given")),
        lambda: gan_dist.evaluate(run, metrics=["frechet"]),
        lambda: gan_dist.compare([run, run]),
        lambda: gan_dist.export(run, tmp_path / "again"),
        lambda: gan_dist.train(resume=run, until=64),
    ):
        with pytest.raises(UsageError, match=words):
            attempt()
    assert "own_net" not in sys.modules and not (code / "RAN").exists() and not (tmp_path / "again").exists()
    assert gan_dist.load(run, trust_code=True).sample(2).shape == (2, 1, 8, 8)


def test_a_run_whose_stored_code_was_replaced_is_nobodys_own(code: Path) -> None:
    run = gan_dist.train(JOB, storage=str(code.parent / "runs"))
    (archive,) = (Path(run.path) / "code").iterdir()
    (code / "own_net.py").write_text(NET.format(marks=True))
    archive.write_bytes(archive_code(own_files(code, ["own_net"])))
    forget()
    with pytest.raises(UsageError, match="--trust-code"):
        gan_dist.load(run)
    assert "own_net" not in sys.modules

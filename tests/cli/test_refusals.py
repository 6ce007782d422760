"""Exit code 2 means, of every command, that nothing was made, changed or begun."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import small

REFUSED = 2
JOB = "job.json"
CASES = [
    ("submit", JOB, "--local", "-o", "batch=0"),
    ("submit", JOB, "--local", "-o", "batch=9999"),
    ("submit", JOB, "--local", "-o", "data.source=nowhere"),
    ("submit", JOB, "--local", "-o", "generator={use: dcgan, width: -1}"),
    ("submit", JOB, "--local", "-o", "penalties=[{use: r1}]", "-o", "discriminator={use: dcgan}"),
    ("submit", JOB, "--local", "-o", "metrics=[{use: prdc, samples: 2}]"),
    ("submit", JOB, "--local", "--smoke", "-o", "objective=hing"),
    ("submit", JOB, "--local", "--from", "trained", "-o", "generator={use: dcgan}", "-o", "discriminator={use: dcgan}"),
    ("submit", JOB, "--local", "--from", "trained", "--only", "encoder"),
    ("submit", "--resume", "trained", "--local"),
    ("submit", "--resume", "trained", "--local", "-o", "batch=16"),
    ("submit", "no-such-job.yaml", "--local"),
    ("submit", JOB, "--local", "--address", "http://127.0.0.1:1"),
    ("list", "--address", "http://127.0.0.1:1", "--storage", "runs"),
    ("compare", "trained", "trained", "--report", JOB),
    ("validate", JOB, "no-such-job.yaml"),
    ("sample", "trained", "--class", "3", "--out", "out"),
    ("sample", "trained", "--n", "0", "--out", "out"),
    ("sample", "trained", "--weights", "best", "--out", "out.zip"),
    ("sample", "trained", "--prompt", "once", "--out", "out.txt"),
    ("evaluate", "trained", "--metric", "fid5"),
    ("evaluate", "trained", "--metric", "bleu"),
    ("evaluate", "trained", "--metric", "prdc", "--n", "2"),
    ("export", "trained", JOB),
    ("export", "trained", "out", "--format", "pt"),
    ("compare", "trained"),
    ("prepare", "nowhere", "out"),
    ("prepare", "digits", "out", "--size", "0"),
    ("init", "nowhere"),
    ("check", "generator", "no.such:Thing"),
    ("jobs", "copy", "no-such-job"),
    ("jobs", "show", "no-such-job"),
    ("download", "no-such-set"),
    ("list", "--status", "done"),
    ("results", "trained", "--best-job", "best.yaml"),
]


def state(root: Path) -> dict[str, str]:
    """Every file below a folder, and its content."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job, and a run of it that has ended."""
    root = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        patch.chdir(root)
        spec = small(name="trained", until="2 steps")
        (root / JOB).write_text(spec.model_dump_json(by_alias=True))
        from gan_dist.cli import main

        patch.setattr("sys.argv", ["gan-dist", "submit", JOB, "--local", "--name", "trained"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    return root


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_what_is_refused_leaves_nothing(
    site: Path, words: tuple[str, ...], cli: Callable[..., tuple[Any, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(site / "home"))
    monkeypatch.chdir(site)
    before = state(site)
    code, out, err = cli(*words)
    assert code == REFUSED, (code, out, err)
    assert "Traceback" not in err and (err.strip() or out.strip()), "a refusal says why"
    assert state(site) == before


def test_a_gpu_that_is_not_there_is_refused_and_leaves_nothing(
    site: Path, cli: Callable[..., tuple[Any, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(site / "home"))
    monkeypatch.chdir(site)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = state(site)
    code, out, err = cli("submit", JOB, "--local", "-o", "resources.device=cuda")
    assert code == REFUSED and "no usable CUDA device" in err and "go on" not in out + err
    assert state(site) == before

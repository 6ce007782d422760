"""A local Ray of the test's own, used through the command line as a person would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from gan_dist.launch.cluster.address import Cluster
from gan_dist.launch.cluster.local import start_local
from tests.helpers import ROOT

PATIENCE_S = 600
LONGEST = ("test_sweep.py", "test_readme.py", "test_machines.py")  # two to four minutes each; others less than two
OWN = Path(__file__).with_name("own")  # code of a person's own, which some jobs of these tests name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that rows of tests end at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@dataclass(frozen=True)
class Site:
    """A working folder with its own home, storage and cluster."""

    root: Path

    def __post_init__(self) -> None:
        shutil.copytree(OWN, self.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def environ(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_"))}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"GAN_DIST_HOME": str(self.root / "home"), "PYTHONPATH": path}
        return {**clean, **own, "RAY_worker_niceness": "0"}  # else whatever runs beside the tests comes before them

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", "from gan_dist.cli import main; main()", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=self.root, env=self.environ, text=True, capture_output=True, timeout=PATIENCE_S
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.root,
            env=self.environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def folder(self, run: str) -> Path:
        return self.root / "runs" / run

    def status(self, run: str) -> dict[str, Any]:
        path = self.folder(run) / "status.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def checkpoints(self, run: str) -> list[dict[str, Any]]:
        metas = sorted((self.folder(run) / "checkpoints").glob("*/meta.json"))
        return [json.loads(path.read_text()) for path in metas]

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes of this site's Ray whose command line holds `word`; none while it does not run."""
        try:
            children = self.keeper().children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if word in " ".join(_command_line(child))]

    def keeper(self) -> psutil.Process:
        """The process that owns this site's Ray."""
        (lock,) = (self.root / "home" / "local").glob("*/keeper.lock")
        return psutil.Process(json.loads(lock.read_text())["pid"])


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("site"))
    started = found.run("up")
    assert started.returncode == 0, started.stderr
    yield found
    found.run("down")


@pytest.fixture
def cluster(site: Site, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The site's cluster, as this process sees it."""
    monkeypatch.setenv("GAN_DIST_HOME", str(site.root / "home"))
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return start_local()

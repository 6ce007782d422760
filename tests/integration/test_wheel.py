"""The wheel holds all that is needed: installed anywhere, it runs without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel unpacks to."""
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("gan_dist-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def outside(installed: Path, here: Path, *words: str) -> str:
    """What a command of the installed package prints, run in a folder that is no checkout."""
    code = "import sys; from gan_dist.cli import main; assert 'site' in sys.modules['gan_dist'].__file__; main()"
    environment = {**os.environ, "PYTHONPATH": str(installed), "GAN_DIST_HOME": str(here / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=here, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_runs_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "dcgan" in outside(installed, tmp_path, "jobs", "list")
    outside(installed, tmp_path, "jobs", "copy", "mlp", "my-job.yaml")
    outside(installed, tmp_path, "submit", "my-job.yaml", "--local", "-o", "until=640")
    assert "samples" in outside(installed, tmp_path, "sample", "last")
    assert outside(installed, tmp_path, "help", "start").startswith("# Start: the first hour")


def test_it_has_a_command_and_its_licence(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    assert "gan-dist = gan_dist.cli:main" in (info / "entry_points.txt").read_text()
    assert "Apache" in (info / "licenses" / "LICENSE").read_text()
    assert (installed / "gan_dist" / "py.typed").exists()

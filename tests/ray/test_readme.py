"""The manual's first hour, run as it stands, but with a hundredth of the samples and, where it can be, no network."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_dist.data.sources.builtin import load_digits
from gan_dist.launch.cluster.address import stop_local
from gan_dist.runs.index import known_runs
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from tests.helpers import ROOT

pytestmark = pytest.mark.ray

PATIENCE_S = 900


def first_hour() -> list[str]:
    """The commands of the page that are shown with a prompt, in order."""
    page = (ROOT / "gan_dist" / "docs" / "start.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines and all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


def shortened(text: str) -> str:
    """A job or a command with a hundredth of the samples, said in thousands on every line, and measured once."""
    text = re.sub(r"\b(until[:=] ?)(\d+)k\b", lambda found: f"{found[1]}{int(found[2]) * 10}", text)
    return re.sub(
        r"\b(report|grid|checkpoint|metrics)(: )(\d+)k\b", lambda of: f"{of[1]}{of[2]}{int(of[3]) * 50}", text
    )


def without_network() -> list[str]:
    """What a command is run by, so that there is no network but the loopback device; nothing where that needs rights
    that are missing."""
    if shutil.which("ip") is None or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        return []
    return ["unshare", "-n"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the checkout's `jobs/`, the first of which is short, and photos, and a home of its own."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    # `gan-dist` of the environment that runs the tests.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copytree(ROOT / "jobs", folder / "jobs")
    first = folder / "jobs" / "dcgan.yaml"
    first.write_text(shortened(first.read_text()))
    make_photos(folder / "photos")
    yield folder
    stop_local()


def make_photos(folder: Path, count: int = 96) -> None:
    """Small coloured pictures: real digits, each in a colour of its own."""
    folder.mkdir()
    colours = np.random.default_rng(0).uniform(0.3, 1.0, (count, 3))
    for number, (grey, colour) in enumerate(zip(load_digits()[0], colours, strict=False)):
        picture = Image.fromarray((grey[:, :, None] * colour * (255 / 16)).astype(np.uint8))
        picture.resize((24, 24)).save(folder / f"{number:03d}.png")


def test_first_hour_as_it_stands(checkout: Path) -> None:
    commands = [shortened(command) for command in first_hour()]
    script = ["ip link set lo up" if (alone := without_network()) else "true"]
    for command in commands:
        script += [f"printf '%s\\n' {shlex.quote('$ ' + command)}", f"{command} || exit 1"]
    done = subprocess.run(
        [*alone, "bash", "-c", "\n".join(script)],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    print(done.stdout)
    assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout

    assert "full run  " in done.stdout, "what the rehearsal says of it"

    runs = [RunFolder(Folder(row["uri"])) for row in known_runs()]
    assert [run.status()["status"] for run in runs] == ["succeeded", "succeeded", "stopped"]
    assert runs[0].status()["seen"] >= 2_100 and runs[1].request()["mode"] == "smoke"
    assert all(run.uri.startswith(str(checkout / "runs")) for run in runs)
    assert len(list((checkout / "samples").glob("*.png"))) == 100
    assert commands[-1] == "gan-dist down"

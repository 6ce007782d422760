"""`gan-dist run` on a Ray of its own: ended by a scheduler's signal it saves, and called again it goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.ray.conftest import PATIENCE_S, Site, wait_for

pytestmark = pytest.mark.ray
JOB = str(Path(__file__).with_name("job.yaml"))


def test_a_scheduler_ends_it_and_starts_it_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    words = ("run", JOB, "--name", "placed", "--storage", "runs", "-o", "resources.workers=1")
    running = site.start(*words, "-o", "until=1000000 steps")
    wait_for(lambda: len(site.checkpoints("placed")) >= 1 or running.poll() is not None, "a checkpoint")
    running.send_signal(signal.SIGTERM)
    printed, _ = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 3, printed
    saved = site.checkpoints("placed")[-1]["clock"]["seen"]
    again = site.run(*words, "-o", f"until={saved + 640}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert site.checkpoints("placed")[-1]["clock"]["seen"] == saved + 640
    last = site.run(*words, "-o", f"until={saved + 640}")
    assert last.returncode == 0 and "run placed is finished" in last.stdout

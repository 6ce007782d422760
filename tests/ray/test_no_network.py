"""The first job needs no network: it runs where there is none but the loopback device."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.ray.conftest import PATIENCE_S, Site

pytestmark = pytest.mark.ray


def test_a_run_without_a_network(tmp_path: Path) -> None:
    if shutil.which("ip") is None or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("needs iproute2 and the right to make a network namespace (unshare -n)")
    site = Site(tmp_path)
    submit = site.command("submit", str(ROOT / "jobs" / "dcgan.yaml"), "-o", "until=20 steps", "--name", "alone")
    script = f"ip link set lo up; {shlex.join(submit)}; code=$?; {shlex.join(site.command('down'))}; exit $code"
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", script],
        cwd=site.root,
        env=site.environ,
        text=True,
        capture_output=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.status("alone")["status"] == "succeeded"

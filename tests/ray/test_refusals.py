"""What cannot work on a cluster is said before anything starts; what goes wrong in a person's code is shown."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import psutil
import pytest

from tests.ray.conftest import Site, wait_for

pytestmark = pytest.mark.ray
JOB = str(Path(__file__).with_name("job.yaml"))

BROKEN = """
from gan_dist.objectives.adversarial import Hinge


class Broken(Hinge):
    def terms(self, phase, nets, batch):
        return {}["no such term"]
"""


def test_what_is_refused_is_told_at_once_and_leaves_nothing(site: Site) -> None:
    words = ("submit", JOB, "-o", "resources.workers=16", "--name", "too-many")
    unseen = site.run(*words, "--detach")
    assert unseen.returncode == 0, unseen.stderr
    index = site.root / "home" / "runs" / "too-many.json"
    wait_for(lambda: "refused" in json.loads(index.read_text()), "a refusal")
    why = site.run("status", "too-many")
    assert why.returncode == 4 and "was refused before anything of it was made: resources.workers" in why.stderr
    assert not site.folder("too-many").exists() and "too-many" not in site.run("list").stdout
    asked = site.run(*words)
    assert asked.returncode == 2, "a name that was refused is free"
    assert "16 workers (1 CPU each) need 16 CPUs; the cluster has" in asked.stdout + asked.stderr
    assert not index.exists() and not site.folder("too-many").exists()


def test_all_of_preflight_at_once(site: Site) -> None:
    asked = site.run("submit", JOB, "-o", "batch=4096", "-o", "metrics=[{use: prdc, samples: 2}]")
    told = asked.stdout + asked.stderr
    assert asked.returncode == 2
    assert "batch: 4096 is larger than the data (1797 samples in 'digits')" in told
    assert "needs at least" in told and "generated samples, and there are 2" in told


def test_an_exception_of_a_persons_code_is_shown_and_not_retried(site: Site) -> None:
    (site.root / "mine").mkdir()
    (site.root / "mine" / "broken_gan.py").write_text(BROKEN)
    asked = site.run("submit", JOB, "--code", "mine", "-o", "objective.use=broken_gan:Broken", "--name", "broken")
    told = asked.stdout + asked.stderr
    assert asked.returncode == 1
    assert "broken_gan.py" in told and "KeyError: 'no such term'" in told
    assert "/ray/" not in told.split("Traceback")[-1]


def test_nothing_listens_beyond_loopback(site: Site) -> None:
    listening = set()
    for process in site.processes(""):
        with contextlib.suppress(psutil.NoSuchProcess):  # those of the run before may still be ending
            connections = process.net_connections("inet")
            listening |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert listening and all(ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1") for ip in listening), listening

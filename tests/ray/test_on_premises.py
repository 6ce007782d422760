"""`cluster.yaml` as it is used: `ray up` by SSH on a machine that has no Ray, a tunnel, and a run through it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helpers import ROOT
from tests.ray import machines
from tests.ray.conftest import PATIENCE_S, wait_for
from tests.ray.machines import DASHBOARD_PORT, RAY, Machine, Machines

LACKING = [tool for tool in ("ssh", "sshd", "ssh-keygen", "rsync") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(machines.why_not() is not None, reason=f"a machine of its own: {machines.why_not()}"),
    pytest.mark.skipif(bool(LACKING), reason=f"needs {', '.join(LACKING)}"),
]
SSHD = """
ListenAddress {address}
HostKey /mnt/host
AuthorizedKeysFile /mnt/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
SetEnv RAY_worker_niceness=0 OMP_NUM_THREADS=1
"""
# What Ray itself needs in an environment that has the packages of this one.
PROGRAM = "#!{python}\nimport sys\nfrom ray.scripts.scripts import main\nsys.exit(main())\n"


@dataclass(frozen=True)
class Person:
    """Whoever sits at this machine, with a home of their own."""

    home: Path
    storage: dict[str, str]

    @property
    def environ(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_", "AWS_"))}
        own = {"HOME": str(self.home), "RAY_TMPDIR": str(self.home), "GAN_DIST_HOME": str(self.home / "gan-dist")}
        return {**clean, **self.storage, **own, "PYTHONPATH": str(ROOT)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, cwd=self.home, env=self.environ, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str) -> tuple[int, str]:
        """An exit code, and what was said."""
        running = self.start(*words)
        told, _ = running.communicate(timeout=PATIENCE_S)
        return running.returncode, told

    def submit(self, *words: str) -> tuple[int, str]:
        return self.run(sys.executable, "-c", "from gan_dist.cli import main; main()", "submit", *words)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Machines, Machine]]:
    """A machine that runs an SSH server and nothing else; `keys/user` opens it."""
    network, keys = Machines(tmp_path), tmp_path / "keys"
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    (keys / "passwd").write_text("root:x:0:0:root:/tmp/home:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n")
    (keys / "run").mkdir()
    Path("/run/sshd").mkdir(exist_ok=True)
    try:
        address = f"{network.subnet}.{machines.FIRST_HOST}"
        (keys / "sshd_config").write_text(SSHD.format(address=address))
        sshd = shutil.which("sshd")
        assert sshd is not None
        kept = {"/etc/passwd": keys / "passwd", "/run/sshd": keys / "run", "/mnt": keys}
        found = network.add_bare([sshd, "-D", "-e", "-f", "/mnt/sshd_config"], kept)
        wait_for(lambda: answers(address, 22), f"an SSH server: {found.log.read_text()}")
        yield network, found
    finally:
        network.close()


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def cluster_of(machine: Machine, folder: Path) -> Path:
    """`cluster.yaml` with the lines changed that are marked so, and the packages of this environment in place of those
    that it would install."""
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "cluster.yaml").read_text())
    loaded["provider"]["head_ip"] = machine.address
    loaded["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "keys" / "user")}
    environment = machine.root / "tmp" / "environment"
    environment.mkdir()
    (environment / "packages.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path) + "\n")
    (environment / "ray").write_text(PROGRAM.format(python="/tmp/home/gan-dist-env/bin/python3"))
    (environment / "ray").chmod(0o755)
    packages = f"~/gan-dist-env/{Path(sysconfig.get_path('purelib')).relative_to(sys.prefix)}"
    assert loaded["setup_commands"][0] == "python3 -m venv ~/gan-dist-env"
    loaded["setup_commands"] = [
        f"{sys.executable} -m venv --without-pip ~/gan-dist-env",
        f"cp /tmp/environment/packages.pth {packages}/ && cp /tmp/environment/ray ~/gan-dist-env/bin/",
    ]
    # Nothing is to be stopped on a machine that has just begun, and where namespaces fail it would be Rays of others.
    starts = loaded["head_start_ray_commands"]
    loaded["head_start_ray_commands"] = [command for command in starts if not command.endswith("ray stop")]
    assert len(starts) == 2 and len(loaded["head_start_ray_commands"]) == 1
    written = folder / "cluster.yaml"
    written.write_text(json.dumps(loaded))
    return written


def test_a_cluster_of_ones_own_machine(machine: tuple[Machines, Machine], tmp_path: Path) -> None:
    network, head = machine
    home = tmp_path / "person"
    home.mkdir()
    (home / "job.yaml").write_text(machines.job_text())
    file = str(cluster_of(head, tmp_path))
    with machines.bucket(network.host) as store:
        person = Person(home, store.environ)
        code, told = person.run(*RAY, "up", "-y", "--no-config-cache", file)
        assert code == 0, told
        assert not answers(head.address, DASHBOARD_PORT), "the dashboard listens on the loopback device alone"
        port = free_port()
        tunnel = person.start(*RAY, "dashboard", "--port", str(port), "--no-config-cache", file)
        try:
            wait_for(lambda: answers("127.0.0.1", port), "a tunnel")
            there = ("--address", f"http://127.0.0.1:{port}")
            code, told = person.submit(
                "job.yaml", "--name", "ours", *there, "--storage", "s3://runs", "-o", "until=40 steps"
            )
            assert code == 0, told
            assert {write.address for write in store.writes if "checkpoints" in write.name} == {head.address}
            code, told = person.submit("job.yaml", "--name", "here", *there)
            assert code == 2 and "does not see" in told, told
        finally:
            os.killpg(tunnel.pid, signal.SIGTERM)
            tunnel.wait()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])

"""Several machines out of one: a real Ray whose nodes have networks, host names, processes and /tmp of their own.

Each machine is a network namespace on a bridge, and a process that leads namespaces of mounts, processes and host
names: to kill it is to cut the machine's power. An S3 server stands beside them. Needs Linux and root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from gan_dist.launch.load_job import load_job
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.lease import holder_of
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder, remote_filesystem
from tests.helpers import ROOT
from tests.integration.gang import Training, train_together
from tests.ray.conftest import OWN, wait_for

BRIDGE_HOST = 1  # the last number of this process's own address
FIRST_HOST = 10
GCS_PORT, DASHBOARD_PORT = 6379, 8265
UP_S = 300.0
TRIES = 4
NO_FILES: Mapping[str, Path] = {}
RAY = (sys.executable, "-m", "ray.scripts.scripts")
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def why_not() -> str | None:
    """Why machines cannot be made here; None where they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if missing := [tool for tool in ("ip", "unshare", "mount") if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}"
    name = f"try{os.getpid() % 10_000}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "may not make network namespaces"
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return None


def call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@dataclass
class Machine:
    """One machine, up to the end of its leading process."""

    name: str
    address: str
    root: Path
    node_id: str = ""
    leader: subprocess.Popen[bytes] = field(init=False)

    @property
    def log(self) -> Path:
        """What its leading process has printed."""
        return self.root / "machine.log"

    def kill(self) -> None:
        """Cut its power: every process of it is gone at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.leader.pid, signal.SIGKILL)
        self.leader.wait()

    def processes(self) -> str:
        """Titles of its processes, a line each."""
        found = []
        for child in psutil.Process(self.leader.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(child.cmdline()))
        return "\n".join(found)

    def cut_network(self) -> None:
        call("ip", "link", "set", f"v{self.name}", "down")

    def mend_network(self) -> None:
        call("ip", "link", "set", f"v{self.name}", "up")


@dataclass
class Machines:
    """A network of machines, the first of which is the head of a Ray.

    Args:
        root: where their own files are.
        cpus: of the head, and of each other machine.
    """

    root: Path
    cpus: tuple[int, int] = (1, 1)
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:4])
    made: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.subnet = f"10.{64 + int(self.tag[:2], 16) % 64}.{int(self.tag[2:], 16) % 250}"
        call("ip", "link", "add", self.bridge, "type", "bridge")
        call("ip", "address", "add", f"{self.subnet}.{BRIDGE_HOST}/24", "dev", self.bridge)
        call("ip", "link", "set", self.bridge, "up")

    @property
    def bridge(self) -> str:
        return f"br{self.tag}"

    @property
    def host(self) -> str:
        """This process's own address on the bridge."""
        return f"{self.subnet}.{BRIDGE_HOST}"

    @property
    def head(self) -> Machine:
        return self.made[0]

    @property
    def url(self) -> str:
        """The address that jobs are submitted to."""
        return f"http://{self.head.address}:{DASHBOARD_PORT}"

    def add(self) -> Machine:
        """Start another machine; the first one is the head. Returns when Ray knows it."""
        known = {row["node_id"] for row in self.nodes()} if self.made else set()
        machine = self._connect()
        for _ in range(TRIES):
            machine.leader = self._boot(machine, self._ray(machine))
            if (found := self._wait_for(machine, known)) is not None:
                machine.node_id = found
                return machine
            # Ray gives a raylet 30 s to begin, which are too few on processors that have much to do.
        raise TimeoutError(f"{machine.address} did not come up: {machine.log.read_text()[-2000:]}")

    def add_bare(self, command: Sequence[str], files: Mapping[str, Path]) -> Machine:
        """Start a machine that runs one command and no Ray.

        Args:
            files: what it has in place of files and folders of this system.
        """
        machine = self._connect()
        machine.leader = self._boot(machine, command, files)
        return machine

    def _connect(self) -> Machine:
        """A machine that has a network, and runs nothing."""
        number = len(self.made)
        name, address = f"m{number}{self.tag}", f"{self.subnet}.{FIRST_HOST + number}"
        machine = Machine(name, address, self.root / name)
        self.made.append(machine)
        (machine.root / "tmp" / "home").mkdir(parents=True)
        call("ip", "netns", "add", name)
        call("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        call("ip", "link", "set", f"v{name}", "master", self.bridge, "up")
        call("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            call("ip", "-n", name, "link", "set", device, "up")
        call("ip", "-n", name, "route", "add", "default", "via", self.host)
        return machine

    def _ray(self, machine: Machine) -> list[str]:
        """The command that starts Ray on a machine."""
        head = machine is self.head
        start = ["--head", f"--port={GCS_PORT}", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD_PORT}"]
        start = start if head else [f"--address={self.head.address}:{GCS_PORT}"]
        ray = [*RAY, "start", *start, f"--node-ip-address={machine.address}", "--block"]
        return [*ray, f"--num-cpus={self.cpus[not head]}", "--object-store-memory=100000000", "--disable-usage-stats"]

    def _boot(
        self, machine: Machine, command: Sequence[str], files: Mapping[str, Path] = NO_FILES
    ) -> subprocess.Popen[bytes]:
        """A process that is the machine, in namespaces of its own, with a /tmp of its own. Its host name is in no name
        server, and stands for 127.0.1.1, as Debian has it."""
        root = machine.root
        (root / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n")
        # What this very Python is made of stays where it is, even if that is below the /tmp that is about to be hidden.
        needed = sorted({Path(sys.prefix), Path(sys.base_prefix), ROOT}, key=str)
        kept = [(path, root / path.relative_to("/")) for path in needed if path.is_relative_to("/tmp")]
        for _, there in kept:
            there.mkdir(parents=True, exist_ok=True)
        mounts = [*kept, *((path, Path(at)) for at, path in {"/etc/hosts": root / "hosts", **files}.items())]
        steps = [f"hostname {machine.name}"]
        steps += [shlex.join(["mount", "--bind", str(path), str(at)]) for path, at in mounts]
        # With the mounts below it.
        steps += [f"mount --rbind {shlex.quote(str(root / 'tmp'))} /tmp", "mount -t tmpfs none /dev/shm", "cd /tmp"]
        script = " && ".join([*steps, f"exec {shlex.join(command)}"])
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_", "AWS_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # jobs call `python`
        environ = {**clean, "PATH": path, "RAY_AUTH_MODE": "disabled", "HOME": "/tmp/home", "OMP_NUM_THREADS": "1"}
        # Ray's own patience with a machine that does not answer is half a minute and more.
        environ |= {"RAY_health_check_failure_threshold": "3", "RAY_health_check_period_ms": "2000"}
        environ |= {"RAY_worker_niceness": "0"}  # else whatever runs beside these machines comes before them
        apart = ["ip", "netns", "exec", machine.name, "unshare", "--mount", "--pid", "--fork", "--uts", "--kill-child"]
        with machine.log.open("wb") as log:
            return subprocess.Popen(
                [*apart, "--mount-proc", "bash", "-c", script],
                env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _wait_for(self, machine: Machine, known: set[str]) -> str | None:
        """The machine's id as a node, once Ray knows it; None where its start has failed."""
        end = time.monotonic() + UP_S
        while time.monotonic() < end and machine.leader.poll() is None:
            with contextlib.suppress(OSError, KeyError, ValueError):
                for row in self.nodes():
                    if row["node_ip"] == machine.address and row["state"] == "ALIVE" and row["node_id"] not in known:
                        return str(row["node_id"])
            time.sleep(0.5)
        machine.kill()
        return None

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that Ray has known."""
        with urllib.request.urlopen(f"{self.url}/api/v0/nodes?limit=100", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"]["result"])

    def warn(self, machine: Machine, seconds: int) -> None:
        """Announce that a machine will be taken away, as a spot market does."""
        self.ray(
            "drain-node", "--address", f"{self.head.address}:{GCS_PORT}", "--node-id", machine.node_id,
            "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot",
            "--deadline-remaining-seconds", str(seconds),
        )  # fmt: skip

    def ray(self, *words: str) -> None:
        environ = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        subprocess.run([*RAY, *words], env=environ, check=True, capture_output=True)

    def close(self) -> None:
        """End all machines, and take their networks down."""
        for machine in self.made:
            machine.kill()
            subprocess.run(["ip", "netns", "delete", machine.name], capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)


@contextlib.contextmanager
def machines(root: Path, count: int, cpus: tuple[int, int] = (1, 1)) -> Iterator[Machines]:
    """A head and `count` - 1 other machines."""
    network = Machines(root, cpus)
    try:
        for _ in range(count):
            network.add()
        yield network
    finally:
        network.close()


class Write(NamedTuple):
    """A request that changes the bucket: the address it came from, and the name of the object."""

    address: str
    name: str


@dataclass
class Bucket:
    """The bucket `runs` of an S3 server, the environment that reaches it, and what was written there, in order."""

    environ: dict[str, str]
    writes: list[Write]


def noting_writes(serve: Callable[..., Iterable[bytes]], writes: list[Write]) -> Callable[..., Iterable[bytes]]:
    """A web server's application that notes which machine changes what, once that is answered."""

    def answer(asked: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        answered = serve(asked, start)
        if asked["REQUEST_METHOD"] not in ("GET", "HEAD"):
            writes.append(Write(asked["REMOTE_ADDR"], asked["PATH_INFO"].removeprefix("/runs/")))
        return answered

    return answer


@contextlib.contextmanager
def bucket(host: str) -> Iterator[Bucket]:
    """An S3 server with the bucket `runs` at an address."""
    import pyarrow.fs as fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=host, port=0, verbose=False)
    server.start()
    try:
        writes: list[Write] = []
        running: Any = server._server
        running.app = noting_writes(running.app, writes)
        _, port = server.get_host_and_port()
        at = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": KEYS["AWS_DEFAULT_REGION"]}
        keys = {"access_key": KEYS["AWS_ACCESS_KEY_ID"], "secret_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
        fs.S3FileSystem(allow_bucket_creation=True, **at, **keys).create_dir("runs")
        reached = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
        yield Bucket({**KEYS, **reached}, writes)
    finally:
        # What the server holds belongs to this process, and would be in the next one's bucket.
        _, port = server.get_host_and_port()
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"))
        server.stop()


JOB = """
name: nodes
data: {source: digits, size: 16}
generator: {use: dcgan, width: 8}
discriminator: {use: dcgan, width: 8}
objective: {use: "patient:Patient"}
optimizer: {lr: 2e-4}
batch: 32
until: 160 steps
every: {report: 20 steps, grid: 10000 steps, checkpoint: 20 steps}
keep: {last: 50}
resources: {workers: 2}
environment: {code: OWN, env: [AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION]}
"""


def job_text() -> str:
    """A job of two workers whose code is sent along."""
    return JOB.replace("OWN", json.dumps(str(OWN)))


class Fleet:
    """Machines with a bucket beside them, and a person who submits from this one."""

    def __init__(self, network: Machines, root: Path, bucket: Bucket) -> None:
        self.network, self.root, self.bucket = network, root, bucket
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_"))}
        self.environ = {**clean, **bucket.environ, "GAN_DIST_HOME": str(root / "home"), "PYTHONPATH": str(ROOT)}
        (root / "job.yaml").write_text(job_text())

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from gan_dist.cli import main; main()", *words],
            cwd=self.root, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def submit(self, name: str, *words: str, to: Machines | None = None) -> subprocess.Popen[str]:
        """Submit a new run to these machines, or to others."""
        return self._submit("job.yaml", "--name", name, *words, to=to)

    def resume(self, name: str, *words: str) -> subprocess.Popen[str]:
        return self._submit("--resume", name, *words)

    def _submit(self, *words: str, to: Machines | None = None) -> subprocess.Popen[str]:
        return self.start("submit", *words, "--address", (to or self.network).url, "--storage", "s3://runs")

    def checkpoints(self, name: str) -> list[Any]:
        return stored(RunFolder(Folder(f"s3://runs/{name}")).checkpoints())

    def wait_until_free(self, name: str) -> None:
        """Wait until nobody holds a run, as others see it."""

        def free() -> bool:
            time.sleep(1)
            return holder_of(Folder(f"s3://runs/{name}")) is None

        wait_for(free, f"the end of the lease of {name}")

    def wait_for_checkpoints(self, name: str, count: int, following: subprocess.Popen[str]) -> None:
        def there() -> bool:
            if following.poll() is not None:
                raise AssertionError(f"{name} has ended: {following.communicate()[0]}")
            time.sleep(0.5)
            return len(self.checkpoints(name)) >= count

        wait_for(there, f"{count} checkpoints of {name}")

    def with_a_worker(self) -> Machine:
        """A machine other than the head that trains."""
        for machine in self.network.made[1:]:
            if "RayTrainWorker" in machine.processes():
                return machine
        raise AssertionError("no machine but the head trains")


@contextlib.contextmanager
def fleet(root: Path, count: int) -> Iterator[Fleet]:
    """Some machines of one CPU, a bucket, and this process able to look into it."""
    with machines(root, count) as network, bucket(network.host) as store:
        before = {key: os.environ.get(key) for key in store.environ}
        os.environ.update(store.environ)
        remote_filesystem.cache_clear()
        try:
            yield Fleet(network, root, store)
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value
            remote_filesystem.cache_clear()


def undisturbed(job: Path, run: Path) -> dict[str, str]:
    """Checksums of the last checkpoint of two processes without Ray."""
    spec = load_job(job, roots=[str(OWN)])
    train_together(2, [Training(spec.model_dump(mode="json", by_alias=True), str(run), data="job")])
    return dict(json.loads(sorted((run / "checkpoints").glob("*/meta.json"))[-1].read_text())["checksums"])

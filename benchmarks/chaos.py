"""Runs on a local Ray that is damaged while they train, and whether each ends as one that nobody disturbed.

    python benchmarks/chaos.py --rounds 50 --seed 0 [--continue] [--freeze 60] [--only WORD] [--out FOLDER]

A round submits a small job, does one harm to it at a random moment (`HARMS`), and goes on by what gan-dist's own
messages say, as a person would: the command that the follower ended with, or `gan-dist logs -f RUN` where nothing was
said. Its last weights must then be those of an undisturbed run, bit by bit. A round takes about a minute on two cores,
and one that freezes a process as much longer. Each is a line of `FOLDER/rounds.jsonl` when it is over: `--continue`
does those that are missing. Wanted: none lost, none that differs, none that hangs, no traceback of ours.

The harms of a disk need the right to mount (a tmpfs), and S3 needs moto[server]; without, they are left out, and said.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
from flaky_proxy import FlakyProxy

from gan_dist.errors import StorageError
from gan_dist.runs.checkpoint import Checkpoint, newest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder, remote_filesystem

ROOT = Path(__file__).parents[1]
LIMIT_S = 300.0  # one command; a round that needs more counts as hung
TRIES = 4  # commands that a round may need until it has ended well
OUTAGE_S = 20.0  # how long a disk or a bucket is away
JOB = """
name: chaos
data: {source: digits, size: 16}
generator: {use: dcgan, width: 8}
discriminator: {use: dcgan, width: 8}
objective: {use: non_saturating}
optimizer: {lr: 2e-4}
batch: 32
until: 300 steps
every: {report: 20 steps, grid: 10000 steps, checkpoint: 20 steps}
resources: {workers: 2}
environment: {env: [AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION]}
"""
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
# What of a process's command line says that it is meant.
PROCESSES = {
    "worker": "RayTrainWorker",
    "driver": "gan_dist.launch.driver",
    "controller": "TrainController",
    "mailbox": "DriverMailbox",
    "supervisor": "JobSupervisor",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
    "dashboard": "dashboard/dashboard.py",
    "agent": "DashboardAgent",
}
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "freeze": signal.SIGSTOP}


@dataclass
class Round:
    """What came of a round; a line of the record."""

    number: int
    kind: str
    ended: bool = False
    same: bool = False
    hung: bool = False
    recovered_s: float | None = None
    tracebacks: int = 0
    commands: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class Surprise(Exception):
    """Something that must not happen, besides loss, difference and hang."""


class Hung(Exception):
    """A command that did not end."""


@dataclass
class Command:
    """A command that was started, and where its words go."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    log: Path

    def finish(self, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """Its exit code and what it said. Raises Hung."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Hung(" ".join(self.words)) from None
        return code, self.log.read_text(errors="replace")


@dataclass
class Site:
    """A folder with a home, a storage and a local Ray of its own, used through the command line."""

    folder: Path
    storage: str = "runs"
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "GAN_DIST_", "AWS_"))}
        own = {"GAN_DIST_HOME": str(self.folder / "home"), "GAN_DIST_STORAGE": self.storage, "PYTHONPATH": str(ROOT)}
        return clean | own | AWS | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"} | self.more

    def start(self, *words: str) -> Command:
        """Start a command of gan-dist in this folder."""
        handle, log = tempfile.mkstemp(suffix=".log", prefix=f"{words[0]}-", dir=self.folder)
        command = [sys.executable, "-c", "from gan_dist.cli import main; main()", *words]
        with os.fdopen(handle, "wb") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        return Command(words, process, Path(log))

    def run(self, run: str) -> RunFolder:
        """A run's folder."""
        root = self.storage if "://" in self.storage else self.folder / self.storage
        return RunFolder(Folder.at(root).child(run))

    def keeper(self) -> psutil.Process | None:
        for lock in (self.folder / "home" / "local").glob("*/keeper.lock"):
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                return psutil.Process(json.loads(lock.read_text())["pid"])
        return None

    def processes(self, word: str) -> list[psutil.Process]:
        keeper, found = self.keeper(), []
        for child in keeper.children(recursive=True) if keeper else []:
            with contextlib.suppress(psutil.Error):
                if word in " ".join(child.cmdline()):
                    found.append(child)
        return found


@dataclass
class Scene:
    """One round while it goes on: where, which run, its follower, chance, and how long what is frozen stays so."""

    site: Site
    run: str
    rng: random.Random
    freeze_s: float
    follower: Command
    proxy: FlakyProxy | None = None
    ends: list[tuple[threading.Timer, Callable[[], object]]] = field(default_factory=list)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """End the harm after a while, or at the round's end if that is earlier."""
        timer = threading.Timer(seconds, act)
        timer.start()
        self.ends.append((timer, act))

    def end_harm(self) -> None:
        for timer, act in self.ends:
            if timer.is_alive():
                timer.cancel()
                act()


def send(target: str, how: str) -> Callable[[Scene], None]:
    """The harm of a signal to one of the processes of a run or of its cluster."""

    def harm(scene: Scene) -> None:
        if target == "follower":
            hit = [psutil.Process(scene.follower.process.pid)]
        elif target == "daemon":
            hit = [keeper] if (keeper := scene.site.keeper()) else []
        else:
            hit = scene.site.processes(PROCESSES[target])
            hit = [scene.rng.choice(hit)] if target == "worker" and hit else hit
        if not hit:
            raise Surprise(f"there is no {target} to {how}")
        for process in hit:
            _signal(process, SIGNALS[how])
            if how == "freeze":
                scene.later(scene.freeze_s, partial(_signal, process, signal.SIGCONT))

    return harm


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def fill_disk(scene: Scene) -> None:
    """Leave no room where runs are stored, for a while."""
    filler = scene.site.folder / "disk" / "filler"
    with contextlib.suppress(OSError), filler.open("wb", 0) as stream:
        while stream.write(bytes(2**20)):
            pass
    scene.later(OUTAGE_S, filler.unlink)


def lock_disk(scene: Scene) -> None:
    """Make the storage read-only, for a while."""
    disk, content = str(scene.site.folder / "disk"), str(scene.site.folder / "content")
    # A mount with a file that is open for writing cannot be made read-only; another of the same disk can.
    subprocess.run(["umount", "-l", disk], check=True)
    subprocess.run(["mount", "--bind", content, disk], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
    scene.later(OUTAGE_S, lambda: subprocess.run(["mount", "-o", "remount,bind,rw", disk], check=True))


def lose_disk(scene: Scene) -> None:
    """Take the storage away and bring it back, as a network's disk goes and comes."""
    disk, content = str(scene.site.folder / "disk"), str(scene.site.folder / "content")
    subprocess.run(["umount", "-l", disk], check=True)
    scene.later(OUTAGE_S, lambda: subprocess.run(["mount", "--bind", content, disk], check=True))


def fail_bucket(scene: Scene) -> None:
    """Break every connection to the bucket, for a while."""
    assert scene.proxy is not None
    scene.proxy.broken.set()
    scene.later(OUTAGE_S, scene.proxy.broken.clear)


def slow_bucket(scene: Scene) -> None:
    """Delay every answer of the bucket by two seconds, for a while."""
    assert scene.proxy is not None
    scene.proxy.delay_s = 2.0
    scene.later(OUTAGE_S, lambda: setattr(scene.proxy, "delay_s", 0.0))


def submit_twice(scene: Scene) -> None:
    """Submit the same run again while it begins."""
    _refuse_one(scene, scene.site.start("submit", "job.yaml", "--name", scene.run))


def resume_twice(scene: Scene) -> None:
    """Kill the driver, then resume from two terminals at once."""
    send("driver", "kill")(scene)
    scene.follower.finish()
    scene.follower = scene.site.start("submit", "--resume", scene.run)
    _refuse_one(scene, scene.site.start("submit", "--resume", scene.run))


def _refuse_one(scene: Scene, other: Command) -> None:
    """Of two commands for the same, one may, and is followed; the other is told, and ends with 2."""
    pair = (scene.follower, other)
    deadline = time.monotonic() + LIMIT_S
    while all(one.process.poll() is None for one in pair):
        if time.monotonic() > deadline:
            raise Hung("two commands at once")
        time.sleep(0.1)
    refused, scene.follower = pair if pair[0].process.poll() is not None else pair[::-1]
    code, text = refused.finish()
    if code != 2:
        raise Surprise(f"the second command ended with {code}, not 2: {text[-500:]}")


HARMS: dict[str, Callable[[Scene], None]] = {
    **{f"{how} {target}": send(target, how) for how in ("kill", "term") for target in PROCESSES},
    **{f"freeze {target}": send(target, "freeze") for target in ("worker", "driver", "controller", "raylet", "gcs")},
    **{f"{how} {target}": send(target, how) for how in SIGNALS for target in ("daemon", "follower")},
    "disk full": fill_disk,
    "disk read-only": lock_disk,
    "disk gone and back": lose_disk,
    "S3 failing": fail_bucket,
    "S3 slow": slow_bucket,
    "two submits at once": submit_twice,
    "two resumes at once": resume_twice,
}


def advised(text: str) -> tuple[str, ...] | None:
    """The last command that a message names, that goes on with a run or starts a cluster."""
    found = re.findall(r"gan-dist ((?:submit --resume|logs -f) [\w.-]+|up)\b", text)
    return tuple(found[-1].split()) if found else None


@contextlib.contextmanager
def place(folder: Path, kind: str) -> Iterator[tuple[Site, FlakyProxy | None]]:
    """Where a round of this kind is stored: a folder, a small disk of its own, or a bucket behind a flaky proxy."""
    if kind.startswith("disk"):
        disk, content = folder / "disk", folder / "content"
        for path in (disk, content):
            path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "chaos", content], check=True)
        subprocess.run(["mount", "--bind", content, disk], check=True)
        try:
            yield Site(folder, "disk"), None
        finally:
            for path in (disk, content):
                subprocess.run(["umount", "-l", path], check=False)
    elif kind.startswith("S3"):
        with FlakyProxy.before_moto("chaos") as proxy:
            os.environ |= AWS | {"AWS_ENDPOINT_URL": proxy.behind}  # here we look without the proxy
            remote_filesystem.cache_clear()
            yield Site(folder, "s3://chaos", {"AWS_ENDPOINT_URL": proxy.address}), proxy
    else:
        yield Site(folder), None


def last_seen(run: RunFolder) -> int:
    """Samples seen by the newest whole checkpoint; 0 while there is none, or none to be seen."""
    found = last_checkpoint(run)
    return 0 if found is None else int(found.seen)


def last_checkpoint(run: RunFolder) -> Checkpoint | None:
    """The newest whole checkpoint, where the storage shows one."""
    with contextlib.suppress(StorageError, OSError):
        return newest(run.checkpoints(), lambda text: None)
    return None


def await_training(scene: Scene, kind: str) -> None:
    """Wait for the moment of the harm: of most a random one between the first checkpoint and the end."""
    if kind == "two submits at once":
        time.sleep(scene.rng.uniform(0, 4))
        return
    deadline = time.monotonic() + LIMIT_S
    while not last_seen(scene.site.run(scene.run)):
        if scene.follower.process.poll() is not None:
            raise Surprise(f"it ended before it was disturbed: {scene.follower.finish()[1][-500:]}")
        if time.monotonic() > deadline:
            raise Hung("the first checkpoint")
        time.sleep(0.2)
    time.sleep(scene.rng.uniform(0, 4))


def play(folder: Path, number: int, kind: str, *, seed: int, freeze_s: float, expected: dict[str, str]) -> Round:
    """One round: submit, harm, recover by what is said, compare."""
    result, rng = Round(number, kind), random.Random(f"{seed}/{number}")
    with place(folder, kind) as (site, proxy):
        name = f"r{number:03d}-{int(time.time())}"
        scene = Scene(site, name, rng, freeze_s, site.start("submit", "job.yaml", "--name", name), proxy)
        try:
            await_training(scene, kind)
            before, began = last_seen(site.run(name)), time.monotonic()
            firsts, over = dict[int, float](), threading.Event()
            watch = threading.Thread(target=_time_attempts, args=(site.run(name), before, firsts, over), daemon=True)
            HARMS[kind](scene)
            watch.start()
            try:
                recover(scene, result)
            finally:
                over.set()
                watch.join()
            result.recovered_s = round(firsts[max(firsts)] - began, 1) if firsts else None
        except Hung as error:
            result.hung = True
            result.said.append(f"hung: {error}")
        except Surprise as error:
            result.said.append(str(error))
        finally:
            scene.end_harm()
        result.same = result.ended and checksums(site.run(name)) == expected
        result.tracebacks += count_crashes(site, name)
        if result.hung or not result.ended:
            site.start("down").finish()
    return result


def recover(scene: Scene, result: Round) -> None:
    """Follow the run, and do what is said, until it has ended well."""
    look = ("logs", "-f", scene.run)
    command = scene.follower
    for _ in range(TRIES):
        code, text = command.finish(LIMIT_S + scene.freeze_s)
        result.tracebacks += text.count("Traceback (most recent call last)") + text.count("a defect of gan-dist")
        if code == 0 and command.words != ("up",):
            result.ended = True
            return
        words = advised(text)
        if words is None and command.words == look:
            raise Surprise(f"lost: `logs -f` ended with {code} and named no command: {text[-700:]}")
        result.said += text.splitlines()[-3:]
        if words == command.words:  # said again: whatever keeps it from going on is given a while
            time.sleep(OUTAGE_S)
        command = scene.site.start(*(words or look))
        result.commands.append(" ".join(command.words[:2]))
    raise Surprise(f"lost: not ended after {TRIES} commands: {result.commands}")


def _time_attempts(run: RunFolder, before: int, firsts: dict[int, float], over: threading.Event) -> None:
    """Note when each attempt stored its first checkpoint that goes beyond those before the harm."""
    while not over.wait(0.3):
        found = last_checkpoint(run)
        if found is not None and found.seen > before:
            firsts.setdefault(int(found.folder.uri.rpartition("-a")[2]), time.monotonic())


def checksums(run: RunFolder) -> dict[str, str]:
    """SHA-256 of each file of a run's last checkpoint: networks, their averages, optimisers."""
    found = last_checkpoint(run)
    return {} if found is None else dict(found.meta["checksums"])


def count_crashes(site: Site, name: str) -> int:
    """Tracebacks that were kept instead of shown."""
    note, count = site.folder / "home" / "crash.txt", 0
    if note.exists():
        count += 1
        note.rename(note.with_name(f"crash-{name}.txt"))
    with contextlib.suppress(StorageError, OSError):
        count += sum(log.startswith("crash-") for log in site.run(name).folder.child("logs").names())
    return count


def possible_kinds(only: str) -> list[str]:
    """The kinds of harm that this machine allows."""
    kinds = [kind for kind in HARMS if only in kind]
    may_mount = subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    for word, there in (("disk", may_mount), ("S3", find_spec("moto") is not None)):
        if not there and any(kind.startswith(word) for kind in kinds):
            print(f"left out: {word}, which cannot be had here", file=sys.stderr)
            kinds = [kind for kind in kinds if not kind.startswith(word)]
    return kinds


def kind_of(number: int, seed: int, kinds: list[str]) -> str:
    """The kinds in turn, in an order that each turn draws anew."""
    turn, place_in_turn = divmod(number, len(kinds))
    return random.Random(f"{seed}/turn {turn}").sample(kinds, len(kinds))[place_in_turn]


def undisturbed(folder: Path) -> dict[str, str]:
    """Checksums of a run that nobody disturbs, trained once."""
    kept = folder / "undisturbed.json"
    if not kept.exists():
        site = Site(folder)
        name = f"undisturbed-{int(time.time())}"
        code, text = site.start("submit", "job.yaml", "--name", name).finish()
        assert code == 0, text
        kept.write_text(json.dumps(checksums(site.run(name))))
    return dict(json.loads(kept.read_text()))


def print_table(rounds: list[Round]) -> None:
    """One line for each target of a harm, and one for all."""
    print("| harm to | by | rounds | lost | differing | hung | tracebacks | seconds to go on |")
    print("|---|---|---|---|---|---|---|---|")
    for target in [*dict.fromkeys(target_of(kind)[0] for kind in HARMS), "all"]:
        some = [one for one in rounds if target in (target_of(one.kind)[0], "all")]
        if not some:
            continue
        hows = ", ".join(sorted({target_of(one.kind)[1] for one in some})) if target != "all" else ""
        lost = sum(not one.ended and not one.hung for one in some)
        differing = sum(one.ended and not one.same for one in some)
        times = sorted(one.recovered_s for one in some if one.recovered_s is not None)
        counts = (len(some), lost, differing, sum(one.hung for one in some), sum(one.tracebacks for one in some))
        took = " to ".join(dict.fromkeys(f"{one:.0f}" for one in (times[0], times[-1]))) if times else "-"
        print(f"| {target} | {hows} | {' | '.join(map(str, counts))} | {took} |")


def target_of(kind: str) -> tuple[str, str]:
    """What a kind of harm is done to, and how."""
    first, _, rest = kind.partition(" ")
    return (rest, first) if first in SIGNALS else (first, rest)


def run_campaign(folder: Path, *, rounds: int, seed: int, freeze_s: float, only: str) -> list[Round]:
    """The rounds that are not on record yet; all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.yaml").write_text(JOB)
    record, kinds = folder / "rounds.jsonl", possible_kinds(only)
    done = [Round(**json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
    expected = undisturbed(folder)
    for number in range(rounds):
        if any(one.number == number for one in done):
            continue
        kind = kind_of(number, seed, kinds)
        result = play(folder, number, kind, seed=seed, freeze_s=freeze_s, expected=expected)
        done.append(result)
        with record.open("a") as stream:
            stream.write(json.dumps(asdict(result)) + "\n")
        word = "ok" if result.ended and result.same and not result.tracebacks else "WRONG"
        print(f"{number:3} {kind:22} {word:6} {result.recovered_s} s  {result.commands}", flush=True)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--continue", dest="go_on", action="store_true", help="keep the rounds that are on record")
    parser.add_argument("--freeze", type=float, default=60.0, metavar="SECONDS", help="how long a process stays frozen")
    parser.add_argument("--only", default="", metavar="WORD", help="the harms with this word in their name")
    parser.add_argument("--out", type=Path, help="default: chaos-SEED")
    asked = parser.parse_args()
    folder = (asked.out or Path(f"chaos-{asked.seed}")).absolute()
    if not asked.go_on:
        (folder / "rounds.jsonl").unlink(missing_ok=True)
    try:
        done = run_campaign(folder, rounds=asked.rounds, seed=asked.seed, freeze_s=asked.freeze, only=asked.only)
    finally:
        Site(folder).start("down").finish()
    print_table(done)
    return 0 if all(one.ended and one.same and not one.tracebacks for one in done) else 1


if __name__ == "__main__":
    sys.exit(main())

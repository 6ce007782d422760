"""What every test gets: one thread for arithmetic, and a home of its own."""

from __future__ import annotations

import gc
import os
import random
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.fs as fs
import pytest

from gan_dist.runs.storage import remote_filesystem

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which only tests that need it do
# Images of containers often forbid it; then every worker rewrites all tests, and every process compiles the package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
HOME_AT_START = os.environ.get("GAN_DIST_HOME")
HOMES = count()
MOST_WORKERS = 8


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write tests/integration/golden/*.json anew, after a change of the numbers that was meant",
    )


def pytest_configure() -> None:
    """No example fails because the machine is slow."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """What thousands of collected tests hold is not searched for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many workers `-n auto` means: none where tests start processes of their own, nor for a file or two."""
    chosen = config.option.markexpr
    slow = chosen in ("slow", "slow or gpu")
    plain = all(f"not {tier}" in chosen for tier in ("dist", "ray", "fleet", "gpu"))
    few = config.args_source == config.ArgsSource.ARGS and all(".py" in one for one in config.args)
    return 0 if few or not (plain or slow) else min(len(os.sched_getaffinity(0)), MOST_WORKERS)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the runs or clusters of the person who runs it; a wider fixture may have set a home already. The
    folder is made by who needs it: most tests do not."""
    monkeypatch.delenv("GAN_DIST_STORAGE", raising=False)
    if os.environ.get("GAN_DIST_HOME") == HOME_AT_START:
        monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path_factory.getbasetemp() / f"home-of-{next(HOMES)}"))


@pytest.fixture(autouse=True)
def own_random_numbers() -> None:
    """A test's random numbers do not depend on which tests its process ran before."""
    random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)


@pytest.fixture(scope="session", autouse=True)
def digits_read_once() -> Iterator[None]:
    """The digits, which most jobs of the tests are of: reading their table takes longer than training a few steps."""
    from gan_dist.data.sources import builtin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "load_digits", lru_cache(builtin.load_digits))
        yield


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """What Typer makes of the command line's functions: that takes longer than most commands that tests call."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", lru_cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def servers_end_at_once() -> Iterator[None]:
    """Those of the standard library look every half second whether they shall end, unless they are told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
        yield


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Calls the command in this process: its exit code, and what it printed and complained."""

    def call(*words: object) -> tuple[Any, str, str]:
        from gan_dist.cli import main

        monkeypatch.setattr(sys, "argv", ["gan-dist", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return (end.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def gan_dist(
    cli: Callable[..., tuple[Any, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """Calls the command in this process, in a folder of the test's own: its exit code, and all that it said."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str]:
        code, out, err = cli(*words)
        return code or 0, out + err

    return call


def one_at_a_time(serve: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """A web server's application that makes conditional writes one after the other. S3 looks and writes at once; moto
    looks, and then writes, so that of two requests in the same moment both may win."""
    writing = threading.Lock()

    def answer(asked: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in asked:
            return serve(asked, start)
        with writing:
            return list(serve(asked, start))

    return answer


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of a bucket on a real S3 server on the loopback device; the environment points pyarrow to it."""
    server = pytest.importorskip("moto.server", reason="needs moto[server], a server that speaks S3")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    running._server.app = one_at_a_time(running._server.app)
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        endpoint = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": "us-east-1"}
        fs.S3FileSystem(allow_bucket_creation=True, **endpoint).create_dir("photos")
        remote_filesystem.cache_clear()
        yield "s3://photos"
        remote_filesystem.cache_clear()
    running.stop()

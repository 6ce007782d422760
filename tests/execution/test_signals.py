"""Signals, and a reader that goes, save a checkpoint and stop the run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gan_dist.execution.signals import ASKING, asking_to_stop, listen_for
from gan_dist.runs.run_folder import LogTee
from tests.helpers import ROOT

LONG_S = 600


def test_each_signal_asks_and_what_was_before_comes_back() -> None:
    heard: list[signal.Signals] = []
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs these tests under nohup has it ignored
    try:
        before = {number: signal.getsignal(number) for number in ASKING}
        with asking_to_stop(heard.append):
            for number in ASKING:
                os.kill(os.getpid(), number)
        assert heard == list(ASKING)
        assert {number: signal.getsignal(number) for number in ASKING} == before
    finally:
        signal.signal(signal.SIGHUP, inherited)


def test_a_run_under_nohup_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in ASKING}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        listen_for(lambda _: pytest.fail("asked to stop"))
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_whoever_has_gone_is_told_once_and_the_log_goes_on() -> None:
    class Log:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

    read, write = os.pipe()
    os.close(read)
    log: Any = Log()
    gone: list[bool] = []
    with io.TextIOWrapper(os.fdopen(write, "wb", 0), write_through=True) as stream:
        tee = LogTee(stream, log, lambda: gone.append(True))
        for word in ("a", "b"):
            tee.write(word)
    assert (gone, log.text) == ([True], "ab")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGUSR1", "pipe"])
@pytest.mark.slow
def test_a_local_run_is_saved(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from gan_dist.cli import main; main()", "submit", str(ROOT / "jobs/mlp.yaml")]
    command += ["--local", "-o", "until=100M", "-o", "every.checkpoint=100M", "--name", "long"]
    command += ["--storage", str(tmp_path)]
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which the process inherits; under nohup it is ignored
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path)
    signal.signal(signal.SIGHUP, inherited)
    assert process.stdout is not None
    status = tmp_path / "long" / "status.json"
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline and not (status.exists() and json.loads(status.read_text()).get("seen")):
        time.sleep(0.2)
    if how == "pipe":
        process.stdout.close()
    else:
        process.send_signal(signal.Signals[how])
    assert process.wait(LONG_S) == 3
    told = json.loads(status.read_text())
    assert told["status"] == "stopped" and told["seen"] > 0
    assert list((tmp_path / "long" / "checkpoints").iterdir())

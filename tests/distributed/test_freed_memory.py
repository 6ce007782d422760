"""Memory that a step frees is there for the next one: no page of it is asked for again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from gan_dist.distributed import machine
from gan_dist.distributed.machine import KEEPS_FREED_MEMORY, keep_freed_memory

# Takes and frees 64 MiB twenty times, in a thread as Ray Train does, and prints the pages that the system gave.
STEPS = """
import resource, sys, threading
from gan_dist.distributed.machine import keep_freed_memory
if sys.argv[1] == "call":
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)

def step():
    small, large = torch.zeros(1 << 18), torch.zeros(1 << 24)
    del small, large

def steps():
    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[1] == "call":
    steps()
else:
    thread = threading.Thread(target=steps)
    thread.start(), thread.join()
"""


def pages(how: str, **variables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how], env=os.environ | variables, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the C library of GNU")
def test_freed_memory_is_kept() -> None:
    as_it_is = pages("thread")
    assert as_it_is >= 20 * 64 / 2, "each page is asked for each time, if it is one of 2 MiB"
    assert pages("call") < as_it_is / 10
    assert pages("thread", **KEEPS_FREED_MEMORY) < as_it_is / 10


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert not keep_freed_memory()

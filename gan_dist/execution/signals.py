"""Signals by which an attempt is asked to save a checkpoint and stop, whoever sends them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Ctrl-C; a scheduler or `kill`; a terminal that was closed; Slurm's warning before a time limit (--signal=USR1@90).
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def asking_to_stop(ask: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Inside, each of these signals calls `ask`, where Python allows that: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKING}
    listen_for(ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen_for(ask: Callable[[signal.Signals], None]) -> None:
    """From now on each of these signals calls `ask`. Other libraries put handlers of their own in their place when they
    start, so that this is to be called again after them."""
    for number in ASKING:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # `nohup`: the person wants it to go on
        signal.signal(number, lambda received, _: ask(signal.Signals(received)))

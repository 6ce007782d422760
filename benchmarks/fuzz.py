"""Damaged inputs, each read as a person would have it read. One that ends in anything but success, a rejection by name
or a refusal in our own words is a mistake of ours.

    python -m benchmarks.fuzz SUBJECT [N] [--seed S] [--first N] [--show]

A subject of `benchmarks/fuzzing/` makes one case out of random numbers: what it is called, and what reads it. Cases run
in a forked process that may take 1 GiB more than it begins with, and 5 s for each, where its subject says nothing else.
Printed are, of each kind of case, how many were read, read but for samples that were rejected by name, and refused; and
how many were FOREIGN (an exception that is none of gan_dist/errors.py, a crash, or a message that names no key), too
slow, too large, or SILENT (read, with another result than the undamaged one). Of the last four there may be none, else
the exit code is 1. Case number N of seed S is always the same, whatever the other cases are.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import importlib
import multiprocessing
import os
import random
import re
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.fuzzing.cases import Case, SilentDifference, Subject
from gan_dist.errors import GanDistError

# The subjects, and how many cases of each the table of `benchmarks/README.md` is about.
COUNTS = {"data": 100_000, "jobs": 10_000, "checkpoints": 1_000, "mutants": 200}
MAKING_S = 60.0  # for what is damaged, which is made the first time that it is needed
GOOD = ("read", "rejected", "refused")
BAD = ("FOREIGN", "slow", "large", "SILENT")


def subject_of(name: str) -> Subject:
    """A subject by its name; imported when it is asked for, as some need torch."""
    found: Subject = importlib.import_module(f"benchmarks.fuzzing.{name}").SUBJECT
    return found


class Result(NamedTuple):
    """How a case went; `told` is the message of a refusal, or the traceback of what is foreign."""

    number: int
    kind: str
    outcome: str
    told: str = ""


def run(subject: Subject, numbers: Sequence[int], seed: int) -> Iterator[Result]:
    """Each case in a process that is forked anew after one that did not end well, or after as many as its subject
    allows."""
    waiting = list(reversed(numbers))
    while waiting:
        turn = waiting[-subject.in_a_process :][::-1]
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_cases, args=(subject, turn, seed, sender), daemon=True)
        process.start()
        sender.close()
        try:
            assert process.pid is not None
            yield from _followed(receiver, waiting, len(turn), subject.most_s, process.pid)
        finally:
            process.kill()
            process.join()


def _followed(receiver: Connection, waiting: list[int], count: int, most_s: float, pid: int) -> Iterator[Result]:
    """The `count` results that a process sends; it is given up where one does not come."""
    kind = "?"
    process = psutil.Process(pid)
    left = len(waiting) - count
    while len(waiting) > left:
        if not _answers(receiver, process, MAKING_S if kind == "?" else most_s):
            yield Result(waiting.pop(), kind, "slow", f"more than {most_s:g} s")
            return
        try:
            sent = receiver.recv()
        except EOFError:
            yield Result(waiting.pop(), kind, "FOREIGN", "the process that read it died")
            return
        if isinstance(sent, str):
            kind = sent
            continue
        kind = "?"
        waiting.pop()
        yield sent
        if sent.outcome == "large":
            return  # what it holds may be large now


def _answers(receiver: Connection, process: psutil.Process, most_s: float) -> bool:
    """Whether something comes within some seconds of the process's own, or ten times as many by the clock: what else
    the machine does is no fault of what is read."""
    began = sum(process.cpu_times()[:2])
    for _ in range(10):
        if receiver.poll(most_s):
            return True
        if sum(process.cpu_times()[:2]) - began > most_s:
            return False
    return False


def _cases(subject: Subject, numbers: Sequence[int], seed: int, sender: Connection) -> None:
    warnings.simplefilter("ignore")
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries say of damage
    held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    # Of what is written to: allocators reserve addresses that they never use.
    resource.setrlimit(resource.RLIMIT_DATA, (held + subject.most_bytes, held + subject.most_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        with tempfile.TemporaryDirectory(dir=_scratch()) as folder:
            try:
                case = subject.make(random.Random(f"{seed}:{number}"), Path(folder))
            except Exception:
                sender.send(Result(number, "?", "FOREIGN", traceback.format_exc()))
                continue
            sender.send(case.kind)
            sender.send(Result(number, case.kind, *_outcome(case, subject.refusal)))


def _scratch() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _outcome(case: Case, refusal: str) -> tuple[str, str]:
    try:
        return case.read(), ""
    except MemoryError:
        return "large", traceback.format_exc()
    except SilentDifference as found:
        return "SILENT", str(found)
    except GanDistError as error:
        told = str(error)
        return ("refused" if re.match(refusal, told) else "FOREIGN"), told
    except Exception:
        return "FOREIGN", traceback.format_exc()


def show(counts: dict[str, collections.Counter[str]]) -> None:
    """Prints the table."""
    width = max(map(len, (*counts, "all")))
    columns = (*GOOD, *BAD)
    print(f"{'':{width}} {''.join(f'{name:>10}' for name in columns)}")
    for kind in sorted(counts):
        print(f"{kind:{width}} {''.join(f'{counts[kind][name]:>10,}' for name in columns)}")
    whole = sum(counts.values(), collections.Counter[str]())
    print(f"{'all':{width}} {''.join(f'{whole[name]:>10,}' for name in columns)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=sorted(COUNTS))
    parser.add_argument("count", nargs="?", type=int, help="how many; by default as many as the README says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--show", action="store_true", help="print what is said of each refusal")
    asked = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    count = COUNTS[asked.subject] if asked.count is None else asked.count
    for result in run(subject_of(asked.subject), range(asked.first, asked.first + count), asked.seed):
        counts[result.kind][result.outcome] += 1
        if result.outcome in BAD or (asked.show and result.told):
            print(f"{result.outcome}: case {result.number} of seed {asked.seed} ({result.kind}): {result.told}")
    show(counts)
    return int(any(found[name] for found in counts.values() for name in BAD))


if __name__ == "__main__":
    sys.exit(main())

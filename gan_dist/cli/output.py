"""How commands print: words for people on one stream, JSON for programs on the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def console(aside: bool = False) -> Console:
    """Standard output; standard error with `aside`, which is where words go when the output is JSON."""
    from rich.console import Console

    return Console(stderr=aside, highlight=False)


def say(text: str, aside: bool = False) -> None:
    print(text, file=sys.stderr if aside else sys.stdout, flush=True)


def emit(document: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(document, indent=2, default=str), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines: at a terminal its last column is shortened to fit, in a pipe nothing is."""
    found = [list(headings), *map(list, rows)]
    widths = [max(len(row[column]) for row in found) for column in range(len(headings) - 1)]
    room = terminal_width() - sum(widths) - 2 * len(widths)
    for row in found:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        last = row[-1] if room < 10 or len(row[-1]) <= room else "…" + row[-1][1 - room :]
        say("  ".join([*cells, last]).rstrip())


def terminal_width() -> int:
    """Columns of the terminal; 0 where standard output is none."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def confirm(question: str, yes: bool) -> bool:
    """Ask a yes-no question; without a terminal the answer is no, unless `yes` was given."""
    if yes:
        return True
    if not sys.stdin.isatty():
        say(f"{question} Nobody can be asked here; say --yes.", aside=True)
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def size(count: int) -> str:
    """Bytes as people write them: `812 B`, `3.4 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def ago(epoch: float | None, now: float) -> str:
    """How long ago something was: `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`."""
    if epoch is None:
        return "-"
    passed = max(now - epoch, 0)
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= seconds:
            return f"{passed // seconds:.0f} {unit} ago"
    return f"{passed:.0f} s ago"


def plain(record: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The named keys of a record that it has."""
    return {key: record[key] for key in keys if record.get(key) is not None}


def check_free(out: Path, force: bool, option: str = "--out") -> None:
    """Look whether something would be written over, which only --force allows.

    Raises:
        UsageError: there is a file, or a folder with something in it.
    """
    if force:
        return
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{option} {str(out)!r} is not empty; choose another folder, or --force")
    if out.is_file():
        raise UsageError(f"{option} {str(out)!r} is there already; choose another name, or --force")


def check_all_free(force: bool, **outs: Path | None) -> None:
    """The same for options that name what a command writes, by their names."""
    for name, out in outs.items():
        if out is not None:
            check_free(out, force, f"--{name.replace('_', '-')}")


def free_name(path: Path) -> Path:
    """A name that nobody asked for, with a number where it is taken: `compare-2.png`."""
    stem, number = path.stem, 1
    while path.exists():
        number += 1
        path = path.with_name(f"{stem}-{number}{path.suffix}")
    return path

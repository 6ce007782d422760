"""Options and arguments that mean the same in every command, with their shell completion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gan_dist.errors import StorageError, UsageError


def complete_run(incomplete: str) -> Iterator[tuple[str, str]]:
    """Ids of the local index, newest first, read without any library: completion must answer at once."""
    from gan_dist.runs.storage import home

    try:
        records = list(home().glob("runs/*.json"))
    except StorageError:
        return
    for path in sorted(records, key=lambda path: path.stat().st_mtime, reverse=True):
        if path.stem.startswith(incomplete):
            yield path.stem, ""
    if "last".startswith(incomplete):
        yield "last", "the newest run"


def complete_job(incomplete: str) -> Iterator[str]:
    """Folders, and files that may be jobs."""
    folder, _, beginning = incomplete.rpartition("/")
    base = folder + "/" if "/" in incomplete else ""
    for path in sorted(Path(base or ".").expanduser().glob(f"{beginning}*")):
        if path.is_dir():
            yield f"{base}{path.name}/"
        elif path.suffix in (".yaml", ".yml", ".json"):
            yield f"{base}{path.name}"


Run = Annotated[
    str,
    typer.Argument(
        help="A run's id, a unique beginning of one, `last`, or its folder.",
        metavar="RUN",
        autocompletion=complete_run,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(help="Where runs are stored; also GAN_DIST_STORAGE. Default: ./runs", metavar="DIR|URI"),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The cluster: http://head:8265; also RAY_API_SERVER_ADDRESS, RAY_ADDRESS. Default: local.",
        metavar="URL",
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run code that a model of somebody else's names: gan-dist help security."),
]
Weights = Annotated[
    str, typer.Option(help="ema (where there is one), raw, or ema:SIGMA such as ema:0.10.", metavar="WEIGHTS")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, all else on stderr.")]
Force = Annotated[bool, typer.Option("--force", help="Write into or over what is there.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-o",
        help="Change a key of the job: -o optimizer.lr=1e-4 (may be repeated).",
        metavar="KEY=VALUE",
    ),
]


def check_address(address: str | None, workers: int | None) -> None:
    """Raises ValueError where a cluster is named that is asked for nothing."""
    if address is not None and workers is None:
        raise UsageError("--address is the cluster of --workers; add --workers N")

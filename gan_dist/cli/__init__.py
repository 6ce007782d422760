"""The command line. Importing it costs neither torch nor Ray: commands import what they need."""

from __future__ import annotations

import codecs
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from gan_dist.cli import (
    cluster,
    download,
    evaluate,
    explore,
    jobs,
    latents,
    prepare,
    pull,
    run,
    runs,
    sample,
    shipped,
    submit,
)
from gan_dist.cli.output import emit
from gan_dist.spec.problems import Problem
from gan_dist.spec.secrets import redact

FAILED, WRONG, UNKNOWN_RUN, NO_CLUSTER, INTERRUPTED = 1, 2, 4, 5, 130

# BadParameter < UsageError < ClickException; reached so because newer Typers carry a click of their own.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="gan-dist",
    help="Train any GAN, of images or text, distributed on Ray, from one YAML file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Run jobs": {
        "submit": submit.submit,
        "run": run.run,
        "list": runs.list_runs,
        "status": runs.status,
        "logs": runs.logs,
        "results": runs.results,
        "pull": pull.pull,
        "stop": runs.stop,
        "delete": runs.delete,
    },
    "Write jobs": {
        "init": jobs.init,
        "validate": jobs.validate,
        "schema": jobs.schema,
        "catalog": jobs.catalog,
        "help": jobs.help_topic,
    },
    "Data": {
        "download": download.download,
        "prepare": prepare.prepare,
    },
    "Networks": {
        "sample": sample.sample,
        "evaluate": evaluate.evaluate,
        "explore": explore.explore,
        "export": sample.export,
        "import": sample.import_model,
        "compare": evaluate.compare,
        "check": jobs.check,
    },
    "Clusters and pages": {
        "up": cluster.up,
        "down": cluster.down,
        "dashboard": cluster.dashboard,
        "tensorboard": cluster.tensorboard,
    },
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
app.add_typer(shipped.app, name="jobs", rich_help_panel="Write jobs")
app.add_typer(latents.app, name="latents", rich_help_panel="Networks")


def _show_version(wanted: bool) -> None:
    if wanted:
        from gan_dist import __version__

        print(f"gan-dist {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_show_version, is_eager=True),
) -> None:
    """Train any GAN, of images or text, distributed on Ray, from one YAML file."""


OURS = str(Path(__file__).parents[1])


def main() -> None:
    """Run the command line: an error is one clear line on standard error and an exit code of its kind."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        # A locale without an encoding (LC_ALL=C): words of the command and names of files are UTF-8 all the same.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    warnings.showwarning = _show_warning
    try:
        code = app(standalone_mode=False)
    except USAGE_ERROR as error:
        if _wants_json():
            _tell(error.format_message(), error.exit_code)
        else:
            error.show()
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
        if _wants_json():
            _tell("interrupted", code)
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except ValueError as error:
        code = _code_of(error)
        _tell(str(error), code, getattr(error, "problems", ()))
    except Exception as error:
        code = FAILED
        _tell(f"{type(error).__name__}: {error}\n(a defect of gan-dist; {_crash_note()})", code)
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    """What ours warn of in words; of others with the place, as Python shows it."""
    ours = issubclass(category, UserWarning) and filename.startswith(OURS)
    text = f"warning: {message}" if ours else warnings.formatwarning(message, category, filename, lineno).rstrip()
    print(redact(text), file=sys.stderr)


def _wants_json() -> bool:
    return "--json" in sys.argv[1:]


def _tell(message: str, code: int, problems: Iterable[Problem] = ()) -> None:
    """An error for people on standard error, or with --json as the one document on standard output."""
    message = redact(message)
    if not _wants_json():
        print(f"error: {message}", file=sys.stderr)
        return
    emit({"error": {"code": code, "message": message, "problems": [one.record() for one in problems]}})


def _code_of(error: ValueError) -> int:
    from gan_dist.errors import ClusterError, NoSuchRun

    if isinstance(error, ClusterError):
        return NO_CLUSTER
    return UNKNOWN_RUN if isinstance(error, NoSuchRun) else WRONG


def _crash_note() -> str:
    """Keep the traceback for a report, out of the user's sight."""
    from gan_dist.errors import StorageError
    from gan_dist.runs.storage import home

    crashed = redact(traceback.format_exc())
    try:
        note = home() / "crash.txt"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(crashed)
    except (OSError, StorageError) as error:
        return f"its traceback could not be kept: {error}"
    return f"its traceback: {note}"

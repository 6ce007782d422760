"""`environment.secrets`: variables whose values every process reads from files of the node that it runs on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from gan_dist.spec.secrets import FILES, secret_files

LARGEST = 1 << 16  # bytes of a secret; a file that has more is another one


def read_secrets(files: Mapping[str, str], node: str = "", environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Set variables to what files of this node hold, without blanks and line ends around it.

    Args:
        files: of each variable.
        node: this node's name in a problem; empty for its host name.

    Returns:
        A sentence for each that cannot be read, whose variable is left alone.
    """
    if files:
        environ[FILES] = json.dumps(dict(files))
    problems = []
    for name, path in files.items():
        where = f"environment.secrets.{name}: node {node or os.uname().nodename}: {path}"
        try:
            with open(path, encoding="utf-8") as file:
                value = file.read(LARGEST + 1).strip()
        except (OSError, ValueError) as error:
            problems.append(f"{where} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}")
            continue
        if value and len(value) <= LARGEST and "\0" not in value:
            environ[name] = value
        else:
            problems.append(f"{where} holds no secret: it is {'longer than 64 KiB' if value else 'empty'}")
    return problems


def read_on_start() -> None:
    """What Ray calls in each process that it starts for a job. What is missing is told by whoever needs it."""
    read_secrets(secret_files())


def sent_with_job(files: Mapping[str, str]) -> dict[str, Any]:
    """What Ray's runtime environment of a job says of its secrets: names and files, and who reads them."""
    if not files:
        return {}
    return {
        "env_vars": {FILES: json.dumps(dict(files))},
        "worker_process_setup_hook": f"{__name__}.{read_on_start.__name__}",
    }

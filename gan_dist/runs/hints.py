"""Commands that messages name, as a person can paste them into a shell."""

from __future__ import annotations

import shlex


def command(*words: object) -> str:
    """A command of gan-dist, each word quoted where the shell would take it apart.

    >>> command("submit", "/a b/job.json")
    "gan-dist submit '/a b/job.json'"
    """
    return shlex.join(("gan-dist", *map(str, words)))

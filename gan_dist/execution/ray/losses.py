"""What Ray raises when it lost something, in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gan_dist.errors import ProcessLost


@contextmanager
def telling_losses() -> Iterator[None]:
    """Inside, what Ray raises when one of its processes or nodes is gone becomes ProcessLost: no fault of the run, and
    none of gan-dist."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if not isinstance(cause, RayError):
            raise
        # Ray's first sentence says which; after it come ids, and what it guesses.
        raise ProcessLost(f"the cluster lost a process: {re.split('[.:]', first_line(cause))[0]}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text that is not empty, or the name of its class."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

"""What is said when a source is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from gan_dist.errors import DataNotFound, StorageError


@contextmanager
def reaching(where: str, key: str = "data.source") -> Iterator[None]:
    """Turns what the storage says of a missing or unreachable source into words about a key of the job.

    Raises:
        Absent: nothing is there, with the nearest name, or it cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        near = "" if "://" in where else _nearest(Path(where).expanduser())
        raise DataNotFound(f"{key}: {where!r} does not exist{near}") from None
    except (OSError, StorageError) as error:
        raise DataNotFound(f"{key}: {where!r} cannot be read: {error}") from error


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""

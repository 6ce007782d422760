"""Reading a job's data with Ray Data from the driver's first second on, beside everything else that starts."""

from __future__ import annotations

import threading
from typing import Any

from gan_dist.data.read import Columns, read_on_ray
from gan_dist.data.sources import Source, find
from gan_dist.spec.sections import DataSpec


class Reading:
    """Data being read in a thread.

    Args:
        data: what to read.
        cpus: of the cluster; as many parts are decoded at a time.
    """

    def __init__(self, data: DataSpec, cpus: int) -> None:
        self._data, self._cpus = data, cpus
        self._found: tuple[Source, list[Any], list[Columns]] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def result(self) -> tuple[Source, list[Any], list[Columns]]:
        """The source, references to its decoded blocks, and the small columns of each; waits for them.

        Raises:
            DataError: there is nothing that can be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

    def _read(self) -> None:
        try:
            source = find(self._data, pieces=max(4, 2 * self._cpus))
            self._found = (source, *read_on_ray(source, concurrency=self._cpus))
        except Exception as error:
            self._error = error

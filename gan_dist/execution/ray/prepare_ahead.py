"""Preparing a job's data from the driver's first second on, beside everything else that starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from gan_dist.data.executors import write_shards_on_ray
from gan_dist.data.prepare import Prepared, Progress, prepare_or_load
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import DataSpec


class BackgroundPreparation:
    """Data being prepared in a thread.

    Args:
        data: what to read.
        cache: where preparations of this storage are kept.
        cpus: of the cluster; as many parts are decoded at a time.
        stand_in_of: how many random images replace what cannot be used; None for none.
        progress: told how many shards are done, of how many; `encoding`, how many pictures have become latents.
    """

    def __init__(
        self,
        *,
        data: DataSpec,
        cache: Folder,
        cpus: int,
        stand_in_of: int | None,
        progress: Progress,
        encoding: Progress,
    ) -> None:
        self._found: Prepared | None = None
        self._error: Exception | None = None

        def read() -> None:
            try:
                prepare: Callable[..., Prepared] = prepare_or_load
                if getattr(data, "encode", None) is not None:
                    # Only encoding needs torch, which takes longer to import than most data to look up.
                    from gan_dist.generation.codec_source import prepare_for_job
                    from gan_dist.generation.model import load_generator

                    prepare = partial(prepare_for_job, load=load_generator, encoding=encoding)
                executor = write_shards_on_ray(cpus)
                self._found = prepare(data, cache, executor=executor, progress=progress, stand_in_of=stand_in_of)
            except Exception as error:
                self._error = error

        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def result(self) -> Prepared:
        """The prepared data; waits for them.

        Raises:
            DataError: there is nothing that can be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

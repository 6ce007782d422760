"""The executor that decodes with Ray Data, and shards as blocks of Ray's object store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from numpy.typing import NDArray

from gan_dist.data.prepare import Executor, Prepared, Record
from gan_dist.data.shards import SAMPLE, read_shard, write_shard
from gan_dist.data.source import Part
from gan_dist.runs.storage import Folder

READ_HERE_BYTES = 256 << 20


def write_shards_on_ray(cpus: int) -> Executor:
    """Decodes parts as Ray Data tasks, `cpus` at a time; the records come as they are done."""

    def execute(parts: Sequence[Part], folder: Folder) -> Iterator[Record]:
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = [{"asked": json.dumps({"part": asdict(part), "folder": folder.uri})} for part in parts]
        # The workers start meanwhile and may hold every CPU, so the tasks ask for none; their number is limited.
        written = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _write, batch_size=1, batch_format="numpy", num_cpus=0, concurrency=min(cpus, len(items))
        )
        for row in written.iter_rows():
            yield json.loads(row["record"])

    return execute


def blocks_of(found: Prepared) -> list[Any]:
    """References to the shards' images in the object store, in canonical order."""
    import ray

    if found.bytes <= READ_HERE_BYTES:
        return [ray.put(read_shard(found.folder, file, [SAMPLE])) for file in found.shards]
    read = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(read_shard)
    return [read.remote(found.folder, file, [SAMPLE]) for file in found.shards]


def _write(batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """One part, as text: Arrow would turn its tuples and mappings into something else."""
    (asked,) = map(json.loads, batch["asked"])
    return {"record": [json.dumps(write_shard(Part.of(asked["part"]), Folder(asked["folder"])))]}

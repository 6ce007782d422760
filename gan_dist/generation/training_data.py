"""The data that a model was trained on, found again."""

from __future__ import annotations

from gan_dist.data.facts import TextFacts
from gan_dist.data.ingest import Ingest, Memory, load_into_memory
from gan_dist.data.on_processes import write_shards_on_processes
from gan_dist.data.prepare import prepare_or_load
from gan_dist.errors import DataError
from gan_dist.generation.exported_model import is_exported
from gan_dist.generation.model import Model
from gan_dist.generation.paired_samples import real_rows
from gan_dist.runs.run_folder import PREPARED, RunFolder
from gan_dist.runs.storage import Folder, home


def prepared_beside(model: Model) -> Folder:
    """Where decoded data are kept: beside the model's run, or, of one that has left its run, in our home."""
    if is_exported(model.uri):
        return Folder.at(home()).child(PREPARED)
    return RunFolder(Folder(model.uri.rsplit("/", 2)[0])).prepared()


def training_data(model: Model) -> Ingest:
    """Real samples of what the run's generator makes. Raises what `trained_on` raises."""
    return real_rows(trained_on(model))


def trained_on(model: Model) -> Memory:
    """What the run was trained on, as it was prepared for it, or prepared now.

    Raises:
        DataError: it is no longer there, or has changed.
    """
    data = prepare_or_load(model.spec.data, prepared_beside(model), write_shards_on_processes, lambda done, total: None)
    if data.facts.checksum != model.facts.checksum:
        remedy = "put it back" if isinstance(model.facts, TextFacts) else "name B"
        raise DataError(f"data.source: {model.spec.data.source!r} is not what {model.name} was trained on; {remedy}")
    return load_into_memory(data, 0, 1)

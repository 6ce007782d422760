"""From a file to a job: reading, merging, checking. What the command line and Python both call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_dist.errors import JobError, StorageError
from gan_dist.registry.lookup import Roots, check_job
from gan_dist.registry.metric_names import check_metrics
from gan_dist.runs.storage import Folder, is_uri
from gan_dist.spec.check import try_job
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import Document, merge_documents, overrides_document, read_job_file, unusable_values
from gan_dist.sweeps.candidates import check_sweep


def load_job(
    job: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] = (),
    roots: Roots | None = None,
    *,
    storage: str | None = None,
) -> JobSpec:
    """Read a job and check everything about it that can be checked without running code.

    Args:
        job: the job file, its URI, or the job as plain values.
        overrides: `["optimizer.lr=1e-4"]` or `{"optimizer.lr": 1e-4}`, laid on the file.
        roots: folders with the user's own modules; by default the job's `environment.code`, else here.
        storage: where runs go, over the file's `storage`.

    Raises:
        JobError: with all problems of the file, its overrides and its components.
    """
    document = merge_documents(_document(job), overrides_document(overrides))
    if storage is not None:
        document = Document({**document.value, "storage": storage}, document.origins)
    if unusable := unusable_values(document):
        raise JobError(unusable)
    spec, problems = try_job(document)
    roots = _roots(document.value) if roots is None else roots
    problems += check_job(document.value, document.origins, roots)
    if spec is not None and not problems:
        problems += check_metrics(spec, document.origins, roots)
    if spec is not None and spec.sweep is not None and not problems:
        problems += check_sweep(spec, document, roots)
    if spec is None or problems:
        raise JobError(sorted(problems, key=lambda one: (one.file or "", one.line or 0)))
    return spec


def _document(job: str | Path | Mapping[str, Any]) -> Document:
    if isinstance(job, Mapping):
        return Document(dict(job), {})
    with _at_hand(str(job)) as file:
        return read_job_file(file)


@contextmanager
def _at_hand(job: str) -> Iterator[Path]:
    """A job file as a path of this machine.

    Raises:
        StorageError: the storage of a URI cannot be read, or has no such file.
    """
    if not is_uri(job):
        yield Path(job)
        return
    parent, _, name = job.rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        try:
            (Path(folder) / name).write_bytes(Folder.at(parent).read(name))
        except FileNotFoundError as error:
            raise StorageError(f"{job}: there is no such job file") from error
        yield Path(folder) / name


def _roots(job: Mapping[str, Any]) -> Roots:
    environment = job.get("environment")
    code = environment.get("code") if isinstance(environment, Mapping) else None
    return [code if isinstance(code, str) else "."]

"""Keys of a job that are each right, but not together; told from plain values, so that all faults show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gan_dist.spec.problems import suggestion


def find_conflicts(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, message) of every impossible combination in plain values, which may have other faults."""
    return [*_what_is_trained(job), *_sizes(job), *_stage_names(job), *_stage_networks(job)]


def _what_is_trained(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = {key for key in ("objective", "until", "stages") if job.get(key) is not None}
    if "stages" in given:
        for key in sorted(given - {"stages"}):
            yield (
                key,
                f"give either `objective` and `until`, or `stages`, not both; move '{key}' into the stages",
            )
    elif "objective" not in given:
        yield "objective", "required, but missing (or give `stages`)"
    elif "until" not in given:
        yield (
            "until",
            "required, but missing; say how long to train, such as 64k, '150 epochs' or '2000 steps'",
        )


def _sizes(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    batch, micro = _count(job.get("batch")), _count(job.get("micro_batch"))
    if batch and micro and micro > batch:
        yield "micro_batch", f"{micro} is larger than the batch of {batch} that it is a part of"
    resources = job.get("resources")
    workers = resources.get("workers") if isinstance(resources, Mapping) else None
    fewest = _count(workers.get("min") if isinstance(workers, Mapping) else workers)
    if batch and fewest and fewest > batch:
        yield "resources.workers", f"{fewest} workers cannot share a batch of {batch}; each needs a sample"


def _stage_names(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = Counter(str(stage["name"]) for stage in _stages(job) if stage.get("name"))
    for name, times in names.items():
        if times > 1:
            yield "stages", f"{times} stages are named '{name}'; names must differ"


def _stage_networks(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    further = job.get("networks")
    known = ["generator", *(["discriminator"] if job.get("discriminator") is not None else [])]
    known += list(further) if isinstance(further, Mapping) else []
    for place, stage in enumerate(_stages(job)):
        train = stage.get("train")
        for name in train if isinstance(train, list | tuple) else ():
            if name not in known:
                yield f"stages.{place}.train", f"the job has no network {name!r}{suggestion(str(name), known)}"


def _stages(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    stages = job.get("stages")
    return [one for one in stages if isinstance(one, Mapping)] if isinstance(stages, list | tuple) else []


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

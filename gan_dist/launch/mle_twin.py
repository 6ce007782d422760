"""The maximum-likelihood twin of a text job: what its adversarial training is to be compared with."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gan_dist.errors import UsageError
from gan_dist.runs.index import known_runs
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.job import JobSpec, OptimizerSpec, StageSpec

LIKELIHOOD = "mle"
# What runs that are to be compared may differ in: what they are called, where they run, and what they report.
ASIDE = ("name", "seed", "resources", "environment", "storage", "every", "keep", "metrics", "trackers")
LONGEST_NAME = 61
OF_RELAXING = ("relax", "beta")


def mle_twin(spec: JobSpec) -> JobSpec:
    """The same data, generator, batch, seed and budget, learnt by likelihood alone and without a discriminator.

    The budget is the length of all stages together that train the generator. The optimiser is that of the job's stage
    of likelihood where it has one, for a rate that suits an adversary would make a weak twin, and the job's where it
    has none.

    Raises:
        ValueError: the job makes images, is a sweep, or learns by likelihood alone already.
    """
    if spec.data.modality != "text":
        raise UsageError("--mle-twin: likelihood is of text, and the job's data are images; leave it out")
    if spec.sweep is not None:
        raise UsageError("--mle-twin: the job is a sweep; take the twin of the best job that it wrote out")
    plan = tuple(stage for stage in spec.phases_plan if stage.train is None or "generator" in stage.train)
    if not plan:
        raise UsageError(f"--mle-twin: no stage of {spec.name} trains the generator")
    by_likelihood = [stage for stage in plan if all(one.use == LIKELIHOOD for one in stage.objective)]
    if len(by_likelihood) == len(plan):
        raise UsageError(f"--mle-twin: {spec.name} learns by likelihood alone, and is its own twin; submit it as it is")
    job: dict[str, Any] = json.loads(spec.model_dump_json(by_alias=True))
    ours = by_likelihood[0].optimizer if by_likelihood else spec.optimizer
    assert ours is not None
    job |= {
        "name": f"{spec.name[: LONGEST_NAME - 4]}-{LIKELIHOOD}",
        "generator": _unrelaxed(job["generator"]),
        "discriminator": None,
        "networks": {},
        "penalties": [],
        "augment": None,
        "stop_when": None,
        "optimizer": _of_generator(ours),
        **_budget(plan, spec.batch),
    }
    if "/" in (spec.keep.metric or ""):
        job["keep"] |= {"metric": None, "best": 0}
    return JobSpec.model_validate(job)


def _unrelaxed(generator: dict[str, Any]) -> dict[str, Any]:
    """Without what only a discriminator's gradient needs."""
    return {key: value for key, value in generator.items() if key not in OF_RELAXING or "relax" not in generator}


def _of_generator(optimizer: OptimizerSpec) -> dict[str, Any]:
    dump: dict[str, Any] = json.loads(optimizer.model_dump_json(by_alias=True))
    others = optimizer.overrides.keys() - {"generator"}
    return {key: value for key, value in dump.items() if key not in others}


def _budget(plan: tuple[StageSpec, ...], batch: int) -> dict[str, Any]:
    """As long as these stages together: of one sort where they are, else stage by stage, for how long an epoch is shows
    only in the data."""
    lengths = [stage.length for stage in plan]
    if all(one.unit == "epochs" for one in lengths):
        return _until(Amount(sum(one.value for one in lengths), "epochs"))
    if all(one.unit != "epochs" for one in lengths):
        return _until(Amount(sum(one.samples(batch, 0) for one in lengths)))
    stages = [{"objective": LIKELIHOOD, "for": one.plain()} for one in lengths]
    return {"objective": None, "until": None, "stages": stages}


def _until(length: Amount) -> dict[str, Any]:
    return {"objective": LIKELIHOOD, "until": length.plain(), "stages": None}


class Seeds(NamedTuple):
    """Finished runs by their folders, one for each seed: of a job with other seeds, and of its twin.

    `repeats` says which run was taken where several have the same seed.
    """

    others: tuple[str, ...]
    twins: tuple[str, ...]
    repeats: tuple[str, ...]


def find_seeds(run: RunFolder) -> Seeds:
    """The runs of this person that differ from a run in the seed alone, and those of its twin, by their seeds.

    Of several finished runs with one seed the newest is taken, as a second one tells nothing of the spread over seeds;
    of the run's own seed, the run itself.

    Raises:
        UsageError: the run has no twin, as it learns by likelihood alone.
    """
    spec = run.spec()
    ours, twins = _compared(spec), _compared(mle_twin(spec))
    of_job, of_twin = dict[int, list[RunFolder]](), dict[int, list[RunFolder]]()
    for row in known_runs():
        other = RunFolder(Folder(row["uri"]))
        if other.id == run.id or other.status()["status"] != "succeeded" or other.request().get("mode") == "smoke":
            continue
        found = other.spec()
        plain = _compared(found)
        for side, wanted in ((of_job, ours), (of_twin, twins)):
            if plain == wanted:
                side.setdefault(found.seed, []).append(other)
    of_job[spec.seed] = [*of_job.get(spec.seed, ()), run]
    return Seeds(
        others=tuple(of_job[seed][-1].uri for seed in sorted(of_job) if seed != spec.seed),
        twins=tuple(of_twin[seed][-1].uri for seed in sorted(of_twin)),
        repeats=(*_repeats("the job", of_job), *_repeats("its twin", of_twin)),
    )


def _repeats(whose: str, runs: dict[int, list[RunFolder]]) -> list[str]:
    return [
        f"of {len(found)} runs of {whose} with seed {seed}, {found[-1].id} is measured"
        for seed, found in sorted(runs.items())
        if len(found) > 1
    ]


def _compared(spec: JobSpec) -> dict[str, Any]:
    """What makes two runs comparable."""
    dump: dict[str, Any] = json.loads(spec.model_dump_json(by_alias=True))
    return {key: value for key, value in dump.items() if key not in ASIDE}

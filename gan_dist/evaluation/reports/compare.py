"""Several runs beside each other: what differs in their jobs, what came of them, a curve, samples of one noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan_dist.data.encoding.image import encode_png
from gan_dist.errors import UsageError
from gan_dist.evaluation.reports.plots import Panel, page, render_png
from gan_dist.evaluation.reports.results import run_results
from gan_dist.generation.model import Model, load, trained_on
from gan_dist.generation.samples import Sheet
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.problems import flatten_keys, suggestion

ABSENT = "-"


@dataclass(kw_only=True, frozen=True)
class Comparison:
    """Of runs in the order they were named.

    Attributes:
        runs: their ids.
        jobs: key of the job -> each run's value, for keys that differ.
        results: what came of each: status, samples seen, minutes, and the last value of every metric.
        curve: of the scalar, a PNG.
        sheets: samples of each on noise of the same seed.
    """

    runs: list[str]
    jobs: dict[str, list[str]]
    results: dict[str, list[str]]
    curve: bytes
    sheets: list[Sheet]


def compare(
    runs: Sequence[RunFolder],
    scalar: str | None,
    seed: int = 0,
    *,
    trust_code: bool = False,
    warn: Callable[[str], None] = warnings.warn,
) -> Comparison:
    """Read and sample runs that have a checkpoint.

    Args:
        trust_code: whether generators of somebody else's may be imported and run.
        scalar: tag of a logged number, or the first metric or loss that all have.
        warn: told where they have no metric in common.

    Raises:
        ValueError: fewer than two runs, or no run logged the scalar.
        CheckpointError: a run has no whole checkpoint.
    """
    if len(runs) < 2:
        raise UsageError("name two runs or more: gan-dist compare RUN RUN")
    jobs = [flatten_keys(run.job()) for run in runs]
    reports = {run.id: run.reports() for run in runs}
    tag = _tag(list(reports.values()), scalar, warn)
    lines = {
        run: ([one["seen"] for one in rows if tag in one], [one[tag] for one in rows if tag in one])
        for run, rows in reports.items()
    }
    models = [load(run, trust_code=trust_code) for run in runs]
    sheets = [_sheet(one, seed) for one in models]
    curve = render_png([Panel("samples seen", tag, lines, title=f"{tag} of {len(runs)} runs", style=".-")])
    return Comparison(
        runs=[run.id for run in runs], jobs=differing_keys(jobs), results=_results(runs), curve=curve, sheets=sheets
    )


def html(found: Comparison) -> str:
    """A comparison as one HTML file that opens without a network."""
    samples = [
        (run, sheet, None) if isinstance(sheet, list) else (run, [], encode_png(sheet))
        for run, sheet in zip(found.runs, found.sheets, strict=True)
    ]
    return page(
        "compare.html",
        title=" / ".join(found.runs),
        head=["", *found.runs],
        results=_rows(found.results),
        jobs=_rows(found.jobs),
        curve=found.curve,
        samples=samples,
    )


def _rows(found: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    return [(key, *values) for key, values in found.items()]


def _sheet(model: Model, seed: int) -> Sheet:
    """Samples of equal noise; of pairs, of the inputs that the run was trained on."""
    rows = trained_on(model) if model.modality.needs_data else None
    return model.modality.sheet(model.generator, rows, seed, model.device)[0]


def differing_keys(jobs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys whose values differ, in the first job's order."""
    keys = dict.fromkeys(key for job in jobs for key in job)
    rows = {key: [str(job.get(key, ABSENT)) for job in jobs] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


def _tag(reports: Sequence[Sequence[Mapping[str, Any]]], scalar: str | None, warn: Callable[[str], None]) -> str:
    tags = [{key for one in rows for key in one if "/" in key} for rows in reports]
    known = sorted(set().union(*tags))
    if scalar is not None:
        if scalar not in known:
            raise UsageError(f"--scalar: no run logged {scalar!r}{suggestion(scalar, known)}")
        return scalar
    shared = sorted(set.intersection(*tags), key=lambda tag: (not tag.startswith("metric/"), tag))
    if not shared:
        raise UsageError("the runs logged no number in common; name one of some with --scalar")
    if not shared[0].startswith("metric/"):
        warn(f"the runs have no metric in common; the curve is of {shared[0]}, --scalar takes another")
    return shared[0]


def _results(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    found = [run_results(run) for run in runs]
    rows = {
        "status": [one["status"] for one in found],
        "samples seen": [f"{one['seen']:,}" for one in found],
        "minutes": [f"{one['training_s'] / 60:.2f}" for one in found],
    }
    for name in dict.fromkeys(name for one in found for name in one["metrics"]):
        rows[name] = [_metric_cell(one, name) for one in found]
    return rows


def _metric_cell(found: Mapping[str, Any], name: str) -> str:
    """A run's last value; marked where the run trained by the network that measured it."""
    if name not in found["metrics"]:
        return ABSENT
    mark = " (trained by this judge)" if name in found["partial"] else ""
    return f"{found['metrics'][name]['last'][0]:.6g}{mark}"

"""`gan-dist evaluate` and `gan-dist compare`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_dist.cli import options
from gan_dist.cli.output import check_all_free, emit, free_name, say, table
from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from gan_dist.evaluation.evaluate import EvaluationRequest, EvaluationResult
    from gan_dist.evaluation.text_profile import TextProfile
    from gan_dist.spec.fields import Held


SHOWN = 5
A = Annotated[
    str,
    typer.Argument(
        help="A run, a checkpoint, an exported generator, images in a folder, or a file of sentences.", metavar="A"
    ),
]
B = Annotated[
    str | None,
    typer.Argument(
        help="What to compare with: a folder of images, a file of sentences, or, if A is a file, a run. "
        "Default: A's data.",
        metavar="B",
    ),
]
Tokens = Annotated[
    str | None, typer.Option(help="Two files only: what a token is, words, blanks or characters.", metavar="NAME")
]
Lower = Annotated[bool, typer.Option("--lower", help="Two files only: make text lower case.")]
Metric = Annotated[
    list[str] | None, typer.Option(help="A metric; may be repeated. Default: the job's.", metavar="NAME")
]
Twin = Annotated[
    list[str] | None,
    typer.Option(
        help="Text only: another run beside A, its maximum-likelihood twin; may be repeated, one for each seed.",
        metavar="RUN",
        autocompletion=options.complete_run,
    ),
]
SeedRun = Annotated[
    list[str] | None,
    typer.Option(
        help="Text only: a run of A's job with another seed, so that the verdict knows how far seeds spread; may be "
        "repeated.",
        metavar="RUN",
        autocompletion=options.complete_run,
    ),
]
Seeds = Annotated[
    bool,
    typer.Option(
        "--seeds",
        help="Text only: beside A its job's other seeds and its twins, the newest finished run of each seed.",
    ),
]
Neighbours = Annotated[
    Path | None, typer.Option(help="A picture of samples beside the real ones nearest to them.", metavar="FILE.png")
]
Copies = Annotated[
    Path | None,
    typer.Option(
        help="Text only: passages of 8 tokens or more that stand in the training text, and where.", metavar="FILE.jsonl"
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        help="Text only: a picture of how long sentences are and how fast new words come, beside real ones.",
        metavar="FILE.png",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        help="What images are compared by: NAME, NAME:FILE, or {use: NAME, ...}; see `gan-dist help metrics`.",
        metavar="NAME",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Where the curves go. Default: A-temperatures.png", metavar="FILE.png")]
Count = Annotated[int | None, typer.Option("--n", min=1, help="How many samples of A.")]
TemperatureGrid = Annotated[
    bool, typer.Option("--temperature-grid", help="Text only: measure at temperatures around 1 and draw curves.")
]
Split = Annotated[str, typer.Option(help="Text only: which held-out sentences, test or validation.", metavar="NAME")]

Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Measure with so many workers of a Ray cluster, which must see A, B and the storage."),
]
InverseTemperatures = Annotated[
    str | None,
    typer.Option(help="The grid, 1 / temperature each. Default: 0.7 to 2.", metavar="A,B,..."),
]
EmaGrid = Annotated[
    str | None,
    typer.Option(help="Measure averages of these widths beside, made of the run's snapshots.", metavar="SIGMA,..."),
]


def evaluate(
    a: A,
    b: B = None,
    metric: Metric = None,
    n: Count = None,
    features: Features = None,
    temperature_grid: TemperatureGrid = False,
    inverse_temperatures: InverseTemperatures = None,
    weights: options.Weights = "ema",
    ema_grid: EmaGrid = None,
    twin: Twin = None,
    seed_run: SeedRun = None,
    seeds: Seeds = False,
    out: Out = None,
    neighbours: Neighbours = None,
    copies: Copies = None,
    profile: Profile = None,
    split: Split = "test",
    tokens: Tokens = None,
    lower: Lower = False,
    force: options.Force = False,
    trust_code: options.TrustCode = False,
    workers: Workers = None,
    address: options.Address = None,
    as_json: options.Json = False,
) -> None:
    """Measure how good samples are, with real data beside them."""
    from gan_dist.evaluation.evaluate import EvaluationRequest
    from gan_dist.evaluation.evaluate import evaluate as answer
    from gan_dist.evaluation.temperature_sweep import DEFAULT, parse_temperatures

    grid = parse_temperatures(inverse_temperatures) if inverse_temperatures else DEFAULT if temperature_grid else ()
    if out is not None and not grid:
        raise UsageError("--out is for the curves of --temperature-grid; add it")
    check_all_free(force, out=out, neighbours=neighbours, copies=copies, profile=profile)
    options.check_address(address, workers)
    files = (neighbours is not None, copies is not None, profile is not None)
    how = (*files, _held(split), *_cut(a, b, tokens, lower))
    twins, others = _beside(a, twin or [], seed_run or [], seeds)
    question = EvaluationRequest(
        a, b, metric or (), n, features, grid, twins, others, *how, trust_code, weights, _widths(ema_grid)
    )
    here = partial(answer, progress=partial(say, aside=True))
    found = here(question) if workers is None else _on_cluster(question, workers, address, as_json)
    for text in found.warnings:
        say(f"warning: {text}", aside=True)
    if neighbours is not None and found.neighbours is not None:
        found.neighbours.picture.save(neighbours)
    if copies is not None:
        copies.write_text("".join(f"{json.dumps(one._asdict(), ensure_ascii=False)}\n" for one in found.copies))
    if profile is not None and found.profile is not None:
        profile.write_bytes(_drawn_profile(found.a, found.profile))
    plot = _plotted(found, out) if found.curves else None
    if as_json:
        emit(_document(found, plot))
    else:
        _show(found, plot, neighbours, copies)
        if profile is not None:
            say(f"profile: {profile}")


def _beside(a: str, twins: list[str], others: list[str], seeds: bool) -> tuple[list[str], list[str]]:
    """The twins and other seeds that A is compared with: those named, or all that are here."""
    if not seeds:
        return twins, others
    if twins or others:
        raise UsageError("--seeds finds the runs that --twin and --seed-run name; leave these out, or --seeds")
    from gan_dist.launch.mle_twin import find_seeds
    from gan_dist.runs.index import find_run

    run = find_run(a)
    try:
        found = find_seeds(run)
    except UsageError as error:
        raise UsageError(
            f"--seeds: {run.id} has no twin to be compared with ({error}); name the run of the job"
        ) from error
    if not found.twins:
        raise UsageError(f"--seeds: no finished twin of {a} is here; gan-dist submit JOB --mle-twin trains one")
    for text in found.repeats:
        say(f"--seeds: {text}", aside=True)
    return list(found.twins), list(found.others)


def _show(found: EvaluationResult, plot: Path | None, neighbours: Path | None, copies: Path | None) -> None:
    """What was measured, for people."""
    seen = "" if found.seen is None else f" after {found.seen:,} samples seen"
    held_out = "" if found.held is None else f" and {found.held.count:,} {found.held.split} sentences"
    say(f"{found.a}{seen}, compared with {found.b} ({found.reals:,} samples){held_out}")
    _show_values(found)
    if plot is not None:
        _show_curves(found)
        say(f"curves: {plot}")
    if neighbours is not None:
        say(f"neighbours: {neighbours}")
    if copies is not None:
        _show_copies(found, copies)


def _show_copies(found: EvaluationResult, file: Path) -> None:
    """The longest passages, for people."""
    say(f"copies: {len(found.copies)} passages of 8 tokens or more stand in {found.b}: {file}")
    for one in found.copies[:SHOWN]:
        say(f"  {one.name or f'sentence {one.stands}'}: {one.passage}")


def _on_cluster(question: EvaluationRequest, workers: int, address: str | None, as_json: bool) -> EvaluationResult:
    """The same by a Ray job, followed to its end; raises ValueError where it fails."""
    from gan_dist.cli.cluster import run_on_cluster
    from gan_dist.evaluation.evaluate import EvaluationResult, to_portable_request
    from gan_dist.execution.ray.tasks import EVALUATION_RESULT
    from gan_dist.runs.index import new_run_id, storage_root

    if question.neighbours:
        raise UsageError("--neighbours is a picture that is drawn in this process; leave out --workers")
    plain, known = to_portable_request(question)
    folder = storage_root(None, None).child(".evaluations").child(new_run_id("answer"))
    what = {"question": plain.to_json(), "out": folder.uri, "workers": workers}
    try:
        run_on_cluster("evaluate", what, environment=known, address=address, to_stderr=as_json)
        if (plain_answer := folder.read_json(EVALUATION_RESULT)) is None:
            raise UsageError(f"{folder.uri!r} is not seen from here, though it was written; the cluster must share it")
        return EvaluationResult.of(plain_answer)
    finally:
        folder.delete()


def _widths(written: str | None) -> list[float]:
    """The widths of --ema-grid, in order."""
    from gan_dist.spec.power_average import exponent_of

    found = set()
    for one in written.split(",") if written is not None else ():
        try:
            found.add(float(one))
            exponent_of(float(one))
        except ValueError as error:
            reason = error if str(error).startswith("sigma") else "widths are numbers such as 0.01,0.05,0.15"
            raise UsageError(f"--ema-grid {written!r}: {reason}") from error
    return sorted(found)


def _held(split: str) -> Held:
    from gan_dist.spec.fields import HELD
    from gan_dist.spec.problems import suggestion

    for held in HELD:
        if held == split:
            return held
    raise UsageError(f"--split: {split!r} is neither test nor validation{suggestion(split, HELD)}")


def _cut(a: str, b: str | None, tokens: str | None, lower: bool) -> tuple[str, bool]:
    """How two files of sentences are cut; a run's own data say how for others."""
    from gan_dist.evaluation.inputs import is_text_file
    from gan_dist.spec.fields import WAYS
    from gan_dist.spec.problems import suggestion

    if (tokens or lower) and not (is_text_file(a) and is_text_file(b or "")):
        raise UsageError("--tokens and --lower are for two files of sentences; a run's are cut as its job says")
    if tokens is not None and tokens not in WAYS:
        raise UsageError(f"--tokens: unknown way {tokens!r}{suggestion(tokens, WAYS)}")
    return tokens or "treebank", lower


def _document(found: EvaluationResult, plot: Path | None) -> dict[str, Any]:
    from gan_dist.evaluation.temperature_sweep import state_verdict

    document: dict[str, Any] = {"a": found.a, "b": found.b, "samples_of_b": found.reals, "samples_seen": found.seen}
    if found.held is not None:
        document |= {"split": found.held.split, "samples_of_split": found.held.count}
    document["metrics"] = found.values
    document |= {key: values for key, values in (("real", found.real), ("twin", found.twin)) if values}
    if found.profile is not None:
        document["profile"] = found.profile._asdict()
    if found.widths:
        document["ema"] = [{"sigma": sigma, "metrics": values} for sigma, values in found.widths.items()]
    if plot is not None:
        document["curves"] = {
            which: [{"inverse_temperature": inverse, "metrics": values} for inverse, values in points.items()]
            for which, points in found.curves.items()
        }
        verdicts = _verdicts(found)
        shown = [vars(one) | {"outcome": one.outcome, "text": str(one)} for one in verdicts]
        document |= {"verdicts": shown, "plot": str(plot)} | ({"verdict": state_verdict(verdicts)} if verdicts else {})
    return document


def _verdicts(found: EvaluationResult) -> list[Any]:
    from gan_dist.evaluation.temperature_sweep import TWIN, compare_curves

    return [compare_curves(pair, found.curves) for pair in found.pairs] if TWIN in found.curves else []


def _show_values(found: EvaluationResult) -> None:
    averages = [(f"ema {sigma:g}", values) for sigma, values in found.widths.items()]
    beside = {name: values for name, values in (*averages, ("twin", found.twin), ("real", found.real)) if values}
    if not beside:
        table(("metric", "value"), [(name, _number(value)) for name, value in found.values.items()])
        return
    rows = [[name, *(_number(one.get(name)) for one in (found.values, *beside.values()))] for name in found.values]
    table(("metric", "model", *beside), rows)
    if found.real:
        say("real: what real data get in the samples' place; of images, one half of the data against the other")


def _show_curves(found: EvaluationResult) -> None:
    names = [name for pair in found.pairs for name in pair]
    rows = [
        [which, f"{inverse:g}", *(_number(values[name]) for name in names)]
        for which, points in found.curves.items()
        for inverse, values in points.items()
    ]
    if found.real:
        rows.append(["real", "-", *(_number(found.real.get(name)) for name in names)])
    say("")
    table(("", "1/temperature", *names), rows)
    verdicts = _verdicts(found)
    for one in verdicts:
        say(str(one))
    if verdicts:
        from gan_dist.evaluation.temperature_sweep import state_verdict

        say(state_verdict(verdicts))


def _plotted(found: EvaluationResult, out: Path | None) -> Path:
    from gan_dist.evaluation.reports.plots import Panel, render_png
    from gan_dist.evaluation.temperature_sweep import better_corner

    panels = []
    for pair in found.pairs:
        lines = {
            which: tuple([values[name] for values in points.values()] for name in pair)
            for which, points in found.curves.items()
        }
        has_real = all(name in found.real for name in pair)
        dots = {"real": (found.real[pair.quality], found.real[pair.diversity])} if has_real else {}
        panels.append(
            Panel(
                pair.quality,
                pair.diversity,
                lines,  # type: ignore[arg-type]
                dots,
                title=f"{found.a}, at each point 1/temperature",
                style=".-",
                marks={which: [f"{inverse:g}" for inverse in points] for which, points in found.curves.items()},
                better=better_corner(pair),
            )
        )
    path = out or free_name(Path(f"{found.a}-temperatures.png"))
    path.write_bytes(render_png(panels))
    return path


def _drawn_profile(name: str, profile: TextProfile) -> bytes:
    from gan_dist.evaluation.reports.plots import Panel, render_png

    panels = (
        Panel("tokens of a sentence", "share of sentences", profile.lengths, title=name),
        Panel("tokens read", "different tokens among them", profile.types, title=name),
    )
    return render_png(panels)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two runs or more.", metavar="RUN...", autocompletion=options.complete_run)
    ],
    scalar: Annotated[
        str | None, typer.Option(help="Logged number of the curve, such as loss/G. Default: a metric.", metavar="TAG")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that samples are made of.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Where the curve goes. Default: compare.png.", metavar="FILE.png")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="All of it, with samples, in a file that needs no network.", metavar="FILE.html"),
    ] = None,
    force: options.Force = False,
    storage: options.Storage = None,
    trust_code: options.TrustCode = False,
    as_json: options.Json = False,
) -> None:
    """Put runs beside each other: jobs, results, a curve, and samples of the same noise."""
    from gan_dist.evaluation.reports.compare import compare as beside
    from gan_dist.evaluation.reports.compare import html
    from gan_dist.runs.index import find_run, storage_root

    check_all_free(force, out=out, report=report)
    root = storage_root(storage, None)
    chosen = [find_run(run, root) for run in runs]
    found = beside(chosen, scalar, seed, trust_code=trust_code, warn=lambda text: say(f"warning: {text}", aside=True))
    curve = out or free_name(Path("compare.png"))
    curve.write_bytes(found.curve)
    written = [str(curve)]
    if report is not None:
        report.write_text(html(found))
        written.append(str(report))
    if as_json:
        emit({"runs": found.runs, "jobs": found.jobs, "results": found.results, "files": written})
        return
    table(("job", *found.runs), [(key, *values) for key, values in found.jobs.items()])
    say("")
    table(("result", *found.runs), [(key, *values) for key, values in found.results.items()])
    say(f"written: {', '.join(written)}")

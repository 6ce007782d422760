"""Pictures of a sweep, and its results with them as one HTML file that opens without a network.

Optuna draws the search space and the Pareto front. The curves, the samples and a population's lineage are of training,
which Optuna knows nothing of.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.evaluation.reports.plots import page
from gan_dist.runs.run_folder import RunFolder, tag_curve
from gan_dist.sweeps.ranking import RankedConfiguration
from gan_dist.sweeps.results import StoredSweep, best_job, summary_lines, table_head, table_row
from gan_dist.sweeps.sampler import create_study, freeze_trial, list_differing_keys
from gan_dist.sweeps.schedulers import trace_lineage
from gan_dist.sweeps.trial_log import minimized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

BEST = 5
WIDE = 20
HEADINGS = {
    "grids": "Samples of the best",
    "curves": "Metric over samples seen",
    "front": "Pareto front",
    "lineage": "Who took over from whom",
    "parallel": "All keys beside each other",
    "slices": "Each key against the metric",
}


def render_page(run: RunFolder, found: Mapping[str, Any]) -> str:
    """The results of a sweep as one HTML file.

    Args:
        run: the sweep's folder.
        found: what `results_of_sweep` says of it.
    """
    metrics, trials = found["metrics"], found["trials"]
    summary = f"{found['status']}, {len(trials)} configurations, {found['seconds'] / 60:.1f} minutes"
    failed = [
        f"t{one['number']:03d} {one['state'].replace('_', ' ')}: {one['message']}" for one in trials if one["message"]
    ]
    drawn = draw_pictures(StoredSweep(run))
    return page(
        "sweep.html",
        title=found["id"],
        told=summary,
        head=table_head(metrics),
        rows=[table_row(one, len(metrics)) for one in trials],
        words=[*summary_lines(found), *failed],
        pictures=[(words, drawn[name]) for name, words in HEADINGS.items() if name in drawn],
        best=[] if found["best"] is None else best_job(run)[0].splitlines(),
    )


def save_pictures(stored: StoredSweep, folder: Path) -> list[Path]:
    """Write the pictures as `curves.png` and so on; the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in draw_pictures(stored).items():
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(content)
    return written


def draw_pictures(stored: StoredSweep) -> dict[str, bytes]:
    """PNG files by name: `curves`, `front`, `lineage`, `parallel`, `slices` and `grids`; what there is nothing to draw
    of is left out."""
    import matplotlib.pyplot as plt

    ranked = stored.ranking()
    measured = [one for one in ranked if one.means]
    varied = [key for key in list_differing_keys([one.values for one in measured]) if key in stored.sweep.space]
    keys = [key for key in varied if stored.sweep.space[key].kind != "same_as"]
    several = len(measured) > 1 and bool(keys)
    study = _study_of(stored, ranked)
    with warnings.catch_warnings(), plt.rc_context(), plt.ioff():
        # Optuna warns that its pictures may yet change, and its last two set a style for all later pictures.
        warnings.simplefilter("ignore")
        made = {
            "curves": draw_curves(stored, ranked),
            "lineage": draw_lineage(stored, measured) if stored.is_population and stored.history.results else None,
            "grids": draw_grids(stored, measured),
            "parallel": draw_parallel(stored, study, measured, keys) if several else None,
            "front": draw_fronts(stored, study, measured) if len(stored.tags) > 1 and measured else None,
            "slices": draw_slices(stored, study, measured, keys) if several else None,
        }
        return {name: _to_png(figure) for name, figure in made.items() if figure is not None}


def draw_curves(stored: StoredSweep, ranked: Sequence[RankedConfiguration]) -> Figure | None:
    """Each metric over samples seen, one line for each run; the best configurations in color."""
    figure, many = _new_figure(len(stored.tags))
    drawn = False
    aims = ["lower" if mode == "min" else "higher" for mode in stored.sweep.modes]
    for axes, tag, name, aim in zip(many, stored.tags, stored.metrics, aims, strict=True):
        values: list[float] = []
        for place, one in reversed(list(enumerate(ranked))):
            for repetition in range(stored.seeds):
                points = tag_curve(stored.trial(one.number, repetition), tag)
                if points:
                    label = f"t{one.number:03d}" if place < BEST and repetition == 0 else None
                    look: dict[str, Any] = {"color": f"C{place}"} if place < BEST else {"color": "0.7", "linewidth": 1}
                    axes.plot(*zip(*points, strict=True), marker=".", label=label, **look)
                    values += [value for _, value in points]
                    drawn = True
        if values and min(values) > 0 and max(values) > WIDE * min(values):
            axes.set_yscale("log")  # else the first, bad values flatten all that follow
        axes.set(xlabel="samples seen", ylabel=name, title=f"{stored.run.id}: {aim} is better")
    handles, labels = many[0].get_legend_handles_labels()
    many[0].legend(handles[::-1], labels[::-1], frameon=False)
    return figure if drawn else None


def draw_fronts(stored: StoredSweep, study: Study, measured: Sequence[RankedConfiguration]) -> list[Any]:
    """The first metric against each other one, by Optuna; the Pareto front of all metrics in another color."""
    from optuna.visualization.matplotlib import plot_pareto_front

    figures = []
    names = [f"{name} ({mode})" for name, mode in zip(stored.metrics, stored.sweep.modes, strict=True)]
    for place in range(1, len(names)):
        points = {one.number: (one.means[0], one.means[place]) for one in measured}
        axes = plot_pareto_front(study, targets=_picker(points), target_names=[names[0], names[place]])
        for number, point in points.items():
            axes.annotate(f" t{number:03d}", point, fontsize=8)
        figures.append(axes.figure)
    return figures


def draw_parallel(
    stored: StoredSweep, study: Study, measured: Sequence[RankedConfiguration], keys: list[str]
) -> list[Any]:
    """One line for each configuration through its values, darker the better it ranks, by Optuna."""
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    rank = _picker({one.number: float(place) for place, one in enumerate(measured, 1)})
    axes = plot_parallel_coordinate(study, keys, target=rank, target_name="rank")
    axes.set_title(", ".join(stored.metrics))
    figure: Any = axes.figure
    figure.set_size_inches(3 + 1.8 * (len(keys) + 1), 4.5)
    return [figure]


def draw_slices(
    stored: StoredSweep, study: Study, measured: Sequence[RankedConfiguration], keys: list[str]
) -> list[Any]:
    """Each key against each metric, where each configuration was trained furthest, by Optuna."""
    import numpy as np
    from optuna.visualization.matplotlib import plot_slice

    figures = []
    for place, name in enumerate(stored.metrics):
        target = _picker({one.number: one.means[place] for one in measured})
        panels = np.atleast_1d(np.asarray(plot_slice(study, keys, target=target, target_name=name)))
        for axes in panels:
            axes.tick_params(axis="x", rotation=30)
        figures.append(panels[0].figure)
    return figures


def draw_lineage(stored: StoredSweep, measured: Sequence[RankedConfiguration]) -> Figure:
    """Of a population: each member as a line over samples seen, an arrow where it took over from another, and the way
    of the best one's weights in color."""
    history = stored.history
    figure, (axes,) = _new_figure(1, width=8)
    of_best = {leg.key for leg in trace_lineage(history, measured[0].number)} if measured else set()
    for key, result in history.results.items():
        leg, start = history.legs[key], _start_of_leg(stored, *key)
        look: dict[str, Any] = {"color": "C0", "linewidth": 3} if key in of_best else {"color": "0.7", "linewidth": 1}
        axes.plot([start, result.seen], [leg.number, leg.number], **look)
        value = f"{result.values[0]:.3g}" if result.values else "-"
        axes.annotate(value, (result.seen, leg.number), (-3, 4), textcoords="offset points", ha="right", fontsize=8)
        if leg.source is not None:
            arrow = {**look, "arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (start, leg.number), (start, leg.source), arrowprops=arrow)
    axes.set_yticks(history.numbers, [f"t{number:03d}" for number in history.numbers])
    axes.set(xlabel="samples seen", title=f"{stored.metrics[0]} at each end; whose weights the best has")
    return figure


def draw_grids(stored: StoredSweep, measured: Sequence[RankedConfiguration]) -> Figure | None:
    """The last samples of the best configurations side by side."""
    from PIL import Image

    found = [(one, grid) for one in measured[:BEST] if (grid := _last_grid(stored, one.number)) is not None]
    if not found:
        return None
    figure, many = _new_figure(len(found))
    for axes, (one, grid) in zip(many, found, strict=True):
        axes.imshow(Image.open(io.BytesIO(grid)).convert("RGB"), aspect="equal", interpolation="nearest")
        axes.set_title(f"t{one.number:03d}: {', '.join(f'{mean:.4g}' for mean in one.means)}")
        axes.set_axis_off()
    return figure


def _start_of_leg(stored: StoredSweep, number: int, repetition: int, index: int) -> int:
    """Samples seen where a leg began: where its own last leg ended, or that of the member it took over from."""
    if index == 0:
        return 0
    source = stored.history.legs[number, repetition, index].source
    return stored.history.results[number if source is None else source, repetition, index - 1].seen


def _last_grid(stored: StoredSweep, number: int) -> bytes | None:
    run = stored.trial(number)
    found = [name for name in run.grids() if name.endswith(".png")]
    return run.folder.read(f"grids/{found[-1]}") if found else None


def _study_of(stored: StoredSweep, ranked: Sequence[RankedConfiguration]) -> Study:
    """The configurations as an Optuna study; one without a value counts as running, so that it keeps its number and is
    not drawn."""
    study = create_study(len(stored.tags))
    for one in sorted(ranked, key=lambda one: one.number):
        costs = minimized(one.means, stored.sweep.modes) if one.means else None
        study.add_trial(freeze_trial(stored.sweep.space, one.values, costs))
    return study


def _picker(values: Mapping[int, Any]) -> Callable[[FrozenTrial], Any]:
    """What tells Optuna the value to draw of a trial."""
    return lambda trial: values[trial.number]


def _new_figure(columns: int, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure that no window and no global state knows of, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width or 3 + 3 * columns, 4.5), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False).flat)


def _to_png(figures: Figure | list[Any]) -> bytes:
    """One PNG file of a figure, or of several one below the other."""
    import matplotlib.pyplot as plt
    from PIL import Image

    images = []
    for figure in figures if isinstance(figures, list) else [figures]:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
        plt.close(figure)
        images.append(Image.open(buffer).convert("RGB"))
    whole = Image.new("RGB", (max(one.width for one in images), sum(one.height for one in images)), "white")
    for place, image in enumerate(images):
        whole.paste(image, (0, sum(one.height for one in images[:place])))
    result = io.BytesIO()
    whole.save(result, format="png")
    return result.getvalue()

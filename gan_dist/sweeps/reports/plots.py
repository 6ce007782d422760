"""Pictures of a sweep: metrics over samples seen, all keys beside each other, each key against each metric, who took
over from whom."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.runs.metric_history import tag_curve
from gan_dist.spec.problems import show_value
from gan_dist.spec.space import LISTS, Parameter
from gan_dist.sweeps.reports.progress import means
from gan_dist.sweeps.reports.results import StoredSweep
from gan_dist.sweeps.search.pbt import lineage
from gan_dist.sweeps.search.ranking import Row
from gan_dist.sweeps.search.sampler import differing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = 5


def pictures(told: StoredSweep) -> dict[str, bytes]:
    """PNG files by name: `curves`, `front`, `lineage`, `parallel`, `slices` and `grids`; what there is nothing to draw
    of is left out."""
    rows = [row for row in told.rows() if row.mean is not None]
    made = {
        "curves": curves(told),
        "front": front(told, rows),
        "lineage": lineages(told),
        "parallel": parallel(told, rows),
        "slices": slices(told, rows),
        "grids": grids(told, rows),
    }
    return {name: _png(figure) for name, figure in made.items() if figure is not None}


def draw_plots(told: StoredSweep, folder: Path) -> list[Path]:
    """Write the pictures as `curves.png` and so on; the files' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in pictures(told).items():
        written.append(folder / f"{name}.png")
        written[-1].write_bytes(content)
    return written


def curves(told: StoredSweep) -> Figure | None:
    """Each metric over samples seen, one line for each run; the best configurations in colour."""
    figure, many = _figure(len(told.tags))
    drawn = False
    for axes, tag, name in zip(many, told.tags, told.metrics, strict=True):
        for place, row in reversed(list(enumerate(told.rows()))):
            for repetition in range(told.seeds):
                points = tag_curve(told.trial(row.number, repetition), tag)
                if points:
                    label = f"t{row.number:03d}" if place < BEST and repetition == 0 else None
                    look: dict[str, Any] = {"color": f"C{place}"} if place < BEST else {"color": "0.7", "linewidth": 1}
                    axes.plot(*zip(*points, strict=True), marker=".", label=label, **look)
                    drawn = True
        axes.set(xlabel="samples seen", ylabel=name)
    handles, labels = many[0].get_legend_handles_labels()
    many[0].legend(handles[::-1], labels[::-1], frameon=False)
    return figure if drawn else None


def front(told: StoredSweep, rows: Sequence[Row]) -> Figure | None:
    """The first metric against each other one; the Pareto front is filled and joined where there are two."""
    if len(told.tags) < 2 or not rows:
        return None
    figure, many = _figure(len(told.tags) - 1)
    for place, axes in enumerate(many, 1):
        for best, look in ((False, "none"), (True, "C0")):
            points = sorted((means(vars(row))[0], means(vars(row))[place]) for row in rows if (row.front == 1) == best)
            line = "-" if best and len(told.tags) == 2 else ""
            if points:
                axes.plot(*zip(*points, strict=True), color="C0", marker="o", linestyle=line, markerfacecolor=look)
        for row in rows:
            at = (means(vars(row))[0], means(vars(row))[place])
            axes.annotate(f" t{row.number:03d}", at, fontsize=8)
        words = [f"{name} ({mode})" for name, mode in zip(told.metrics, told.sweep.modes, strict=True)]
        axes.set(xlabel=words[0], ylabel=words[place])
    return figure


def lineages(told: StoredSweep) -> Figure | None:
    """Of a population: each member as a line over samples seen, an arrow where it took over from another, and the way
    of the best one's weights in colour."""
    history = told.history
    if told.sweep.scheduler.use != "pbt" or not history.outcomes:
        return None
    figure, (axes,) = _figure(1, width=8)
    best = next((row.number for row in told.rows() if row.mean is not None), None)
    way = {task.key for task in lineage(history, best)} if best is not None else set()
    for key, outcome in history.outcomes.items():
        task, start = history.tasks[key], _start(told, *key)
        look: dict[str, Any] = {"color": "C0", "linewidth": 3} if key in way else {"color": "0.7", "linewidth": 1}
        axes.plot([start, outcome.seen], [task.number, task.number], **look)
        value = "-" if outcome.value is None else f"{outcome.value:.3g}"
        axes.annotate(value, (outcome.seen, task.number), (-3, 4), textcoords="offset points", ha="right", fontsize=8)
        if task.source is not None:
            arrow = {**look, "arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (start, task.number), (start, task.source), arrowprops=arrow)
    axes.set_yticks(history.numbers, [f"t{number:03d}" for number in history.numbers])
    axes.set(xlabel="samples seen", title=f"{told.metrics[0]} at each end; whose weights the best has")
    return figure


def _start(told: StoredSweep, number: int, repetition: int, leg: int) -> int:
    """Samples seen where a leg began: where its own last leg ended, or that of whom it took over from."""
    if leg == 0:
        return 0
    source = told.history.tasks[number, repetition, leg].source
    return told.history.outcomes[number if source is None else source, repetition, leg - 1].seen


def parallel(told: StoredSweep, rows: Sequence[Row]) -> Figure | None:
    """One line for each configuration through its values, coloured by rank, the best on top."""
    keys = [key for key in differing([row.values for row in rows]) if told.sweep.space[key].kind != "same_as"]
    if len(rows) < 2 or not keys:
        return None
    from matplotlib import colormaps

    figure, (axes,) = _figure(1, width=2 + 1.8 * (len(keys) + 1))
    colours = colormaps["viridis"]
    for place, row in reversed(list(enumerate(rows))):
        heights = [_height(told.sweep.space[key], row.values.get(key, ...)) for key in keys]
        share = place / max(1, len(rows) - 1)
        axes.plot([*heights, 1 - share], color=colours(share), linewidth=2 if place < BEST else 1)
    axes.set_xticks(range(len(keys) + 1), [*map(_short, keys), "rank"])
    axes.set_yticks([])
    for position, (low, high) in enumerate([*(_ends(told.sweep.space[key]) for key in keys), ("worst", "best")]):
        axes.axvline(position, color="0.8", zorder=0)
        axes.text(position, 1.04, high, ha="center")
        axes.text(position, -0.08, low, ha="center")
    axes.set_ylim(-0.12, 1.1)
    axes.spines[:].set_visible(False)
    axes.set_title(", ".join(told.metrics))
    return figure


def slices(told: StoredSweep, rows: Sequence[Row]) -> Figure | None:
    """Each key against each metric; configurations left at a rung are hollow."""
    keys = [key for key in differing([row.values for row in rows]) if told.sweep.space[key].kind != "same_as"]
    if len(rows) < 2 or not keys:
        return None
    figure, many = _figure(len(keys), len(told.metrics), share=True)
    for place, axes in enumerate(many):
        metric, key = divmod(place, len(keys))
        _slice(axes, told.sweep.space[keys[key]], keys[key], rows, metric)
        axes.set(xlabel=keys[key], ylabel="" if key else told.metrics[metric])
    return figure


def _slice(axes: Axes, one: Parameter, key: str, rows: Sequence[Row], metric: int) -> None:
    for row in rows:
        if key in row.values:
            filled = "C0" if row.state == "finished" else "none"
            at = one.values.index(row.values[key]) if one.kind in LISTS else row.values[key]
            mean, spread = [(row.mean, row.spread), *row.more][metric]
            axes.errorbar([at], [float(mean or 0)], [spread or 0.0], marker="o", color="C0", markerfacecolor=filled)
    if one.kind in ("loguniform", "logint"):
        axes.set_xscale("log")
        axes.tick_params(axis="x", which="minor", labelbottom=False)
    if one.kind in LISTS:
        axes.set_xticks(range(len(one.values)), list(map(_label, one.values)))


def grids(told: StoredSweep, rows: Sequence[Row]) -> Figure | None:
    """The last samples of the best configurations side by side."""
    from PIL import Image

    shown = [(row, grid) for row in rows[:BEST] if (grid := _last_grid(told, row)) is not None]
    if not shown:
        return None
    figure, many = _figure(len(shown))
    for axes, (row, grid) in zip(many, shown, strict=True):
        axes.imshow(Image.open(io.BytesIO(grid)).convert("RGB"), aspect="equal", interpolation="nearest")
        axes.set_title(f"t{row.number:03d}: {', '.join(f'{mean:.4g}' for mean in means(vars(row)))}")
        axes.set_axis_off()
    return figure


def _last_grid(told: StoredSweep, row: Row) -> bytes | None:
    run = told.trial(row.number)
    found = [name for name in run.grids() if name.endswith(".png")]
    return run.folder.read(f"grids/{found[-1]}") if found else None


def _figure(columns: int, rows: int = 1, width: float | None = None, share: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure that no window and no global state knows of, and its axes row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width or 3 + 3 * columns, 4.5 * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharey="row" if share else False).flat)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _height(one: Parameter, value: Any) -> float:
    """Where a value lies between the ends of its key, from 0 to 1; below for a key that is left out (`...`)."""
    if value is ...:
        return -0.03
    if one.kind in LISTS:
        return one.values.index(value) / max(1, len(one.values) - 1)
    low, high = one.limits
    if one.kind in ("loguniform", "logint"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _ends(one: Parameter) -> tuple[str, str]:
    if one.kind in LISTS:
        return _label(one.values[0]), _label(one.values[-1])
    return f"{one.limits[0]:g}", f"{one.limits[1]:g}"


def _label(value: Any) -> str:
    """A value of a list in few letters; a component by its name."""
    return str(value["use"] if isinstance(value, Mapping) and "use" in value else show_value(value))[:16]


def _short(key: str) -> str:
    """The last two words of a key, one below the other."""
    return "\n".join(key.split(".")[-2:])

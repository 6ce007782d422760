"""Pictures of a sweep: the metric over samples seen, all keys beside each other, each key against the metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.spec.space import LISTS, Parameter
from gan_dist.sweeps.draw import differing
from gan_dist.sweeps.ranking import Row
from gan_dist.sweeps.report import Told
from gan_dist.sweeps.trial import curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST = 5


def draw_plots(told: Told, folder: Path) -> list[Path]:
    """Write `curves.png`, `parallel.png`, `slices.png` and `grids.png`; what cannot be drawn yet is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in told.rows() if row.mean is not None]
    made = {
        "curves": curves(told),
        "parallel": parallel(told, rows),
        "slices": slices(told, rows),
        "grids": grids(told, rows),
    }
    written = []
    for name, figure in made.items():
        if figure is not None:
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1], dpi=120)
    return written


def curves(told: Told) -> Figure | None:
    """The metric over samples seen, one line for each run; the best configurations in colour."""
    figure, (axes,) = _figure(1)
    drawn = False
    for place, row in reversed(list(enumerate(told.rows()))):
        for repetition in range(told.seeds):
            points = curve(told.trial(row.number, repetition), told.tag)
            if points:
                named = place < BEST and repetition == 0
                label = f"t{row.number:03d}" if named else None
                look: dict[str, Any] = {"color": f"C{place}"} if place < BEST else {"color": "0.7", "linewidth": 1}
                axes.plot(*zip(*points, strict=True), marker=".", label=label, **look)
                drawn = True
    axes.set_xlabel("samples seen")
    axes.set_ylabel(told.metric)
    if drawn:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], frameon=False)
    return figure if drawn else None


def parallel(told: Told, rows: Sequence[Row]) -> Figure | None:
    """One line for each configuration through its values, coloured by rank, the best on top."""
    keys = [key for key in differing([row.values for row in rows]) if told.sweep.space[key].kind != "same_as"]
    if len(rows) < 2 or not keys:
        return None
    from matplotlib import colormaps

    figure, (axes,) = _figure(1, width=2 + 1.8 * (len(keys) + 1))
    colours = colormaps["viridis"]
    for place, row in reversed(list(enumerate(rows))):
        heights = [_height(told.sweep.space[key], row.values.get(key)) for key in keys]
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
    axes.set_title(told.metric)
    return figure


def slices(told: Told, rows: Sequence[Row]) -> Figure | None:
    """Each key against the metric; configurations left at a rung are hollow."""
    keys = [key for key in differing([row.values for row in rows]) if told.sweep.space[key].kind != "same_as"]
    if len(rows) < 2 or not keys:
        return None
    figure, many = _figure(len(keys))
    for axes, key in zip(many, keys, strict=True):
        one = told.sweep.space[key]
        for row in rows:
            if key in row.values:
                filled = "C0" if row.state == "finished" else "none"
                at = one.values.index(row.values[key]) if one.kind in LISTS else row.values[key]
                mean = float(row.mean or 0.0)
                axes.errorbar([at], [mean], [row.spread or 0.0], marker="o", color="C0", markerfacecolor=filled)
        if one.kind in ("loguniform", "logint"):
            axes.set_xscale("log")
            axes.tick_params(axis="x", which="minor", labelbottom=False)
        if one.kind in LISTS:
            axes.set_xticks(range(len(one.values)), [str(value)[:16] for value in one.values])
        axes.set_xlabel(key)
    many[0].set_ylabel(told.metric)
    return figure


def grids(told: Told, rows: Sequence[Row]) -> Figure | None:
    """The last samples of the best configurations side by side."""
    from PIL import Image

    shown = [(row, path) for row in rows[:BEST] if (path := _last_grid(told, row)) is not None]
    if not shown:
        return None
    figure, many = _figure(len(shown))
    for axes, (row, path) in zip(many, shown, strict=True):
        axes.imshow(Image.open(path).convert("RGB"), aspect="equal", interpolation="nearest")
        axes.set_title(f"t{row.number:03d}: {row.mean:.4g}")
        axes.set_axis_off()
    return figure


def _last_grid(told: Told, row: Row) -> Path | None:
    folder = told.trial(row.number).folder.local
    found = sorted(path for path in (folder / "grids").glob("*.png") if path.stem != "real") if folder else []
    return found[-1] if found else None


def _figure(count: int, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """A figure that no window and no global state knows of."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width or 3 + 3 * count, 4.5), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=True)[0])


def _height(one: Parameter, value: Any) -> float:
    """Where a value lies between the ends of its key, from 0 to 1; below for a key that is left out."""
    import math

    if value is None:
        return -0.03
    if one.kind in LISTS:
        return one.values.index(value) / max(1, len(one.values) - 1)
    low, high = one.limits
    if one.kind in ("loguniform", "logint"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _ends(one: Parameter) -> tuple[str, str]:
    if one.kind in LISTS:
        return str(one.values[0])[:16], str(one.values[-1])[:16]
    return f"{one.limits[0]:g}", f"{one.limits[1]:g}"


def _short(key: str) -> str:
    """The last two words of a key, one below the other."""
    return "\n".join(key.split(".")[-2:])

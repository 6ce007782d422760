"""Curves as PNG files, and pages: HTML files that open without a network, with pictures inside and no scripts."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

Corner = Literal["right, down", "left, down", "right, up", "left, up"]
Line = tuple[Sequence[float], Sequence[float]]
WIDTH, HEIGHT, DPI = 6.0, 4.2, 120
_CORNERS: dict[str, tuple[float, float]] = {
    "right, down": (0.97, 0.03),
    "left, down": (0.03, 0.03),
    "right, up": (0.97, 0.97),
    "left, up": (0.03, 0.97),
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x, y: what they are of.
        lines: x and y of each curve by its name.
        dots: single points by their names.
        title: above them.
        style: of the lines, `.-` to see a curve of one point too.
        marks: a word at each point of a curve, by its name.
        better: the corner in which the better points lie, as `right, down`; empty where neither is.
    """

    x: str
    y: str
    lines: Mapping[str, Line]
    dots: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    title: str = ""
    style: Literal["-", ".-"] = "-"
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    better: Corner | Literal[""] = ""


def render_png(panels: Sequence[Panel]) -> bytes:
    """Panels side by side as a PNG file's content."""
    # Without pyplot, which would choose a window system and keep every figure.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
    titles = list(dict.fromkeys(panel.title for panel in panels))
    if len(titles) == 1:  # above all of them, where beside each other they would overlap
        figure.suptitle(titles[0])
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, (xs, ys) in panel.lines.items():
            axes.plot(xs, ys, panel.style, label=name)
            for mark, x, y in zip(panel.marks.get(name, ()), xs, ys, strict=False):
                axes.annotate(mark, (x, y), (3, 3), textcoords="offset points", fontsize=7)
        for name, (x, y) in panel.dots.items():
            axes.plot([x], [y], "*", markersize=12, label=name)
        axes.set(xlabel=panel.x, ylabel=panel.y, title=panel.title if len(titles) > 1 else "")
        if panel.better:
            axes.annotate(
                "better",
                _CORNERS[panel.better],
                tuple(0.5 + (at - 0.5) * 0.72 for at in _CORNERS[panel.better]),
                xycoords="axes fraction",
                arrowprops={"arrowstyle": "->", "color": "0.5"},
                color="0.5",
            )
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def page(template: str, **values: Any) -> str:
    """The whole file, of a template in the folder beside this; what the values say is escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("gan_dist.evaluation.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["data_uri"] = _data_uri
    return found


def _data_uri(content: bytes) -> str:
    """A PNG file's content as the address of a picture."""
    return f"data:image/png;base64,{b64encode(content).decode()}"

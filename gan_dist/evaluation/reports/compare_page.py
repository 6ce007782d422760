"""A comparison as one HTML file that opens without a network: pictures are inside, and there are no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from gan_dist.data.encoding.image import encode_png
from gan_dist.evaluation.reports.compare import Comparison
from gan_dist.evaluation.reports.html import lines, page, picture, table
from gan_dist.generation.samples import Sheet


def html(found: Comparison) -> str:
    """The whole file."""
    samples = "".join(
        f"<div><h3>{escape(run)}</h3>{_sheet(one)}</div>" for run, one in zip(found.runs, found.sheets, strict=True)
    )
    body = f"""<h2>Results</h2>{_table(found.runs, found.results)}
<h2>What differs in the jobs</h2>{_table(found.runs, found.jobs)}
<h2>Curve</h2>{picture(found.curve)}
<h2>Samples on noise of one seed</h2><div class="samples">{samples}</div>"""
    return page(" / ".join(found.runs), body)


def _table(runs: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    return table(("", *runs), [(key, *values) for key, values in rows.items()])


def _sheet(one: Sheet) -> str:
    return lines(one) if isinstance(one, list) else picture(encode_png(one))

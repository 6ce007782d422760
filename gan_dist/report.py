"""A comparison as one HTML file that opens without a network: pictures are inside, and there are no scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from gan_dist.compare import Comparison
from gan_dist.modalities.image import png
from gan_dist.samples import Sheet

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #ddd; padding: .3rem .8rem; text-align: left }
img { max-width: 100% } .samples { display: flex; flex-wrap: wrap; gap: 1.5rem } .samples > div { flex: 1 1 340px }
pre { white-space: pre-wrap; font-size: 13px }
"""


def html(found: Comparison) -> str:
    """The whole file."""
    samples = "".join(
        f"<div><h3>{escape(run)}</h3>{_sheet(one)}</div>" for run, one in zip(found.runs, found.sheets, strict=True)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(" / ".join(found.runs))}</title>
<style>{STYLE}</style></head><body>
<h1>{escape(" / ".join(found.runs))}</h1>
<h2>Results</h2>{_table(found.runs, found.results)}
<h2>What differs in the jobs</h2>{_table(found.runs, found.jobs)}
<h2>Curve</h2>{_picture(found.curve)}
<h2>Samples on noise of one seed</h2><div class="samples">{samples}</div>
</body></html>
"""


def _table(runs: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [("", *runs), *((key, *values) for key, values in rows.items())]
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in lines]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"


def _sheet(one: Sheet) -> str:
    return f"<pre>{escape(chr(10).join(one))}</pre>" if isinstance(one, list) else _picture(png(one))


def _picture(content: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{b64encode(content).decode()}">'

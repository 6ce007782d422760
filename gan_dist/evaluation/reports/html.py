"""Parts of an HTML file that opens without a network: pictures are inside, and there are no scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #ddd; padding: .3rem .8rem; text-align: left }
img { max-width: 100% } .samples { display: flex; flex-wrap: wrap; gap: 1.5rem } .samples > div { flex: 1 1 340px }
pre { white-space: pre-wrap; font-size: 13px }
"""


def page(title: str, body: str) -> str:
    """The whole file."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{body}
</body></html>
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Words in rows under a head."""
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in rows]
    first = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in (first, *cells)) + "</table>"


def lines(words: Iterable[str]) -> str:
    """Text as it is written, line by line."""
    return f"<pre>{escape(chr(10).join(words))}</pre>"


def picture(content: bytes) -> str:
    """A PNG file's content, inside the page."""
    return f'<img alt="" src="data:image/png;base64,{b64encode(content).decode()}">'

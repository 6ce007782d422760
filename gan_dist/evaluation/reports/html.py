"""HTML files that open without a network: pictures are inside, and there are no scripts."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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

"""Whether what a job names of its data is on this machine, before anything is read."""

from __future__ import annotations

from gan_dist.data.downloads import resolve_download
from gan_dist.data.source import explain_unreachable
from gan_dist.data.text.builtin import built_in_text
from gan_dist.data.text.corpus import read_first_sentence
from gan_dist.errors import DataError
from gan_dist.runs.storage import is_uri, locate
from gan_dist.spec.data import (
    BUILT_IN,
    BUILT_IN_TEXTS,
    ORACLE,
    DataSpec,
    PairData,
    TextData,
    UnpairedData,
    is_own_data,
)
from gan_dist.spec.fields import HELD


def missing_data(data: DataSpec) -> list[str]:
    """What is not here, a text for each key of `data` that names it, with the command that gets it where there is one.

    Remote storage is not asked, nor are data sets of torchvision and a person's own.
    """
    named = {"source": data.source}
    if isinstance(data, PairData) and data.inputs is not None and not data.of_itself:
        named["inputs"] = data.inputs
    if isinstance(data, UnpairedData) and data.target is not None:
        named["target"] = data.target
    if isinstance(data, TextData):
        named |= {held: file for held in HELD if isinstance(file := getattr(data, held), str)}
    missing = [text for key, where in named.items() if (text := _missing(f"data.{key}", where))]
    return missing or _missing_columns(data)


def _missing_columns(data: DataSpec) -> list[str]:
    """What a text's table lacks; remote ones are not read."""
    if not isinstance(data, TextData) or data.from_oracle or data.source in BUILT_IN_TEXTS:
        return []
    if is_own_data(data.source) or is_uri(data.source):
        return []
    try:
        read_first_sentence(data)
    except DataError as error:
        return [str(error)]
    return []


def _missing(key: str, where: str) -> str:
    try:
        if where in BUILT_IN_TEXTS:
            built_in_text(where)
            return ""
        found = resolve_download(where, key).removeprefix(f"{ORACLE}:")
        if found in BUILT_IN or found.startswith("torchvision:") or is_own_data(found) or is_uri(found):
            return ""
        with explain_unreachable(found, key):
            locate(found)
    except DataError as error:
        return str(error)
    return ""

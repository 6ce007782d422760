"""What is wrong with a person's own data set in a job, read from its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_dist.registry.argument_types import explain_mismatch
from gan_dist.registry.signatures import read_signature
from gan_dist.spec.data import is_own_data
from gan_dist.spec.problems import Keys, unknown_key

Roots = Sequence[str | Path]


def check_data(tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[Keys, str]]:
    """(keys, message) of all that is wrong with a job's `source` and `args`, which may be plain values."""
    data = tree.get("data")
    written: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    source, args = written.get("source"), written.get("args")
    args = args if isinstance(args, Mapping) else {}
    if not isinstance(source, str) or not is_own_data(source):
        if args:
            yield ("data", "args"), "only your own data set, `package.module:Name`, takes arguments; remove this key"
    elif written.get("modality") == "pair":
        yield ("data", "source"), f"'{source}' is your own data set, which gives images or text, but no pairs"
    else:
        for key, text in check_arguments(source, args, roots):
            yield ("data", "source") if key == "source" else ("data", "args", key), text


def check_arguments(source: str, args: Mapping[str, Any], roots: Roots = ()) -> list[tuple[str, str]]:
    """(argument, message) for all that is wrong with a data set's arguments; "source" where its name is."""
    try:
        takes = read_signature(source, roots)
    except ValueError as error:
        return [("source", str(error))]
    params = {param.name: param for param in takes.params}
    found = []
    for key, value in args.items():
        if key in params:
            text = explain_mismatch(params[key].annotation, value)
        else:
            text = None if takes.open else unknown_key(key, params)
        if text:
            found.append((key, text))
    for param in takes.params:
        if param.required and param.name not in args:
            meaning = f": {param.doc}" if param.doc else ""
            found.append((param.name, f"'{source}' needs this argument{meaning}"))
    return found

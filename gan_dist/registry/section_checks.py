"""What is wrong with the `optimizer` and `data` sections of a job, which may be plain values that have other faults
too.

An optimiser or a data set that is not ours is read from source as every component is: names and types of its arguments,
and whether a step of the optimiser needs a closure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gan_dist.data.downloads import parse_download
from gan_dist.errors import DataError
from gan_dist.registry.argument_types import explain_mismatch
from gan_dist.registry.python_source import find_definition, read_module
from gan_dist.registry.signatures import Param, Signature, read_signature
from gan_dist.spec.data import DOWNLOAD, is_own_data
from gan_dist.spec.fields import HELD, is_own_name
from gan_dist.spec.problems import Keys, show_value, unknown_key
from gan_dist.spec.schedules import is_schedule
from gan_dist.spec.sections import OURS, OptimizerSpec, as_argument, laid_on

Roots = Sequence[str | Path]
Told = Iterator[tuple[Keys, str]]

OF_THE_LOOP = ("use", "warmup", "clip")  # which the optimiser itself never sees
CLOSURE = "needs a closure that computes the loss again, several times in a step; an iteration here computes it once"


class _Place(NamedTuple):
    """A section as it is written, and with what it takes from the job."""

    keys: Keys
    written: Mapping[str, Any]
    whole: Mapping[str, Any]


def check_optimizers(tree: Mapping[str, Any], roots: Roots) -> Told:
    """(keys, message) of all that is wrong."""
    networks = tree.get("networks")
    names = ["generator", "discriminator"] if tree.get("discriminator") else ["generator"]
    names += networks if isinstance(networks, Mapping) else ()
    places = _places(tree)
    for place in places:
        use = place.whole.get("use", OURS[0])
        if use in OURS or not isinstance(use, str) or not is_own_name(use):
            yield from _unknown_networks(place, [*OptimizerSpec.model_fields, *names], names)
        else:
            yield from _check_other(place, use, names, roots)
    yield from _differing(places, tree)


def check_optimizer_arguments(use: str, args: Mapping[str, Any], roots: Roots = ()) -> list[tuple[str, str]]:
    """(argument, message) for all that is wrong with an optimiser's arguments; "use" where its name is, or where it
    cannot be stepped here."""
    try:
        takes = optimizer_signature(use, roots)
    except ValueError as error:
        return [("use", str(error))]
    return [*_wrong_class(use, takes, roots), *_wrong_values(args, takes, [])]


def optimizer_signature(use: str, roots: Roots = ()) -> Signature:
    """What an optimiser takes beside the parameters. Raises ValueError where there is none of that name."""
    takes = read_signature(use, roots)
    return takes._replace(params=takes.params[1:])


def _places(tree: Mapping[str, Any]) -> list[_Place]:
    """The job's section, and those of stages that have their own."""
    job = tree.get("optimizer")
    shared: Mapping[str, Any] = job if isinstance(job, Mapping) else {}
    own = [
        _Place(("stages", number, "optimizer"), written, laid_on(shared, written))
        for number, stage in enumerate(_stages(tree))
        if isinstance(stage, Mapping) and isinstance(written := stage.get("optimizer"), Mapping)
    ]
    return [_Place(("optimizer",), shared, shared), *own]


def _stages(tree: Mapping[str, Any]) -> Sequence[Any]:
    stages = tree.get("stages")
    return stages if isinstance(stages, list | tuple) else ()


def _differing(places: Sequence[_Place], tree: Mapping[str, Any]) -> Told:
    """Stages with another optimiser than that of the first. The job's own counts where a stage takes it."""
    trained = places[1:] if len(places) > 1 and len(places) - 1 == len(_stages(tree)) else places
    first = trained[0].whole.get("use", OURS[0])
    for place in trained[1:]:
        if (use := place.whole.get("use", OURS[0])) != first:
            yield (
                (*place.keys, "use"),
                f"{show_value(use)}, but {show_value(first)} before; all stages have the same optimiser",
            )


def _unknown_networks(place: _Place, allowed: Sequence[str], names: Sequence[str]) -> Told:
    for key, value in place.written.items():
        if isinstance(value, Mapping) and key not in OptimizerSpec.model_fields and key not in names:
            yield (*place.keys, key), unknown_key(key, allowed)


def _check_other(place: _Place, use: str, names: Sequence[str], roots: Roots) -> Told:
    try:
        takes = optimizer_signature(use, roots)
    except ValueError as error:
        yield (*place.keys, "use"), str(error)
        return
    for key, text in _wrong_class(use, takes, roots):
        yield (*place.keys, key), text
    shared = _arguments(place.written, names)
    for key, text in _wrong_values(shared, takes, names):
        yield (*place.keys, key), text
    for name in names:
        own = place.written.get(name)
        for key, text in _wrong_values(_arguments(own, ()), takes, []) if isinstance(own, Mapping) else ():
            yield (*place.keys, name, key), text
    of_each = [{"lr", *_arguments(place.whole, names), *_arguments(place.whole.get(name), ())} for name in names]
    for param in takes.params:
        if param.required and not all(param.name in given for given in of_each):
            yield (*place.keys, param.name), _missing(param, use)


def _arguments(section: Any, networks: Sequence[str]) -> dict[str, Any]:
    """What a section gives to the optimiser itself."""
    written = section if isinstance(section, Mapping) else {}
    return {key: value for key, value in written.items() if key not in OF_THE_LOOP and key not in networks}


def _wrong_class(use: str, takes: Signature, roots: Roots) -> Iterator[tuple[str, str]]:
    if not takes.open and "lr" not in {param.name for param in takes.params}:
        yield "use", f"'{use}' takes no 'lr', by which an optimiser is driven here"
    if _needs_closure(use, roots):
        yield "use", f"'{use}' {CLOSURE}"


def _wrong_values(args: Mapping[str, Any], takes: Signature, networks: Sequence[str]) -> Iterator[tuple[str, str]]:
    params = {param.name: param for param in takes.params}
    for key, value in args.items():
        if key not in params and (not takes.open or _is_network(value)):
            yield key, unknown_key(key, [*params, "warmup", "clip", *networks])
        elif key in params:
            try:
                text = explain_mismatch(params[key].annotation, as_argument(value))
            except ValueError as error:
                text = str(error)
            if text:
                yield key, text


def _is_network(value: Any) -> bool:
    return isinstance(value, Mapping) and not is_schedule(value)


def _missing(param: Param, use: str) -> str:
    meaning = f": {param.doc}" if param.doc else ""
    return f"'{use}' needs this argument{meaning}"


def _needs_closure(use: str, roots: Roots) -> bool:
    """Whether the class's own `step` has an argument without a default."""
    module, _, name = use.partition(":")
    node = find_definition(read_module(module, roots), name, roots).node
    for one in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(one, ast.FunctionDef) and one.name == "step":
            return len(one.args.args) - 1 > len(one.args.defaults)
    return False


def check_data(tree: Mapping[str, Any], roots: Roots) -> Iterator[tuple[Keys, str]]:
    """(keys, message) of all that is wrong with a job's `source` and `args`, which may be plain values."""
    data = tree.get("data")
    written: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    for key in ("source", *HELD):
        if isinstance(named := written.get(key), str) and named.startswith(DOWNLOAD):
            try:
                parse_download(named)
            except DataError as error:
                yield ("data", key), str(error)
    source, args = written.get("source"), written.get("args")
    args = args if isinstance(args, Mapping) else {}
    if not isinstance(source, str) or not is_own_data(source):
        if args:
            yield ("data", "args"), "only your own data set, `package.module:Name`, takes arguments; remove this key"
    elif written.get("modality") in ("pair", "unpaired"):
        lacks = "pairs" if written["modality"] == "pair" else "two domains"
        yield ("data", "source"), f"'{source}' is your own data set, which gives images or text, but no {lacks}"
    else:
        for key, text in check_data_arguments(source, args, roots):
            yield ("data", "source") if key == "source" else ("data", "args", key), text


def check_data_arguments(source: str, args: Mapping[str, Any], roots: Roots = ()) -> list[tuple[str, str]]:
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

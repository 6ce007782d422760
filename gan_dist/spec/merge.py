"""How one job builds on another: `extends`, and `-o key=value` on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gan_dist.errors import JobError
from gan_dist.spec.problems import Keys, Origin, Problem, dotted_key
from gan_dist.spec.schedules import is_schedule
from gan_dist.spec.yaml import OVERRIDE, Document, near_file, parse_value, read_document

EXTENDS = "extends"
SPACE = ("sweep", "space")  # below it, a dotted key of the job is one key


def read_job_file(path: Path, _chain: tuple[Path, ...] = ()) -> Document:
    """A job file with everything it `extends` merged under it. Raises JobError."""
    document = read_document(path)
    if EXTENDS not in document.value:
        return document
    base = _base_file(path, document, (*_chain, path.resolve()))
    value = {key: inner for key, inner in document.value.items() if key != EXTENDS}
    origins = {place: origin for place, origin in document.origins.items() if place[:1] != (EXTENDS,)}
    return merge_documents(read_job_file(base, (*_chain, path.resolve())), Document(value, origins))


def merge_documents(base: Document, over: Document) -> Document:
    """`over` laid on `base`: deep, but lists, and mappings of another `use` or schedule kind, replace.

    Raises:
        JobError: an override addresses a list element that is not there.
    """
    replaced: set[Keys] = set()
    problems: list[Problem] = []
    moved: dict[Keys, Keys] = {}

    def lay(old: Any, new: Any, path: Keys, written: Keys) -> Any:
        moved[written] = path
        if isinstance(old, list) and _addresses_elements(new):
            return lay_elements(old, new, path, written)
        of_space = path[:2] == SPACE and len(path) == 3
        if not isinstance(old, dict) or not isinstance(new, dict) or _other_kind(old, new) or of_space:
            replaced.add(path)
            return new
        merged = dict(old)
        for key, value in new.items():
            merged[key] = lay(old[key], value, (*path, key), (*written, key)) if key in old else value
        return merged

    def lay_elements(old: list[Any], new: dict[str, Any], path: Keys, written: Keys) -> list[Any]:
        merged = list(old)
        for key, value in new.items():
            if int(key) < len(old):
                merged[int(key)] = lay(old[int(key)], value, (*path, int(key)), (*written, key))
            else:
                place = over.origins.get((*written, key), Origin(None, None))
                message = f"there is no element {key}; the list has {len(old)}, counted from 0"
                problems.append(Problem(*place, dotted_key(path), message))
        return merged

    value = lay(base.value, over.value, (), ())
    if problems:
        raise JobError(problems)
    kept = {place: origin for place, origin in base.origins.items() if not _is_under(place, replaced)}
    laid = {_moved(place, moved): origin for place, origin in over.origins.items() if place}
    return Document(value, {**kept, **laid})


def overrides_document(overrides: Iterable[str] | Mapping[str, Any]) -> Document:
    """All overrides as one tree, so that their order matters only where two set the same key (the last wins).

    Args:
        overrides: `["optimizer.lr=1e-4", ...]` as on the command line, or `{"optimizer.lr": 1e-4, ...}`.

    Raises:
        JobError: an override without `=`, or whose value is not valid YAML.
    """
    pairs = list(overrides.items()) if isinstance(overrides, Mapping) else _parsed(overrides)
    tree: dict[str, Any] = {}
    for key, value in pairs:
        _set(tree, _parts(key), value)
    return Document(tree, dict(_override_origins(tree, ())))


def _base_file(path: Path, document: Document, chain: tuple[Path, ...]) -> Path:
    origin, name = document.origins[(EXTENDS,)], document.value[EXTENDS]
    if not isinstance(name, str) or not name:
        raise JobError([Problem(*origin, EXTENDS, "must be the path of one job file, relative to this one")])
    base = path.parent / name
    if base.resolve() in chain:
        circle = " -> ".join(link.name for link in (*chain, base))
        raise JobError([Problem(*origin, EXTENDS, f"goes in a circle: {circle}")])
    if not base.is_file():
        raise JobError([Problem(*origin, EXTENDS, f"no such file '{base}'{near_file(base)}")])
    return base


def _other_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` names another component or kind of schedule: the old arguments mean nothing to it."""
    if "use" in old and "use" in new:
        return bool(old["use"] != new["use"])
    return is_schedule(old) and is_schedule(new) and old.keys() != new.keys()


def _addresses_elements(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(key.isdecimal() for key in value)


def _is_under(place: Keys, replaced: set[Keys]) -> bool:
    return any(place[:length] in replaced for length in range(len(place) + 1))


def _moved(place: Keys, moved: Mapping[Keys, Keys]) -> Keys:
    """Where a written path ended: `("penalties", "0", "gamma")` at `("penalties", 0, "gamma")`."""
    known = next(place[:length] for length in range(len(place), -1, -1) if place[:length] in moved)
    return (*moved[known], *place[len(known) :])


def _parsed(overrides: Iterable[str]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    problems: list[Problem] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            message = f"'{text}' is no override; write key=value, such as optimizer.lr=1e-4"
            problems.append(Problem(OVERRIDE, None, "", message))
            continue
        try:
            pairs.append((key.strip(), parse_value(value)))
        except ValueError as error:
            problems.append(Problem(OVERRIDE, None, key.strip(), str(error)))
    if problems:
        raise JobError(problems)
    return pairs


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    return parts if tuple(parts[:2]) != SPACE or len(parts) < 4 else [*SPACE, ".".join(parts[2:])]


def _set(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def _override_origins(value: Any, path: Keys) -> Iterable[tuple[Keys, Origin]]:
    yield path, Origin(OVERRIDE, None)
    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from _override_origins(child, (*path, key))


def merge_values(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`merge_documents` of plain mappings, for which nobody asks where a value came from."""
    return merge_documents(Document(base, {}), Document(over, {})).value

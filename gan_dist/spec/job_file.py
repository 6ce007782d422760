"""Reading a job file: YAML 1.2 with the file and line of every key, `extends`, and `-o key=value`.

The parser is ruamel's; what its events mean is decided here, because YAML libraries differ in exactly the
places that hurt a job file: `2e-4` must be a number, `no` must be a word, tags must not build objects, and a
few lines of aliases must not become a billion values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from gan_dist.errors import JobError
from gan_dist.spec.problems import NOWHERE, Keys, Origin, Problem, dotted_key, nearest_name, show_value
from gan_dist.spec.schedules import is_schedule
from gan_dist.spec.secrets import holds_credentials, redact

MAX_BYTES = 256_000
MAX_VALUES = 20_000
MAX_DEPTH = 100
MAX_BRACKETS = 1000  # open at a time, those in quotes and comments counted too
LARGEST_NUMBER = 10**300  # a float holds it
OVERRIDE = "-o"
MERGE_KEY = "<<"

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_OCTAL = re.compile(r"0o[0-7]{1,300}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # zeros, and halves of characters
_BRACKET = re.compile(r"[\[\]{}]")
_INFINITY = re.compile(r"([-+]?)(\.inf|\.Inf|\.INF)")


class Document(NamedTuple):
    """A file's values, and where each was written."""

    value: dict[str, Any]
    origins: dict[Keys, Origin]


def read_document(path: Path) -> Document:
    """The mapping in a YAML file. Raises JobError with everything wrong in it."""
    reader = _Reader(str(path))
    value = reader.read(_text(path))
    if not isinstance(value, dict):
        kind = "empty" if value is None else "no mapping of keys"
        raise JobError([Problem(str(path), 1, "", f"is {kind}; a job is written as `key: value` lines")])
    return Document(value, reader.origins)


def parse_value(text: str) -> Any:
    """The value of an override, `[0.0, 0.9]` or `{cosine: {...}}`, by the same rules. Raises ValueError."""
    try:
        return _Reader(OVERRIDE).read(text)
    except JobError as error:
        raise ValueError("; ".join(problem.message for problem in error.problems)) from None


def scalar(text: str) -> Any:
    """An unquoted scalar by YAML 1.2's core rules; `yes`, `no`, `on`, `off` and `64k` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITY.fullmatch(text):
        return float(f"{match[1]}inf")
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise JobError([Problem(str(path), None, "", f"no such file{near_file(path)}")]) from None
    except IsADirectoryError:
        raise JobError([Problem(str(path), None, "", "is a folder, not a job file")]) from None
    except (OSError, ValueError) as error:
        raise JobError([Problem(str(path), None, "", f"cannot be read: {_why(error)}")]) from None
    if len(data) > MAX_BYTES:
        raise JobError([Problem(str(path), None, "", f"is larger than {MAX_BYTES:,} bytes; no job file")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise JobError([Problem(str(path), line, "", "is not UTF-8 text")]) from None


def _why(error: Exception) -> str:
    """What a system call says of a path that it cannot follow, without the path."""
    return getattr(error, "strerror", None) or str(error)


def near_file(path: Path) -> str:
    """The tail of a message about a missing file: the nearest name in its folder."""
    if not os.path.isdir(path.parent):
        return f" (there is no folder {path.parent})"
    # By stems: a shared ending makes no names alike. Of files with one stem, YAML is meant.
    files = sorted((one for one in path.parent.iterdir() if one.is_file()), key=lambda one: one.suffix == ".yaml")
    by_stem = {one.stem: one.name for one in files}
    near = nearest_name(path.stem, by_stem)
    return f"; did you mean '{path.parent / by_stem[near]}'?" if near else ""


class _Node(NamedTuple):
    """One value as written: a scalar's text, a list's items, or a mapping's (key, value) pairs by key."""

    line: int
    content: str | list[_Node] | dict[str, tuple[_Node, _Node]]
    quoted: bool = False


class _Reader:
    """Events to nodes, nodes to values. Problems are collected, so that all are reported together."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.origins: dict[Keys, Origin] = {}
        self._problems: list[Problem] = []
        self._anchors: dict[str, _Node | None] = {}  # None while its node is still being read
        self._nodes = 0
        self._values = 0

    def read(self, text: str) -> Any:
        """The value of the one document in `text`; None when there is none. Raises JobError."""
        try:
            root = self._document(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            words = ", ".join(part for part in (error.context, error.problem) if part)
            self._stop(mark.line if mark else None, f"not valid YAML: {words}")
        except JobError:
            raise
        except Exception as error:  # the parser raises what Python says of its numbers too
            self._stop(None, f"not valid YAML: {' '.join(str(error).split())}")
        value = None if root is None else self._plain(root, ())
        if self._problems:
            raise JobError(self._problems)
        return value

    def _document(self, text: str) -> _Node | None:
        self._check_brackets(text)
        events = iter(YAML(typ="safe", pure=True).parse(text))
        root: _Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event.start_mark.line, "several documents in one file; a job is one document")
            elif isinstance(event, NodeEvent):
                root = self._node(event, events, 0)
        return root

    def _check_brackets(self, text: str) -> None:
        """Refuse what the parser would take minutes for: it looks at all open brackets at each of its tokens."""
        depth = 0
        for found in _BRACKET.finditer(text):
            depth += 1 if found.group() in "[{" else -1
            if depth > MAX_BRACKETS:
                self._stop(text.count("\n", 0, found.start()), f"nested deeper than {MAX_DEPTH} levels")

    def _node(self, event: NodeEvent, events: Iterator[Event], depth: int) -> _Node:
        line = event.start_mark.line
        self._nodes += 1
        if self._nodes > MAX_VALUES:
            self._stop(line, f"more than {MAX_VALUES:,} values; no job file is that long")
        if depth > MAX_DEPTH:
            self._stop(line, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, line)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._add(line, f"tag {_short(tag)}: tags that build objects are not allowed; remove it")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = _Node(line, self._content(event, events, depth), bool(getattr(event, "style", None)))
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _content(
        self, event: Event, events: Iterator[Event], depth: int
    ) -> str | list[_Node] | dict[str, tuple[_Node, _Node]]:
        if isinstance(event, ScalarEvent):
            return str(event.value)
        if isinstance(event, MappingStartEvent):
            return self._pairs(events, depth)
        assert isinstance(event, SequenceStartEvent)
        items = []
        while isinstance(item := next(events), NodeEvent):
            items.append(self._node(item, events, depth + 1))
        return items

    def _pairs(self, events: Iterator[Event], depth: int) -> dict[str, tuple[_Node, _Node]]:
        pairs: dict[str, tuple[_Node, _Node]] = {}
        while isinstance(key_event := next(events), NodeEvent):
            key = self._node(key_event, events, depth + 1)
            value_event = next(events)
            assert isinstance(value_event, NodeEvent)
            value = self._node(value_event, events, depth + 1)
            if not isinstance(key.content, str):
                self._add(key.line, "a key must be a word, not a list or mapping")
            elif key.content == MERGE_KEY:
                self._add(key.line, "merge keys (<<) are not supported; use `extends: base.yaml`")
            elif key.content in pairs:
                first = pairs[key.content][0].line + 1
                self._add(key.line, f"key '{key.content}' is given twice (first on line {first})")
            else:
                pairs[key.content] = (key, value)
        return pairs

    def _alias(self, anchor: str, line: int) -> _Node:
        if anchor not in self._anchors:
            self._stop(line, f"alias *{anchor} names nothing; no &{anchor} comes before it")
        node = self._anchors[anchor]
        if node is None:
            self._stop(line, f"alias *{anchor} contains itself")
        return node

    def _plain(self, node: _Node, path: Keys, key_line: int | None = None) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            self._stop(node.line, f"more than {MAX_VALUES:,} values once its aliases are followed")
        self.origins[path] = Origin(self.file, (node.line if key_line is None else key_line) + 1)
        if isinstance(node.content, str):
            return node.content if node.quoted else scalar(node.content)
        if isinstance(node.content, list):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.content)]
        return {name: self._plain(value, (*path, name), key.line) for name, (key, value) in node.content.items()}

    def _add(self, line: int | None, message: str) -> None:
        self._problems.append(Problem(self.file, None if line is None else line + 1, "", message))

    def _stop(self, line: int | None, message: str) -> NoReturn:
        self._add(line, message)
        raise JobError(self._problems)


def unusable_values(document: Document) -> list[Problem]:
    """Every value and key of a document, wherever it came from, that no file holds, that JSON does not carry, or that
    is nobody's business."""
    found: list[Problem] = []

    def look(value: Any, at: Keys) -> None:
        if message := _unusable(value):
            found.append(Problem(*document.origins.get(at, NOWHERE), dotted_key(at), message))
        elif len(at) > MAX_DEPTH:
            found.append(Problem(None, None, dotted_key(at[:3]), f"nested deeper than {MAX_DEPTH} levels"))
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if message := _unusable(key) if isinstance(key, str) else "a key must be a word":
                    found.append(Problem(None, None, dotted_key((*at, repr(key))), message))
                else:
                    look(inner, (*at, key))
        elif isinstance(value, list | tuple):
            for number, inner in enumerate(value):
                look(inner, (*at, number))

    look(document.value, ())
    return found


def _unusable(value: Any) -> str:
    """Why a job does not hold this value; empty where it may."""
    if isinstance(value, str) and (odd := _NO_TEXT.search(value)):
        return f"{show_value(value)} holds U+{ord(odd.group()):04X}, which is no character of a text; remove it"
    if isinstance(value, str) and holds_credentials(value):
        return (
            f"{redact(value)!r} holds a password or token, which every record of the run would show; leave it out, and "
            "name the variable that holds it in environment.env"
        )
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        return f"is a number of more than {len(str(LARGEST_NUMBER)) - 1} digits"
    return ""


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


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
    try:
        resolved = base.resolve()
        base.stat()
    except FileNotFoundError:
        raise JobError([Problem(*origin, EXTENDS, f"no such file '{base}'{near_file(base)}")]) from None
    except (OSError, ValueError, RuntimeError) as error:  # names too long, with a zero, or links in a circle
        raise JobError([Problem(*origin, EXTENDS, f"{show_value(name)} cannot be read: {_why(error)}")]) from None
    if resolved in chain:
        circle = " -> ".join(link.name for link in (*chain, base))
        raise JobError([Problem(*origin, EXTENDS, f"goes in a circle: {circle}")])
    if not base.is_file():
        raise JobError([Problem(*origin, EXTENDS, f"'{base}' is no file{near_file(base)}")])
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

"""YAML 1.2 as plain dicts, lists and scalars, with the file and line of every key.

The parser is ruamel's; what its events mean is decided here, because YAML libraries differ in exactly the
places that hurt a job file: `2e-4` must be a number, `no` must be a word, tags must not build objects, and a
few lines of aliases must not become a billion values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
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
from gan_dist.spec.problems import Keys, Origin, Problem, nearest_name

MAX_BYTES = 256_000
MAX_VALUES = 20_000
MAX_DEPTH = 100
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
    except OSError as error:
        raise JobError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_BYTES:
        raise JobError([Problem(str(path), None, "", f"is larger than {MAX_BYTES:,} bytes; no job file")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise JobError([Problem(str(path), line, "", "is not UTF-8 text")]) from None


def near_file(path: Path) -> str:
    """The tail of a message about a missing file: the nearest name in its folder."""
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    near = nearest_name(path.name, (other.name for other in path.parent.iterdir() if other.is_file()))
    return f"; did you mean '{path.parent / near}'?" if near else ""


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
        except YAMLError as error:
            self._stop(None, f"not valid YAML: {' '.join(str(error).split())}")
        value = None if root is None else self._plain(root, ())
        if self._problems:
            raise JobError(self._problems)
        return value

    def _document(self, text: str) -> _Node | None:
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


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")

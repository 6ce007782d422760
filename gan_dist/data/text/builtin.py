"""Text without files of the user: sentences of Python's own manual, and the one-liners of the package `pyjokes`."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from gan_dist.data.source import Part, RawSample
from gan_dist.data.text.file_formats import Sentence
from gan_dist.errors import DataError, DataNotFound
from gan_dist.spec.data import JOKES, MANUAL

KIND = "built-in text"
_BLANK_LINES = re.compile(r"\n\s*\n")
_RULE = re.compile(r"(\W)\1{2,}")  # under a heading
_ITEM = re.compile(r"([*•-]|\w{1,3}\.|\[\d+\]|>>>|\.\.\.)(\s|$)")
_INDENTS = ({0}, {3})  # of the manual's prose: its own, and that of what a function or method does
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})([^*\s](?:[^*]*[^*\s])?)\1(?![\w*])")
_QUOTED_NAME = re.compile(r'"([A-Za-z_][\w.]*)(?:\(\))?"')
_FOOTNOTE = re.compile(r"\s*\[\d+\]")
_BETWEEN_SENTENCES = re.compile(r"(?<=[a-z0-9_)”][.?!])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[“(A-Z])")
_PROSE = re.compile(r"[A-Z][\w ,;:'\u2019()“”./\u2013—-]*[.?!]", re.ASCII)
_OF_A_VERSION = re.compile(r"(New|Changed|Added|Deprecated) (in|since) version")
LEAST_WORDS, MOST_WORDS = 5, 40


class BuiltInText(NamedTuple):
    """Sentences in canonical order. `origin` says which they are: other versions hold other sentences."""

    origin: str
    sentences: tuple[str, ...]

    def each(self) -> Iterator[Sentence]:
        """The sentences as those of a file, each at its number."""
        return (Sentence(place, text) for place, text in enumerate(self.sentences))


@lru_cache(maxsize=2)
def built_in_text(source: str) -> BuiltInText:
    """The text of `manual` or `pyjokes`.

    Raises:
        DataNotFound: its package is not installed here.
    """
    origin, sentences = _TEXTS[source]()
    return BuiltInText(origin, tuple(dict.fromkeys(sentences)))


def read_built_in_text(part: Part) -> Iterator[RawSample]:
    """The sentences of a part at their places.

    Raises:
        DataError: this machine has them of another version than the one that listed them.
    """
    text = built_in_text(part.root)
    if text.origin != part.note:
        raise DataError(
            f"data.source: {part.root!r} was listed on a machine with {part.note}, and is read on one with "
            f"{text.origin}; all machines of a cluster need the same version"
        )
    for name, place, label in part.rows():
        yield RawSample(name, text.sentences[place], label)


def manual_sentences(topics: Mapping[str, str]) -> Iterator[str]:
    """Whole sentences of prose: no code, no grammar, no headings, lists, tables or notes on versions.

    Args:
        topics: reST as text, as `pydoc_data.topics` has it.
    """
    for name in sorted(topics):
        for block in _BLANK_LINES.split(topics[name]):
            if paragraph := _paragraph([line for line in block.splitlines() if line.strip()]):
                yield from filter(_is_prose, _BETWEEN_SENTENCES.split(paragraph))


def _paragraph(lines: Sequence[str]) -> str:
    """Lines of prose as one, without marks of emphasis, footnotes, and quotes and `()` at names; empty for others."""
    indents = {len(line) - len(line.lstrip()) for line in lines}
    if indents not in _INDENTS or _ITEM.match(lines[0].strip()) or any(map(_RULE.fullmatch, lines)):
        return ""
    joined = " ".join(" ".join(lines).split())
    joined = re.sub(r"(?<=[a-z]-) (?=[a-z])", "", joined)  # words that a line's end cuts at their hyphen
    for pattern, kept in ((_EMPHASIS, r"\2"), (_QUOTED_NAME, r"\1"), (_FOOTNOTE, "")):
        joined = pattern.sub(kept, joined)
    return joined


def _is_prose(sentence: str) -> bool:
    words = sentence.split()
    return (
        _PROSE.fullmatch(sentence) is not None
        and LEAST_WORDS <= len(words) <= MOST_WORDS
        and all(sentence.count(opening) == sentence.count(closing) for opening, closing in ("()", "“”"))
        and _OF_A_VERSION.match(sentence) is None
    )


def _manual() -> tuple[str, Iterator[str]]:
    try:
        topics: Any = import_module("pydoc_data.topics")
    except ImportError as error:
        raise DataNotFound(
            f"data.source: {MANUAL!r} is the manual that comes with Python (`pydoc_data.topics`), and this Python came "
            f"without: {error}; install the whole of Python's standard library"
        ) from error
    return f"Python {platform.python_version()}", manual_sentences(topics.topics)


def _jokes() -> tuple[str, Iterator[str]]:
    try:
        jokes: Any = import_module("pyjokes")
        origin = f"pyjokes {version('pyjokes')}"
    except (ImportError, PackageNotFoundError) as error:
        raise DataNotFound(
            f"data.source: {JOKES!r} is a package that is not installed here: pip install 'gan-dist[text]', or pip "
            "install pyjokes; for a cluster, environment: {pip: [pyjokes]}"
        ) from error
    return origin, (" ".join(joke.split()) for joke in jokes.get_jokes("en", "all"))


_TEXTS: dict[str, Callable[[], tuple[str, Iterator[str]]]] = {MANUAL: _manual, JOKES: _jokes}

"""A job's text: which files hold it, how many sentences they have, and which tokens it is made of."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from gan_dist.data.codec import WAYS, Codec, Splitting, build_vocabulary
from gan_dist.data.source import (
    FORMAT,
    Contents,
    Label,
    Listing,
    Parts,
    Source,
    explain_unreachable,
    folder_labels,
    numbered,
    state_of,
)
from gan_dist.data.sources.own_datasets import ITEM, KIND, own_sentences, own_state
from gan_dist.data.text.builtin import KIND as BUILT_IN_KIND
from gan_dist.data.text.builtin import built_in_text
from gan_dist.data.text.file_formats import LineNames, Sentence, SomeNames, TextReadOptions, iterate_sentences, note_of
from gan_dist.data.text.held_out import TRAIN, split_of
from gan_dist.data.text.oracle import find_oracle
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Entry, Folder, locate
from gan_dist.spec.data import BUILT_IN_TEXTS, TextData, is_own_data
from gan_dist.spec.problems import suggestion

UNREADABLE = "\0"
BY_SENTENCE = ("column", "source")  # labels that each sentence brings
Reading = Mapping[str, Callable[[], Iterator[Sentence]]]  # of what each file holds, by the name it is shown under
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")


def find_text(data: TextData) -> Source:
    """The sentences that `data.source` holds; they are read only where they are not prepared.

    Raises:
        DataError: nothing is there, nothing in it is text, or the tokens asked for cannot be.
    """
    if data.from_oracle:
        return find_oracle(data)
    splitting = splitting_of(data)
    if data.source in BUILT_IN_TEXTS:
        return _find_built_in(data, splitting)
    if is_own_data(data.source):
        return _find_own(data, splitting)
    if data.labels == "source":
        raise DataError("data.labels: 'source' is for your own data set; for files use folders, files or column")
    with explain_unreachable(data.source):
        root, name = locate(data.source)
        files = [root.entry(name)] if name is not None else text_files(root)
    where = f"{root.uri}/{name}" if name is not None else root.uri
    key = state_of([FORMAT, files, splitting, _options(data), data.labels, _column(data)])
    how = TextReadOptions(data.encoding, data.columns, _column(data) or None)
    listing = Listing(kind="sentences", where=where, state="", root=root.uri, names=LineNames(), note=note_of(how))
    reading = {file.name: lambda name=file.name: iterate_sentences(root, name, how) for file in files}
    return Source(where, key, lambda: _contents(data, splitting, listing, reading))


def _find_built_in(data: TextData, splitting: Splitting) -> Source:
    if data.labels != "none":
        raise DataError(f"data.labels: {data.labels!r}, but the sentences of {data.source!r} have none; use 'none'")
    text = built_in_text(data.source)
    where = f"{data.source} ({text.origin})"
    key = state_of([FORMAT, where, text.sentences, splitting, _options(data)])
    listing = Listing(kind=BUILT_IN_KIND, where=where, state="", root=data.source, names=LineNames(), note=text.origin)
    return Source(where, key, lambda: _contents(data, splitting, listing, {data.source: text.each}))


def _find_own(data: TextData, splitting: Splitting) -> Source:
    if data.labels not in ("none", "source"):
        raise DataError(f"data.labels: {data.labels!r} is of files; for your own data set use 'source' or 'none'")
    key = state_of([FORMAT, own_state(data), splitting, _options(data), data.labels])
    listing = Listing(
        kind=KIND, where=data.source, state="", root=data.source, names=LineNames(), note=json.dumps(data.args)
    )
    reading = {ITEM: lambda: own_sentences(data)}
    return Source(data.source, key, lambda: _contents(data, splitting, listing, reading))


def _options(data: TextData) -> tuple[object, ...]:
    """What else decides which sentences there are, and their ids."""
    return (data.length, data.too_long, data.min_count, data.vocabulary, data.columns, data.encoding, data.shares)


def _column(data: TextData) -> str | Literal[False]:
    """The column that labels are read from, if they are."""
    return data.labels == "column" and data.label_column


def splitting_of(data: TextData) -> Splitting:
    """How a job cuts its text into tokens.

    Raises:
        DataError: `data.tokens` is neither a known way nor a tokeniser's file.
    """
    if data.tokens in WAYS:
        return Splitting(data.tokens, data.lower)
    if not data.tokens.endswith(".json"):
        raise DataError(f"data.tokens: unknown way {data.tokens!r}{suggestion(data.tokens, WAYS)}, or a tokeniser.json")
    with explain_unreachable(data.tokens):
        root, name = locate(data.tokens)
        assert name is not None
        splitting = Splitting("tokenizer", data.lower, root.read(name).decode())
    splitting.known()
    return splitting


def text_files(root: Folder) -> list[Entry]:
    """The files of a folder that hold text, by their names; where none is named so, all of them."""
    found = sorted(entry for entry in root.below() if not entry.name.rpartition("/")[2].startswith("."))
    known = [entry for entry in found if entry.name.lower().endswith(SUFFIXES)]
    if not found:
        raise DataError(f"data.source: no files in {root.uri!r} (looked for {', '.join(SUFFIXES)})")
    return known or found


@dataclass
class _Found:
    """What reading all sentences once shows.

    Attributes:
        names, places, labels: of every sentence.
        counts: of the tokens that are learnt from.
        learnt: which sentences these are of.
        held_out: the others, by what they are for.
    """

    names: LineNames = field(default_factory=LineNames)
    places: array[int] = field(default_factory=lambda: array("q"))
    labels: list[Label] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    learnt: array[int] = field(default_factory=lambda: array("q"))
    held_out: dict[str, list[str]] = field(default_factory=dict)


def _contents(data: TextData, splitting: Splitting, listing: Listing, reading: Reading) -> Contents:
    """Reads all sentences once, to count them and their tokens; once more before, to choose those that are kept."""
    found = _look(data, splitting, reading)
    names, places, labels = found.names, found.places, found.labels
    if not places:
        raise DataError(f"data.source: {listing.where!r} holds no sentence; the file is empty")
    if data.labels in BY_SENTENCE:
        # They are rejected when they are read; until then they need some class that there is.
        known_label = next((label for label in labels if label != UNREADABLE), None)
        labels = [known_label if label == UNREADABLE else label for label in labels]
    if data.labels in ("folders", "files"):
        labels = _labels(data.labels, names, listing.where)
    known, counts, least = splitting.known(), found.counts, data.min_count
    if known is not None:
        counts, least = _in_order(known), 1
    codec = Codec(data.length, splitting, build_vocabulary(counts, least, data.vocabulary), data.too_long == "cut")
    learnt: Sequence[str] = names
    if found.held_out:
        learnt, labels = SomeNames(names, found.learnt), [labels[at] for at in found.learnt] if labels else labels
        places = array("q", (places[at] for at in found.learnt))
    listing = replace(listing, names=learnt, labels=labels, places=places)
    classes, numbers = numbered(labels, learnt)
    parts = Parts(listing, codec, numbers)
    return Contents(parts, classes, codec, held_out=found.held_out, shares=data.shares)


def _look(data: TextData, splitting: Splitting, reading: Reading) -> _Found:
    read = (one.content for sentences in reading.values() for one in sentences())
    texts = (text for text in read if isinstance(text, str))
    split = split_of((splitting.split(text)[: data.length] for text in texts), data.shares)
    found = _Found(held_out={key: [] for key in split.bounds})
    for name, sentences in reading.items():
        before = len(found.places)
        for sentence in sentences():
            side = TRAIN
            if not isinstance(sentence.content, UnreadableSample):
                tokens = splitting.split(sentence.content)
                side = split.side(tokens[: data.length])
                if side == TRAIN:
                    found.counts.update(_kept(tokens, data))
                else:
                    found.held_out[side].append(sentence.content)
            if side == TRAIN:
                found.learnt.append(len(found.places))
            found.places.append(sentence.place)
            if data.labels in BY_SENTENCE:
                found.labels.append(sentence.label if isinstance(sentence.content, str) else UNREADABLE)
        if len(found.places) > before:
            found.names.add(name, len(found.places) - before)
    return found


def _kept(tokens: list[str], data: TextData) -> list[str]:
    """The tokens of a sentence that are learnt from."""
    if len(tokens) > data.length and data.too_long == "reject":
        return []
    return tokens[: data.length]


def _in_order(known: list[str]) -> Counter[str]:
    """Counts that keep the order of a tokeniser's own ids."""
    return Counter({token: len(known) - place for place, token in enumerate(known)})


def _labels(kind: str, names: LineNames, where: str) -> list[Label]:
    if kind == "folders":
        of_file = folder_labels(names.files, where)
    else:
        of_file = [PurePosixPath(file).name.removesuffix(".txt") for file in names.files]
    lengths = [end - start for start, end in zip([0, *names.ends], names.ends, strict=False)]
    return [label for label, length in zip(of_file, lengths, strict=True) for _ in range(length)]

"""A job's text: which files hold it, how many sentences they have, and which tokens it is made of."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from gan_dist.data import tables
from gan_dist.data.codec import Codec, Splitting, build_vocabulary
from gan_dist.data.labels import Label, describe_classes, folder_labels, labels_of, number_classes
from gan_dist.data.picture_formats import ending_of
from gan_dist.data.prompts import PromptForm, prompt_form, show_prompted
from gan_dist.data.source import FORMAT, Contents, Listing, Parts, Source, explain_unreachable, printable, state_of
from gan_dist.data.sources.layout import split_files, without_common_folders
from gan_dist.data.sources.own_datasets import ITEM, KIND, own_sentences, own_state
from gan_dist.data.sources.walk import describe_passed, walk
from gan_dist.data.text.builtin import KIND as BUILT_IN_KIND
from gan_dist.data.text.builtin import built_in_text
from gan_dist.data.text.byte_pairs import train_byte_pairs
from gan_dist.data.text.file_formats import (
    LineNames,
    Sentence,
    SomeNames,
    TextReadOptions,
    describe_file,
    iterate_sentences,
    note_of,
)
from gan_dist.data.text.held_out import TRAIN, Split, checksum, split_of
from gan_dist.data.text.oracle import find_oracle
from gan_dist.data.text_stream import JSON_ENDINGS, PACKED_ENDINGS
from gan_dist.errors import DataError, UnreadableSample
from gan_dist.runs.storage import Entry, Folder, locate
from gan_dist.spec.data import BUILT_IN_TEXTS, TextData, is_own_data
from gan_dist.spec.fields import BYTE_PAIRS, WAYS

UNREADABLE = "\0"
BY_SENTENCE = ("column", "source")  # labels that each sentence brings
Reading = Mapping[str, Callable[[], Iterator[Sentence]]]  # of what each file holds, by the name it is shown under
PLAIN_ENDINGS = (".txt", ".text", *tables.ENDINGS, *JSON_ENDINGS, ".parquet")
ENDINGS = (*PLAIN_ENDINGS, *(ending + packed for ending in PLAIN_ENDINGS for packed in PACKED_ENDINGS))
DESCRIBED = 3  # files whose way of reading is told
SHOWN_PROMPTS = 8


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
    root, name, files, remarks = _files(data)
    where = f"{root.uri}/{name}" if name is not None else root.uri
    key = state_of([FORMAT, files, splitting, _options(data), data.labels, _column(data)])
    how = _read_options(data)
    listing = Listing(
        kind="sentences", where=where, state="", root=root.uri, names=LineNames(), note=note_of(how), remarks=remarks
    )
    reading = {file.name: lambda name=file.name: iterate_sentences(root, name, how) for file in files}
    told = [lambda name=file.name: describe_file(root, name, how) for file in files[:DESCRIBED]]
    return Source(where, key, lambda: _contents(data, splitting, listing, reading, told))


def read_first_sentence(data: TextData) -> None:
    """Read as much of `data.source`, a file or a folder, as shows whether it has the columns that the job names.

    Raises:
        DataError: nothing is there, it is no text, or it has no such column.
    """
    root, _, files, _ = _files(data)
    next(iter(iterate_sentences(root, files[0].name, _read_options(data))), None)


def _files(data: TextData) -> tuple[Folder, str | None, list[Entry], list[str]]:
    """The folder, the file's name where `data.source` is one, the files that are read, and remarks on these."""
    with explain_unreachable(data.source):
        root, name = locate(data.source)
        files, remarks = ([root.entry(name)], []) if name is not None else text_files(root, data.split)
    return root, name, files, remarks


def _read_options(data: TextData) -> TextReadOptions:
    return TextReadOptions(data.encoding, data.columns, _column(data) or None, data.prompt_column)


def _find_built_in(data: TextData, splitting: Splitting) -> Source:
    _refuse_prompt_column(data)
    if data.labels != "none":
        raise DataError(f"data.labels: {data.labels!r}, but the sentences of {data.source!r} have none; use 'none'")
    text = built_in_text(data.source)
    where = f"{data.source} ({text.origin})"
    key = state_of([FORMAT, where, text.sentences, splitting, _options(data)])
    listing = Listing(kind=BUILT_IN_KIND, where=where, state="", root=data.source, names=LineNames(), note=text.origin)
    return Source(where, key, lambda: _contents(data, splitting, listing, {data.source: text.each}, []))


def _find_own(data: TextData, splitting: Splitting) -> Source:
    _refuse_prompt_column(data)
    if data.labels not in ("none", "source"):
        raise DataError(f"data.labels: {data.labels!r} is of files; for your own data set use 'source' or 'none'")
    key = state_of([FORMAT, own_state(data), splitting, _options(data), data.labels])
    listing = Listing(
        kind=KIND, where=data.source, state="", root=data.source, names=LineNames(), note=json.dumps(data.args)
    )
    reading = {ITEM: lambda: own_sentences(data)}
    return Source(data.source, key, lambda: _contents(data, splitting, listing, reading, []))


def _refuse_prompt_column(data: TextData) -> None:
    if data.prompt_column is not None:
        raise DataError(
            f"data.prompt: {data.prompt_column!r} would be a column, and {data.source!r} has none; take the beginning "
            "of each text: {first: 1 sentence}"
        )


def _options(data: TextData) -> tuple[object, ...]:
    """What else decides which sentences there are, and their ids."""
    own = (data.length, data.too_long, data.min_count, data.vocabulary, data.columns, data.encoding, data.shares)
    return (*own, prompt_form(data), data.prompt_column)


def _column(data: TextData) -> str | Literal[False]:
    """The column that labels are read from, if they are."""
    return data.labels == "column" and data.label_column


def splitting_of(data: TextData) -> Splitting:
    """How a job cuts its text into tokens.

    Raises:
        DataError: the tokeniser's file that `data.tokens` names is not there, or none.
    """
    if data.tokens in (*WAYS, BYTE_PAIRS):
        return Splitting(data.tokens, data.lower)
    with explain_unreachable(data.tokens):
        root, name = locate(data.tokens)
        assert name is not None
        splitting = Splitting("tokenizer", data.lower, root.read(name).decode())
    splitting.known()
    return splitting


def text_files(root: Folder, split: str = "auto") -> tuple[list[Entry], list[str]]:
    """The files of a folder that hold text, by their names, and what is said of the others; where none is named so, all
    of them.

    Raises:
        DataError: there is no file, or none of the split.
    """
    found = walk(root)
    known = [entry for entry in found.entries if entry.name.lower().endswith(ENDINGS)]
    if not found.entries:
        raise DataError(f"data.source: no files in {root.uri!r} (looked for {', '.join(PLAIN_ENDINGS)})")
    if known:
        found.passed.update(ending_of(entry.name) for entry in set(found.entries).difference(known))
    entries = known or found.entries
    layout = split_files([entry.name for entry in entries], split, "files")
    return [entries[place] for place in layout.kept], [*layout.remarks, *describe_passed(found.passed)]


@dataclass
class _Found:
    """What reading all sentences once shows.

    Attributes:
        names, places, labels: of every sentence.
        counts: of the tokens that are learnt from.
        learnt: which sentences these are of.
        held_out: the others, by what they are for.
        reasons: why sentences cannot be used, and how many of them.
        passed: of texts that have no prompt or nothing after it, why, and how many.
        prompts: some of those that are learnt from, by their checksums.
        longest: tokens of the longest one.
        first: the first sentence that can be read.
    """

    names: LineNames = field(default_factory=LineNames)
    places: array[int] = field(default_factory=lambda: array("q"))
    labels: list[Label] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    learnt: array[int] = field(default_factory=lambda: array("q"))
    held_out: dict[str, list[str]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    prompts: dict[int, str] = field(default_factory=dict)
    longest: int = 0
    first: str = ""

    def knows(self, prompt: str) -> None:
        """Keep a fair choice of prompts, for those who want some without the data."""
        self.prompts[checksum([prompt])] = prompt
        if len(self.prompts) > 2 * SHOWN_PROMPTS:
            self.prompts = dict(sorted(self.prompts.items())[:SHOWN_PROMPTS])


def _contents(
    data: TextData, splitting: Splitting, listing: Listing, reading: Reading, told: Sequence[Callable[[], list[str]]]
) -> Contents:
    """Reads all sentences once, to count them and their tokens; once more before, to choose those that are kept."""
    form, trained = prompt_form(data), splitting.way == BYTE_PAIRS
    keys = (_side_key(text, splitting, data) for text in _texts(reading, form))
    split = split_of(keys, data.shares)
    if trained:
        texts = (text for text in _texts(reading, form) if split.side(_side_key(text, splitting, data)) == TRAIN)
        whole = (part for text in texts for part in ((text,) if form is None else form.parts(text)))
        splitting = train_byte_pairs(whole, data.vocabulary, data.lower)
    found = _look(data, splitting, reading, split)
    names, places, labels = found.names, found.places, found.labels
    if not places:
        raise DataError(f"data.source: {listing.where!r} holds no sentence: every line and row of it is empty")
    _check_usable(found, data)
    if data.labels in BY_SENTENCE:
        # They are rejected when they are read; until then they need some class that there is.
        known_label = next((label for label in labels if label != UNREADABLE), None)
        labels = labels_of(known_label if label == UNREADABLE else label for label in labels)
    if data.labels in ("folders", "files"):
        labels = _labels(data.labels, names, listing.where)
    known, counts, least = splitting.known(), found.counts, data.min_count
    if known is not None:
        counts, least = _in_order(known), 1
    vocabulary = build_vocabulary(counts, least, data.vocabulary)
    codec = Codec(data.length, splitting, vocabulary, data.too_long == "cut", form)
    learnt: Sequence[str] = names
    if len(found.learnt) < len(places):
        learnt, labels = SomeNames(names, found.learnt), [labels[at] for at in found.learnt] if labels else labels
        places = array("q", (places[at] for at in found.learnt))
    listing = replace(listing, names=learnt, labels=labels, places=places)
    named, numbers = number_classes(labels, learnt)
    classes = tuple(map(printable, named))
    parts = Parts(listing, codec, numbers)
    remarks = [*(line for lines in told for line in lines()), f"first: {found.first[:80]!r}", *listing.remarks]
    remarks += [f"passed over: {count:,} texts, {why}" for why, count in found.passed.most_common()]
    shown = [text for _, text in sorted(found.prompts.items())[:SHOWN_PROMPTS]]
    return Contents(
        parts,
        classes,
        codec,
        notes={"prompts": tuple(shown)} if form is not None else {},
        held_out=found.held_out,
        shares=data.shares,
        remarks=(*dict.fromkeys(remarks), *describe_classes(classes, numbers)),
    )


def _texts(reading: Reading, form: PromptForm | None) -> Iterator[str]:
    """Every text that can be used, as far as its reading and its prompt go."""
    read = (one.content for sentences in reading.values() for one in sentences())
    texts = (text for text in read if isinstance(text, str))
    return texts if form is None else (text for text in texts if not isinstance(_divided(text, form), UnreadableSample))


def _divided(text: str, form: PromptForm) -> tuple[str, str] | UnreadableSample:
    try:
        return form.parts(text)
    except UnreadableSample as error:
        return error


def _side_key(text: str, splitting: Splitting, data: TextData) -> list[str]:
    """What decides for which side of the split a text is: its tokens up to `length`, or its words where tokens are
    byte pairs, which are trained on one side alone. Of a text with a prompt that is the prompt, so that nobody is
    tested by prompts that were learnt from."""
    form = prompt_form(data)
    if form is not None:
        text, _ = form.parts(text)
    if splitting.way == BYTE_PAIRS:
        return (text.lower() if data.lower else text).split()
    return splitting.split(text)[: data.length if form is None else None]


def _look(data: TextData, splitting: Splitting, reading: Reading, split: Split) -> _Found:
    found = _Found(held_out={key: [] for key in split.bounds})
    for name, sentences in reading.items():
        before = len(found.places)
        for sentence in sentences():
            side: str | None = TRAIN
            text = _readable(sentence.content, splitting)
            if isinstance(text, UnreadableSample):
                found.reasons[str(text)] += 1
            else:
                side = _count(text, found, data, splitting=splitting, split=split)
            if side == TRAIN:
                found.learnt.append(len(found.places))
            found.places.append(sentence.place)
            if data.labels in BY_SENTENCE:
                found.labels.append(sentence.label if isinstance(sentence.content, str) else UNREADABLE)
        if len(found.places) > before:
            found.names.add(name, len(found.places) - before)
    return found


def _count(text: str, found: _Found, data: TextData, *, splitting: Splitting, split: Split) -> str | None:
    """Counts a text and its tokens: what it is for, None where it is passed over."""
    form, prompt, rest = prompt_form(data), "", text
    if form is not None:
        divided = _divided(text, form)
        if isinstance(divided, UnreadableSample):
            found.passed[str(divided)] += 1
            return None
        prompt, rest = divided
    found.first = found.first or (text if form is None else show_prompted(prompt, rest))
    tokens = splitting.split(rest)
    found.longest = max(found.longest, len(tokens))
    side = split.side(_side_key(text, splitting, data))
    if side != TRAIN:
        found.held_out[side].append(text)
        return side
    found.counts.update(_kept(tokens, data))
    if form is not None:
        given = splitting.split(prompt)
        if len(given) <= form.length or data.too_long == "cut":
            found.counts.update(given[-form.length :])
            found.knows(prompt)
    return side


def _readable(content: str | UnreadableSample, splitting: Splitting) -> str | UnreadableSample:
    """A sentence, or why it will be rejected when it is read."""
    if isinstance(content, str):
        try:
            splitting.check(content)
        except UnreadableSample as error:
            return error
    return content


def _check_usable(found: _Found, data: TextData) -> None:
    """Whether anything is to be learnt from; if not, why is said before anything that follows from it.

    Raises:
        DataError: no sentence can be used.
    """
    if found.counts:
        return
    count = len(found.places)
    if passed := found.passed.total():
        reason, _ = found.passed.most_common(1)[0]
        raise DataError(f"data.prompt: {passed} of {count} texts in {data.source!r} have none: {reason}")
    if unreadable := found.reasons.total():
        reason, _ = found.reasons.most_common(1)[0]
        raise DataError(f"data.source: {unreadable} of {count} sentences in {data.source!r} cannot be used: {reason}")
    raise DataError(
        f"data.length: all {count} sentences are longer than data.length: {data.length} (longest {found.longest}); set "
        "a larger one, or data.too_long: cut"
    )


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
        of_file = folder_labels(without_common_folders(names.files), where)
    else:
        of_file = [PurePosixPath(file).name.removesuffix(".txt") for file in names.files]
    lengths = [end - start for start, end in zip([0, *names.ends], names.ends, strict=False)]
    return [label for label, length in zip(of_file, lengths, strict=True) for _ in range(length)]

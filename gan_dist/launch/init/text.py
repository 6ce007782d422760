"""A first job for a set of sentences: how they are cut, how long they are, and what is known to work."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pyarrow as pa

from gan_dist.data.codec import SPECIAL, WITHOUT_BLANKS, Splitting
from gan_dist.data.downloads import resolve_download
from gan_dist.data.parquet_file import open_parquet
from gan_dist.data.picture_formats import HEAD_BYTES, format_of, is_picture_name
from gan_dist.data.prompts import PROMPT_END
from gan_dist.data.tables import column_named
from gan_dist.data.text.builtin import built_in_text
from gan_dist.data.text.byte_pairs import USUAL_VOCABULARY, train_byte_pairs
from gan_dist.data.text.corpus import PLAIN_ENDINGS, text_files
from gan_dist.data.text.file_formats import (
    USUAL_COLUMNS,
    Sentence,
    TextReadOptions,
    columns_of,
    first_records,
    iterate_sentences,
)
from gan_dist.data.text_stream import BOMS, PACKED, plain_name, text_format
from gan_dist.errors import DataError, UsageError
from gan_dist.launch.init.recipes import Machine
from gan_dist.launch.init.training_speed import seconds_per_text_step
from gan_dist.runs.storage import Folder, locate
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import BUILT_IN_TEXTS, absolute_source
from gan_dist.spec.durations import duration_text, duration_words
from gan_dist.spec.fields import BYTE_PAIRS
from gan_dist.spec.paths import absolute_path

MOST_READ = 200_000
COVERED = 0.98
MANY = 20_000
FEW = 2_000
LEAST = 16
MANY_KINDS = 500  # of tokens that come twice: so many are enough to do without the others
MOST_UNKNOWN = 0.01  # share of the tokens that may be unknown
BATCH = 64
LEAST_SPLIT = 100  # different sentences of which some are kept for the test
TEST_SHARE = 0.1
ROWS = 200  # of a table, by which it is told which of its columns is text
IN_USE = 0.8  # share of the time that likelihood gets beside the adversarial stage
USUAL_SECONDS = 3600
ADVERSARIAL = 5  # times as long as a step of likelihood takes a step of `scratchgan` beside it, measured on a CPU
ASKING = 0.5  # share of a column's cells that end with a question mark, where it is one of questions
PROMPTS = ("setup", "question", "prompt", "instruction", "query")
ANSWERS = ("punchline", "answer", "answers", "completion", "response", "output", "reply", "continuation", "text")
_WORDS = re.compile(r"[^\W\d_]\s+[^\W\d_]")
_QUESTION = re.compile(r"[?\uff1f]\W*$")


@dataclass(frozen=True)
class _Columns:
    """What of a table is learnt: the column of the text, where its usual names do not tell; and that of prompts, which
    the text follows, with the reason to think so. `others` are text as well."""

    text: str | None = None
    prompt: str | None = None
    why: str = ""
    others: tuple[str, ...] = ()


@dataclass(kw_only=True, frozen=True)
class TextSurvey:
    """What there is to learn from.

    Attributes:
        count: sentences looked at.
        way, why: what a token is to be, and why.
        length: tokens that all but a few of the sentences have at most.
        kinds: different tokens; `known`: those that a job is to know.
        encoding: how characters are stored.
        labels: the `data.labels` that fits.
        columns: of a table.
        distinct: different sentences; of those that follow prompts, different prompts.
        prompt_length: tokens that all but a few of the prompts have at most; 0 where there are none.
    """

    source: str
    count: int
    way: str
    why: str
    length: int
    kinds: int
    known: int
    encoding: str | None
    labels: str
    columns: _Columns
    distinct: int
    prompt_length: int


def is_text(source: str) -> bool:
    """Whether a source is a file of text, or a folder of nothing else. A table may name images: that is for the job."""
    if source in BUILT_IN_TEXTS:
        return True
    path = absolute_path(resolve_download(source))
    files = [one for one in path.iterdir() if not one.name.startswith(".")] if path.is_dir() else [path]
    return bool(files) and all(_reads_as_text(file) for file in files)


def _files(source: str, column: str | None) -> tuple[list[Iterator[Sentence]], str | None, _Columns]:
    """The sentences of each file of a source, how its characters are stored, and the columns to name."""
    if source in BUILT_IN_TEXTS:
        if column is not None:
            raise UsageError(f"--column {column}: {source} is no table, and has no columns")
        return [built_in_text(source).each()], None, _Columns()
    root, name = locate(resolve_download(source))
    files = [name] if name is not None else [entry.name for entry in text_files(root)[0]]
    encoding = _encoding(root, files[0])
    found = _columns(root, files[0], encoding, column)
    how = TextReadOptions(encoding, () if found.text is None else (found.text,), prompt=found.prompt)
    return [iterate_sentences(root, file, how) for file in files], encoding, found


def _columns(root: Folder, file: str, encoding: str | None, asked: str | None) -> _Columns:
    """The columns to name in the job: the one asked for; or two that look like prompts and what follows them; or the
    only one whose cells hold several words or a script without blanks. None where the file is no table or its columns
    have usual names.

    Raises:
        UsageError: several are text, or the file has no columns.
        DataError: there is no such column.
    """
    named = () if asked is None else (asked,)
    rows = first_records(root, file, TextReadOptions(encoding, named), ROWS)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if asked is not None:
        if not columns:
            raise UsageError(f"--column {asked}: {file!r} is no table, and has no columns")
        return _Columns(columns_of([], columns, TextReadOptions(encoding, named), file)[0])
    if len(columns) < 2:
        return _Columns()
    texts = [name for name in columns if 2 * sum(_holds_text(row.get(name)) for row in rows) > len(rows)]
    if (found := _prompted(rows, columns, texts)) is not None:
        return found
    if (usual := column_named(columns, USUAL_COLUMNS)) is not None:
        return _Columns(others=tuple(name for name in texts if name != usual))
    if len(texts) != 1:
        found_texts = f"{' and '.join(map(repr, texts))} are text" if texts else "none looks like text"
        raise UsageError(
            f"--column: say which column of {file!r} to learn from ({found_texts}; it has {', '.join(columns)})"
        )
    return _Columns(texts[0])


def _prompted(rows: Sequence[Mapping[str, object]], columns: Sequence[str], texts: Sequence[str]) -> _Columns | None:
    """Two columns one of which answers the other, by their names, or because one of two holds questions; None where
    there are none."""
    strings = [name for name in columns if 2 * sum(isinstance(row.get(name), str) for row in rows) > len(rows)]
    prompt, answer = column_named(list(texts), PROMPTS), column_named(strings, ANSWERS)
    if prompt is not None and answer is not None:
        return _Columns(answer, prompt, "by the columns' names")
    if len(texts) == 2:
        asking = [_share_of_questions(rows, name) > ASKING for name in texts]
        if asking[0] != asking[1]:
            asked, answers = texts if asking[0] else reversed(texts)
            return _Columns(answers, asked, "most of its cells are questions")
    return None


def _share_of_questions(rows: Sequence[Mapping[str, object]], column: str) -> float:
    cells = [cell for row in rows if isinstance(cell := row.get(column), str)]
    return sum(bool(_QUESTION.search(cell)) for cell in cells) / max(1, len(cells))


def _holds_text(value: object) -> bool:
    """Whether a cell holds words between blanks, or writing that has no blanks."""
    return isinstance(value, str) and bool(_WORDS.search(value) or WITHOUT_BLANKS.search(value))


def _reads_as_text(path: Path) -> bool:
    """Whether a file begins like text, by its content as names may be anything. Of Parquet, whether it holds neither
    bytes nor records, as images are stored."""
    if not path.is_file():
        return False
    if path.name.lower().endswith(".parquet"):
        schema = open_parquet(Folder.at(path.parent), path.name).schema_arrow
        return not any(pa.types.is_nested(one.type) or pa.types.is_binary(one.type) for one in schema)
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head or is_picture_name(path.name):
        return False
    if head.startswith((*PACKED, *(mark for mark, _ in BOMS))) and plain_name(path.name).endswith(PLAIN_ENDINGS):
        return True
    known = format_of(head[:HEAD_BYTES])
    return (known is None or known.name == "tga") and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def survey_text(source: str, column: str | None = None) -> TextSurvey:
    """Looks at a text file, a table or a folder of such.

    Args:
        column: of a table that holds the text; by default found by its name or its cells, and with it the column of
            prompts where there is one.

    Raises:
        UsageError: several columns are text, or there are none.
        DataError: there is no sentence in it, or no such column.
    """
    files, encoding, columns = _files(source, column)
    texts = [one.content for file in files for one in islice(file, MOST_READ)]
    pairs = [text.rpartition(PROMPT_END) for text in texts if isinstance(text, str)]
    if len(pairs) < LEAST:
        held = "1 sentence" if len(pairs) == 1 else f"{len(pairs)} sentences"
        raise DataError(f"{source}: holds {held} that can be read; a job wants {LEAST} or more")
    prompts = [prompt for prompt, end, _ in pairs if end]
    written = [rest for _, _, rest in pairs]
    some = (written + prompts)[:1000]
    way, why = _way(some)
    split, counts = _cut(Splitting(way), written + prompts)
    rare = sum(n == 1 for n in counts.values())
    # Of a character that comes once the bytes come seldom too, and would be written in wrong order: all are known.
    leaves_out = len(counts) - rare >= MANY_KINDS and not _is_wide(some)
    unknown = rare / counts.total() if leaves_out else 0.0
    if unknown > MOST_UNKNOWN and find_spec("tokenizers") is None:
        why += f"; {unknown:.1%} of them would be <unk>, none with bpe: pip install 'gan-dist[text]', and init anew"
    elif unknown > MOST_UNKNOWN:
        way, why = BYTE_PAIRS, f"of {way} {unknown:.1%} would be <unk>; byte pairs write any text"
        split, counts = _cut(train_byte_pairs(written + prompts, None), written + prompts)
        leaves_out = False
    labels = "files" if 1 < len(files) <= 20 and columns.prompt is None else "none"
    return TextSurvey(
        source=source,
        count=len(pairs),
        way=way,
        why=why,
        length=_usual_length(split[: len(written)]),
        kinds=len(counts),
        known=len(counts) - rare if leaves_out else len(counts),
        encoding=encoding,
        labels=labels,
        columns=columns,
        distinct=len(set(prompts or written)),
        prompt_length=_usual_length(split[len(written) :]) if prompts else 0,
    )


def _cut(splitting: Splitting, texts: list[str]) -> tuple[list[list[str]], Counter[str]]:
    """The tokens of each text, and how often each comes."""
    split = [splitting.split(text) for text in texts]
    return split, Counter(token for tokens in split for token in tokens)


def _usual_length(split: list[list[str]]) -> int:
    """Tokens that all but a few texts have at most, and 4 at least."""
    lengths = sorted(map(len, split))
    return max(4, lengths[int(COVERED * (len(lengths) - 1))])


def _encoding(root: Folder, file: str) -> str | None:
    """How characters are stored, where neither a mark nor UTF-8 says so."""
    if file.lower().endswith(".parquet"):
        return None
    plain, found = text_format(root, file, None), text_format(root, file, None, detect=True)
    return None if plain.encoding == found.encoding else found.encoding


def _way(texts: list[str]) -> tuple[str, str]:
    if _is_wide(texts):
        if sum(len(text.split()) for text in texts) > len(_letters(texts)) / 2:
            return "blanks", "characters that blanks stand between already"
        return "characters", "the writing has no blanks between words"
    cut = sum(" , " in text or text.rstrip().endswith(" .") for text in texts)
    if cut > len(texts) / 2:
        return "blanks", "punctuation is cut from the words already"
    return "words", "by Unicode's word boundaries; punctuation stands on its own"


def _is_wide(texts: list[str]) -> bool:
    """Whether most of the writing is of characters each of which is much of a word, as Chinese has them."""
    letters = _letters(texts)
    return sum(unicodedata.east_asian_width(char) in "WF" for char in letters) > len(letters) / 2


def _letters(texts: list[str]) -> list[str]:
    return [char for text in texts for char in text if not char.isspace()]


@dataclass(kw_only=True, frozen=True)
class _Length:
    """How long both stages last: sentences of likelihood, steps of the adversarial stage, and seconds in all."""

    sentences: int
    steps: int
    seconds: float


def _length(found: TextSurvey, machine: Machine, seconds: float | None, *, hidden: int, known: int) -> _Length:
    """As many passes over the sentences as do them good, or as many as fit into the time."""
    batch = min(BATCH, found.count)
    places = found.prompt_length + found.length
    step = seconds_per_text_step(hidden, known, places, batch=batch, gpus=machine.gpus, cpus=machine.cpus)
    wanted = (30 if found.count >= MANY else 60) * found.count
    most = seconds or USUAL_SECONDS
    fitting = int(IN_USE * most / step) * batch
    sentences = max(20 * batch, min(wanted, fitting))
    steps = max(20, min(500 if found.count >= MANY else 200, int((1 - IN_USE) * most / step / ADVERSARIAL)))
    taken = step * (sentences / batch + ADVERSARIAL * steps)
    return _Length(sentences=sentences, steps=steps, seconds=taken)


def write_text_job(source: str, machine: Machine, *, column: str | None = None, seconds: float | None = None) -> str:
    """A commented job file for sentences.

    Args:
        machine: what there is to train on.
        column: of a table that holds the text; by default found by its name or its cells.
        seconds: how long the run may take at most; an hour by default.

    Raises:
        UsageError: several columns are text, or there are none.
        DataError: there is no sentence, or no such column.
    """
    found = survey_text(source, column)
    hidden = 512 if machine.gpus and found.count >= MANY else 128
    known = found.known + len(SPECIAL)
    lasts = _length(found, machine, seconds, hidden=hidden, known=known)
    parts = (
        _head(found, machine, lasts, asked=(column, seconds)),
        _data(found, known),
        _networks(found, hidden),
        _training(found, lasts),
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(found: TextSurvey, machine: Machine, lasts: _Length, *, asked: tuple[str | None, float | None]) -> list[str]:
    name = absolute_path(found.source).name.split(".")[0].lower()
    word = "".join(char if char.isascii() and char.isalnum() else "-" for char in name).strip("-") or "text"
    column, seconds = asked
    options = [] if column is None else ["--column", column]
    options += [] if seconds is None else ["--for", duration_text(seconds)]
    beyond = seconds is not None and lasts.seconds > 1.1 * seconds
    gpus = {0: "no GPU", 1: "a GPU"}.get(machine.gpus, f"{machine.gpus} GPUs")
    return [
        "# gan-dist submit job.yaml",
        f"# Written by: {shlex.join(['gan-dist', 'init', found.source, *options])}",
        f"# {found.count:,} sentences of {found.kinds:,} different tokens; {gpus}, {machine.cpus} CPUs.",
        *(['# Ask it afterwards: gan-dist sample last --prompt "..." --n 10'] if found.prompt_length else []),
        f"# Takes about {duration_words(lasts.seconds)} here, going by other machines; this one is measured by:",
        "#   gan-dist submit job.yaml --smoke",
        *(["# That is more than --for asks, for fewer sentences than these teach nothing."] if beyond else []),
        "version: 1",
        f"name: text-{word[:50]}",
    ]


def _data(found: TextSurvey, known: int) -> list[str]:
    covered = f"{COVERED:.0%} of the sentences have at most so many tokens; the others lose their end"
    stored = "as its bytes look" if found.encoding else "as the file says, or UTF-8"
    columns = found.columns
    column = [] if columns.text is None else [f"  column: {json.dumps(columns.text, ensure_ascii=False)}"]
    others = [f"  # Text is in {' and '.join(map(repr, columns.others))} too: --column NAME"] if columns.others else []
    kept = [f"  test: {TEST_SHARE}  # for `gan-dist evaluate` alone; half as many more are for metrics while it trains"]
    told = "byte pairs write any text" if found.way == BYTE_PAIRS else f"about {known:,} tokens are known"
    none_kept = [f"  # no test share, as only {found.distinct:,} of them are different; {LEAST_SPLIT:,} would do"]
    return [
        "data:",
        "  modality: text",
        f"  source: {absolute_source(found.source)}",
        *_prompt(found),
        *column,
        *others,
        f"  tokens: {found.way}  # {found.why}",
        *([f"  vocabulary: {Amount(USUAL_VOCABULARY)}"] if found.way == BYTE_PAIRS else []),
        f"  length: {found.length}  # {covered}",
        "  too_long: cut",
        f"  min_count: {1 if found.known == found.kinds else 2}  # {told}",
        f"  encoding: {found.encoding or 'null'}  # {stored}",
        f"  labels: {found.labels}  # {'a class for each file' if found.labels == 'files' else 'one class'}",
        *(kept if found.distinct >= LEAST_SPLIT else none_kept),
    ]


def _prompt(found: TextSurvey) -> list[str]:
    """The prompt that texts follow, why, and what else could be learnt of both columns."""
    prompt, text = found.columns.prompt, found.columns.text
    if prompt is None or text is None:
        return []
    shown, both = json.dumps(prompt, ensure_ascii=False), json.dumps([prompt, text], ensure_ascii=False)
    return [
        f"  prompt: {shown}  # {found.columns.why}; given, and what follows it is learnt",
        f"  # To learn to write both instead: no prompt and no prompt_length, and column: {both}; one alone: --column",
        f"  prompt_length: {found.prompt_length}  # {COVERED:.0%} of them have at most so many tokens; longer ones "
        "lose their beginning",
    ]


def _networks(found: TextSurvey, hidden: int) -> list[str]:
    few = found.count < FEW
    return [
        "generator:",
        "  use: lstm",
        f"  embedding: {hidden // 2}",
        f"  hidden: {hidden}",
        f"  dropout: {0.4 if few else 0.2}  # against learning {'so few sentences' if few else 'them'} by heart",
        "discriminator:",
        "  use: textlstm  # a reward for each token, which costs no rollouts",
        "  embedding: 64",
        f"  hidden: {min(256, hidden)}",
    ]


def _training(found: TextSurvey, lasts: _Length) -> list[str]:
    times = f"each sentence {lasts.sentences / found.count:.2g} times"
    kept = ["  - {use: bleu, samples: 1k}  # against the sentences kept from training; higher is better"]
    if found.prompt_length:
        kept = ["  - {use: answers, samples: 500}  # to prompts kept from training, against what follows them there"]
    return [
        "stages:",
        "  - name: likelihood",
        "    objective: mle  # most of what a text GAN can do is learnt here",
        f"    for: {Amount(lasts.sentences)}  # {times}",
        "  - name: adversarial",
        "    objective: [{use: scratchgan}, {use: mle, weight: 0.5}]  # likelihood beside it keeps what it says varied",
        f"    for: {Amount(lasts.steps, 'steps')}",
        "optimizer: {use: adam, lr: 2e-3, clip: 5, discriminator: {lr: 5e-4}}",
        f"batch: {min(BATCH, found.count)}  # over all workers",
        "metrics:",
        *(kept if found.distinct >= LEAST_SPLIT else []),
        "  - {use: self_bleu, samples: 1k}",
        "  - {use: repetition, samples: 1k}  # `copies` are sentences of yours, word for word",
        "every: {report: 5k, grid: 20k, checkpoint: 50k, metrics: 50k}",
        "resources: {workers: auto}",
    ]

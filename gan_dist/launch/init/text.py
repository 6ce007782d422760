"""A first job for a set of sentences: how they are cut, how long they are, and what is known to work."""

from __future__ import annotations

import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gan_dist.data.codec import SPECIAL, Splitting
from gan_dist.data.downloads import resolve_download
from gan_dist.data.picture_formats import HEAD_BYTES, format_of, is_picture_name
from gan_dist.data.text.builtin import built_in_text
from gan_dist.data.text.corpus import PLAIN_ENDINGS, text_files
from gan_dist.data.text.file_formats import Sentence, TextReadOptions, iterate_sentences
from gan_dist.data.text_stream import BOMS, PACKED, plain_name, text_format
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder, locate
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import BUILT_IN_TEXTS, absolute_source
from gan_dist.spec.paths import absolute_path

MOST_READ = 200_000
COVERED = 0.98
MANY = 20_000
FEW = 2_000
LEAST = 16


@dataclass(kw_only=True, frozen=True)
class TextSurvey:
    """What there is to learn from.

    Attributes:
        count: sentences looked at.
        way, why: what a token is to be, and why.
        length: tokens that all but a few of the sentences have at most.
        kinds: different tokens; `frequent`: those that come twice or more.
        encoding: how characters are stored.
        labels: the `data.labels` that fits.
    """

    source: str
    count: int
    way: str
    why: str
    length: int
    kinds: int
    frequent: int
    encoding: str | None
    labels: str


def is_text(source: str) -> bool:
    """Whether a source is a file of text, or a folder of nothing else. A table may name images: that is for the job."""
    if source in BUILT_IN_TEXTS:
        return True
    path = absolute_path(resolve_download(source))
    files = [one for one in path.iterdir() if not one.name.startswith(".")] if path.is_dir() else [path]
    return bool(files) and all(_reads_as_text(file) for file in files)


def _files(source: str) -> tuple[list[Iterator[Sentence]], str | None]:
    """The sentences of each file of a source, and how its characters are stored."""
    if source in BUILT_IN_TEXTS:
        return [built_in_text(source).each()], None
    root, name = locate(resolve_download(source))
    files = [name] if name is not None else [entry.name for entry in text_files(root)[0]]
    encoding = _encoding(root, files[0])
    return [iterate_sentences(root, file, TextReadOptions(encoding)) for file in files], encoding


def _reads_as_text(path: Path) -> bool:
    """Whether a file begins like text, by its content as names may be anything."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head or is_picture_name(path.name):
        return False
    if head.startswith((*PACKED, *(mark for mark, _ in BOMS))) and plain_name(path.name).endswith(PLAIN_ENDINGS):
        return True
    known = format_of(head[:HEAD_BYTES])
    return (known is None or known.name == "tga") and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)


def survey_text(source: str) -> TextSurvey:
    """Looks at a text file, a table or a folder of such.

    Raises:
        DataError: there is no sentence in it.
    """
    files, encoding = _files(source)
    texts = [one.content for file in files for one in islice(file, MOST_READ)]
    read = [text for text in texts if isinstance(text, str)]
    if len(read) < LEAST:
        raise DataError(f"{source}: holds {len(read)} sentences that can be read; a job wants {LEAST} or more")
    way, why = _way(read[:1000])
    splitting = Splitting(way)
    split = [splitting.split(text) for text in read]
    counts = Counter(token for tokens in split for token in tokens)
    lengths = sorted(len(tokens) for tokens in split)
    length = max(4, lengths[int(COVERED * (len(lengths) - 1))])
    frequent = sum(n > 1 for n in counts.values())
    labels = "files" if 1 < len(files) <= 20 else "none"
    return TextSurvey(
        source=source,
        count=len(read),
        way=way,
        why=why,
        length=length,
        kinds=len(counts),
        frequent=frequent,
        encoding=encoding,
        labels=labels,
    )


def _encoding(root: Folder, file: str) -> str | None:
    """How characters are stored, where neither a mark nor UTF-8 says so."""
    if file.lower().endswith(".parquet"):
        return None
    plain, found = text_format(root, file, None), text_format(root, file, None, detect=True)
    return None if plain.encoding == found.encoding else found.encoding


def _way(texts: list[str]) -> tuple[str, str]:
    letters = [char for text in texts for char in text if not char.isspace()]
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in letters)
    if wide > len(letters) / 2:
        blanks = sum(len(text.split()) for text in texts) > len(letters) / 2
        if blanks:
            return "blanks", "characters that blanks stand between already"
        return "characters", "the writing has no blanks between words"
    cut = sum(" , " in text or text.rstrip().endswith(" .") for text in texts)
    if cut > len(texts) / 2:
        return "blanks", "punctuation is cut from the words already"
    return "words", "by Unicode's word boundaries; punctuation stands on its own"


def write_text_job(source: str) -> str:
    """A commented job file for sentences."""
    found = survey_text(source)
    gpu = shutil.which("nvidia-smi") is not None
    large, few = found.count >= MANY, found.count < FEW
    hidden = 512 if gpu and large else 128
    epochs = 30 if large else 60
    min_count = 2 if found.frequent >= 500 else 1
    known = (found.frequent if min_count == 2 else found.kinds) + len(SPECIAL)
    name = absolute_path(source).name.split(".")[0].lower()
    word = "".join(char if char.isascii() and char.isalnum() else "-" for char in name).strip("-") or "text"
    steps = Amount(500 if large else 200, "steps")
    return f"""# gan-dist submit job.yaml
# Written by: gan-dist init {source}
# {found.count:,} sentences of {found.kinds:,} different tokens; {"a GPU" if gpu else "no GPU"}.
version: 1
name: text-{word[:50]}

data:
  modality: text
  source: {absolute_source(source)}
  tokens: {found.way}  # {found.why}
  length: {found.length}  # {COVERED:.0%} of the sentences have at most so many tokens; the others lose their end
  too_long: cut
  min_count: {min_count}  # {known:,} tokens are known
  encoding: {found.encoding or "null"}  # {"as its bytes look" if found.encoding else "as the file says, or UTF-8"}
  labels: {found.labels}  # {"a class for each file" if found.labels == "files" else "one class"}

generator:
  use: lstm
  embedding: {hidden // 2}
  hidden: {hidden}
  dropout: {0.4 if few else 0.2}  # against learning {"so few sentences" if few else "them"} by heart
discriminator:
  use: textlstm  # a reward for each token, which costs no rollouts
  embedding: 64
  hidden: {min(256, hidden)}

stages:
  - name: likelihood
    objective: mle  # most of what a text GAN can do is learnt here
    for: {epochs} epochs
  - name: adversarial
    objective: [{{use: scratchgan}}, {{use: mle, weight: 0.5}}]  # likelihood beside it keeps what it says varied
    for: {steps}
optimizer: {{use: adam, lr: 2e-3, clip: 5, discriminator: {{lr: 5e-4}}}}
batch: {min(64, found.count)}  # over all workers
metrics:
  - {{use: self_bleu, samples: 1k}}
  - {{use: repetition, samples: 1k}}  # `copies` are sentences of yours, word for word
every: {{report: 5k, grid: 20k, checkpoint: 50k, metrics: 50k}}
resources: {{workers: auto}}
"""

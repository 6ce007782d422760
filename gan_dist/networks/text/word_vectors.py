"""Word vectors from a file, beside embeddings of our own: in GloVe's text format, or in fastText's, which has a line
with the numbers of words and of dimensions above it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_dist.data.codec import GLUE
from gan_dist.errors import DataError
from gan_dist.spec.paths import absolute_path
from gan_dist.spec.problems import nearest_name

STD = 0.3836  # of all numbers of the 300-dimensional GloVe vectors (d'Autume et al. 2019)


class WordTable(nn.Module):
    """Embeddings of all tokens, [V, vectors + embedding]: those of a file, and some of our own beside them.

    Tokens that the file lacks begin with numbers as spread as its own.

    Args:
        vocabulary: every token by its id, or how many there are where no file is read.
        embedding: numbers of each token that are learnt from scratch.
        vectors: a file of word vectors; None for none.
        trained: whether the file's vectors are trained as well.

    Raises:
        ValueError: the file is not there, is no such file, or knows none of the words.
    """

    def __init__(self, vocabulary: Sequence[str] | int, embedding: int, vectors: str | None, trained: bool) -> None:
        super().__init__()
        count = vocabulary if isinstance(vocabulary, int) else len(vocabulary)
        if embedding < 0 or (embedding == 0 and vectors is None):
            raise ValueError(f"embedding must be at least {0 if vectors else 1}, not {embedding}")
        self.own = nn.Parameter(torch.randn(count, embedding) * STD)
        self.given: nn.Parameter | None = None
        if vectors is not None:
            assert not isinstance(vocabulary, int)
            found = read_vectors(vectors, vocabulary).to(self.own.device)
            self.given = nn.Parameter(found, requires_grad=trained)
        self.size = embedding + (0 if self.given is None else self.given.shape[1])

    def forward(self) -> Tensor:
        """The whole table, [V, size]."""
        return self.own if self.given is None else torch.cat([self.given, self.own], 1)


def read_vectors(file: str, words: Sequence[str]) -> Tensor:
    """The vectors of these words, [V, D] in float32; random ones for those that the file lacks.

    Raises:
        ValueError: it cannot be read, a line of it is no word with numbers, or it knows none of the words.
    """
    wanted, found, size, number = _places(words), dict[int, list[float]](), 0, 0
    try:
        with absolute_path(file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                word, *values = line.rstrip().split(" ")
                if number == 1 and len(values) == 1:
                    continue  # fastText's own first line
                size = size or len(values)
                if len(values) != size or not values:
                    raise DataError(f"vectors: line {number} of {file!r} has {len(values)} numbers, not {size}")
                for place in wanted.get(word, ()):
                    found[place] = [float(value) for value in values]
                    if not all(map(math.isfinite, found[place])):
                        raise DataError(f"vectors: line {number} of {file!r} holds a number that is not finite")
    except OSError as error:
        near = nearest_name(absolute_path(file).name, [one.name for one in absolute_path(file).parent.glob("*")])
        guess = f"; did you mean {near!r}?" if near else ""
        raise DataError(f"vectors: {file!r} cannot be read: {error.strerror}{guess}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"vectors: {file!r} is no text in UTF-8") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"vectors: line {number} of {file!r} is no word with numbers: {error}") from error
    if not number:
        raise DataError(f"vectors: {file!r} is empty")
    if not found:
        raise DataError(f"vectors: {file!r} knows none of the {len(words):,} tokens of the data")
    known = torch.tensor(list(found.values()), device="cpu")
    table = torch.randn(len(words), size, device="cpu") * (known.std() if known.numel() > 1 else STD)
    table[torch.tensor(list(found), device="cpu")] = known
    return table


def _places(words: Sequence[str]) -> dict[str, list[int]]:
    """The places of the tokens that are a word, whatever stands beside them without a blank."""
    found: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        found.setdefault(word.strip(GLUE), []).append(place)
    return found

"""Sentences of a random LSTM whose probabilities are known: the oracle of Yu et al. 2017 (arXiv 1609.05473, section 5).

Every weight is a draw from N(0, 1). The published one has vocabulary 5000, embedding and hidden size 32, and a file of
its weights; a fresh one of any vocabulary and length is drawn from the seed of its name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_dist.data.codec import NUMBERS, Codec, Splitting
from gan_dist.data.labels import number_classes
from gan_dist.data.npz import Npz
from gan_dist.data.source import (
    FORMAT,
    Contents,
    Counted,
    Listing,
    Part,
    Parts,
    RawSample,
    Source,
    explain_unreachable,
    state_of,
)
from gan_dist.errors import DataError
from gan_dist.runs.storage import locate
from gan_dist.spec.data import TextData

VOCABULARY, HIDDEN = 5000, 32
SEED = 1609
GATES = ("i", "f", "og", "c")
ARRAYS = ("emb", *(f"{kind}{gate}" for gate in GATES for kind in ("W", "U", "b")), "Wo", "bo")
Description = Mapping[str, Any]
Floats = NDArray[np.floating[Any]]
CHUNK = 512
PRECISION = "float64"  # of drawing: what was prepared by another is drawn anew


class LstmOracle:
    """An LSTM language model of fixed weights, in their precision: float32 as they are published.

    Args:
        weights: `ARRAYS` by name: emb [V, E]; of each gate i, f, og (output), c (candidate) W [E, H], U [H, H] and
            b [H]; Wo [H, V], bo [V].
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.weights = weights
        self.embedding, self.out, self.out_bias = weights["emb"], weights["Wo"], weights["bo"]
        self.inputs = np.concatenate([weights[f"W{gate}"] for gate in GATES], 1)
        self.hidden = np.concatenate([weights[f"U{gate}"] for gate in GATES], 1)
        self.bias = np.concatenate([weights[f"b{gate}"] for gate in GATES])

    @property
    def vocabulary(self) -> int:
        return len(self.embedding)

    def sample(self, uniforms: Floats) -> NDArray[np.int64]:
        """Sentences [n, T] from numbers [n, T] uniform in [0, 1), by inverting the cumulative probability.

        In float64: of 5000 tokens some lie so close that the last digits of float32, which are another processor's own,
        would choose another one in every thousandth place.
        """
        exact = LstmOracle({name: array.astype(np.float64) for name, array in self.weights.items()})
        return np.concatenate([exact._drawn(uniforms[at : at + CHUNK]) for at in range(0, len(uniforms), CHUNK)])

    def _drawn(self, uniforms: Floats) -> NDArray[np.int64]:
        tokens, state = self._begin(len(uniforms))
        drawn = []
        for column in uniforms.T:
            log_p, state = self._step(tokens, state)
            cumulative = np.exp(log_p).cumsum(1)
            sought = column * cumulative[:, -1]
            found = [row.searchsorted(value, "right") for row, value in zip(cumulative, sought, strict=True)]
            tokens = np.asarray(found, np.int64).clip(max=self.vocabulary - 1)
            drawn.append(tokens)
        return np.stack(drawn, 1)

    def nll(self, sentences: NDArray[Any]) -> Floats:
        """-log p of each token of sentences [n, T], in nats, [n, T]."""
        found = []
        for start in range(0, len(sentences), CHUNK):
            part = sentences[start : start + CHUNK]
            tokens, state = self._begin(len(part))
            columns = []
            for column in part.T:
                log_p, state = self._step(tokens, state)
                columns.append(-log_p[np.arange(len(part)), column])
                tokens = column
            found.append(np.stack(columns, 1))
        return np.concatenate(found)

    def _begin(self, n: int) -> tuple[NDArray[Any], tuple[Floats, Floats]]:
        """The start token 0 [n], and the state before it."""
        zeros = np.zeros((n, len(self.hidden)), self.hidden.dtype)
        return np.zeros(n, np.int64), (zeros, zeros)

    def _step(self, tokens: NDArray[Any], state: tuple[Floats, Floats]) -> tuple[Floats, tuple[Floats, Floats]]:
        """log p [n, V] of the next token after `tokens` [n], and the state after it, two of [n, H]."""
        h, c = state
        i, f, o, new = np.split(self.embedding[tokens] @ self.inputs + h @ self.hidden + self.bias, 4, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(new)
        h = _sigmoid(o) * np.tanh(c)
        logits = h @ self.out + self.out_bias
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True)), (h, c)


def _sigmoid(x: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-x))
    return found


def open_oracle(description: Description) -> LstmOracle:
    """The oracle that `TextFacts.oracle` describes: `{"file": URI, "digest": d}`, or `{"vocabulary": V, "seed": s}`.

    Raises:
        DataError: its file is gone, or holds something else, or no longer what it held.
    """
    if "file" in description:
        with explain_unreachable(description["file"]):
            weights, digest = _loaded(description["file"])
        if digest != description.get("digest", digest):
            raise DataError(f"data.source: the oracle in {description['file']!r} is not the one that drew these data")
        return LstmOracle(weights)
    return LstmOracle(_fresh(description["vocabulary"], description["seed"]))


def find_oracle(data: TextData) -> Source:
    """`data.count` sentences of an oracle.

    Raises:
        DataError: labels are asked for, or the file holds no oracle, or one of another vocabulary.
    """
    if data.labels != "none":
        raise DataError(f"data.labels: {data.labels!r}, but an oracle's sentences have none")
    _, _, file = data.source.partition(":")
    description: Description = {"vocabulary": data.vocabulary or VOCABULARY, "seed": SEED}
    if file:
        with explain_unreachable(file):
            weights, digest = _loaded(file)
        description, known = {"file": file, "digest": digest}, len(weights["emb"])
        if data.vocabulary not in (None, known):
            raise DataError(f"data.vocabulary: {data.vocabulary}, but the oracle of {file!r} has {known}; leave it out")
    vocabulary = tuple(map(str, range(open_oracle(description).vocabulary)))
    codec = Codec(data.length, Splitting(NUMBERS), vocabulary)
    count = int(data.count.value)
    names = Counted("sentence", count)
    listing = Listing(kind="oracle", where=data.source, state="", root=file, names=names)
    classes, _ = number_classes((), names)
    parts, shares = Parts(listing, codec, ()), data.shares

    def look() -> Contents:
        kept = _besides(parts, count, shares)
        return Contents(parts, classes, codec, notes={"oracle": description}, held_out=kept, shares=shares)

    return Source(data.source, state_of([FORMAT, PRECISION, description, codec.length, count, shares]), look)


def _besides(parts: Parts, count: int, shares: Mapping[str, float]) -> dict[str, list[str]]:
    """Sentences that are drawn after the first `count`, which nothing is learnt from: as many as those shares of it."""
    found, first = {}, count
    for key, share in shares.items():
        further = range(first, first := first + math.ceil(share * count))
        part = replace(parts[0], names=tuple(map(str, further)), places=tuple(further), classes=())
        drawn = (one.content for one in read_oracle(part))
        found[key] = [" ".join(map(str, row)) for row in drawn if isinstance(row, np.ndarray)]
    return found


def read_oracle(part: Part) -> Iterator[RawSample]:
    """The sentences of a part; each is decided by its number among all."""
    assert isinstance(part.form, Codec)
    description = {"file": part.root} if part.root else {"vocabulary": len(part.form.vocabulary), "seed": SEED}
    uniforms = np.stack([np.random.default_rng([SEED, place]).random(part.form.length) for place in part.places])
    drawn = open_oracle(description).sample(uniforms)
    for (name, _, label), sentence in zip(part.rows(), drawn, strict=True):
        yield RawSample(name, sentence, label)


@lru_cache(maxsize=2)
def _fresh(vocabulary: int, seed: int) -> dict[str, Floats]:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> Floats:
        return random.standard_normal(shape, np.float32)

    gates = {f"{kind}{gate}": draw(*shape) for gate in GATES for kind, shape in _GATE_SHAPES.items()}
    return {"emb": draw(vocabulary, HIDDEN), **gates, "Wo": draw(HIDDEN, vocabulary), "bo": draw(vocabulary)}


_GATE_SHAPES = {"W": (HIDDEN, HIDDEN), "U": (HIDDEN, HIDDEN), "b": (HIDDEN,)}


def _loaded(file: str) -> tuple[dict[str, Floats], str]:
    """The weights in a file, and what tells them from others."""
    root, name = locate(file)
    if name is None:
        raise DataError(f"data.source: {file!r} is a folder; an oracle's weights are one .npz file")
    try:
        with root.seekable(name) as stream:
            held = Npz(stream)
            names, arrays = held.files, held.read(*held.files)
    except MemoryError:
        raise
    except Exception as error:  # of whatever unpacks
        raise DataError(f"data.source: {file!r} is no .npz file of an oracle's weights") from error
    weights = _checked(file, names, arrays)
    digest = hashlib.blake2b(digest_size=16)
    for name in ARRAYS:
        digest.update(np.ascontiguousarray(weights[name]).tobytes())
    return weights, digest.hexdigest()


def _checked(file: str, names: list[str], arrays: list[NDArray[Any]]) -> dict[str, Floats]:
    """The arrays by our names: as they are named, or in the published order."""
    found = dict(zip(names, arrays, strict=True)) if set(ARRAYS) <= set(names) else None
    if found is None and len(arrays) == len(ARRAYS):
        found = dict(zip(ARRAYS, arrays, strict=True))
    if found is None:
        raise DataError(
            f"data.source: {file!r} holds {len(arrays)} arrays ({', '.join(names[:4])}, ...); an oracle has "
            f"{len(ARRAYS)}: {', '.join(ARRAYS)}"
        )
    if not _fits(found):
        shapes = ", ".join(f"{name} {list(found[name].shape)}" for name in ("emb", "Wi", "Ui", "Wo", "bo"))
        raise DataError(f"data.source: the arrays of {file!r} do not fit together as one LSTM's: {shapes}")
    return {name: np.asarray(found[name], np.float32) for name in ARRAYS}


def _fits(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the arrays have the shapes of one LSTM."""
    if arrays["emb"].ndim != 2 or arrays["Ui"].ndim != 2:
        return False
    (vocabulary, embedding), hidden = arrays["emb"].shape, len(arrays["Ui"])
    wanted = {"W": (embedding, hidden), "U": (hidden, hidden), "b": (hidden,)}
    gates = all(arrays[f"{kind}{gate}"].shape == shape for kind, shape in wanted.items() for gate in GATES)
    return gates and arrays["Wo"].shape == (hidden, vocabulary) and arrays["bo"].shape == (vocabulary,)

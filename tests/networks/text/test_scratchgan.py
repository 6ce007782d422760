"""ScratchGAN's own networks: against torch's cells, by enumeration, and word vectors of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gan_dist.data.codec import GLUE
from gan_dist.networks.text.scratchgan import Cell, Discriminator, Generator, Layers, position_waves
from gan_dist.networks.text.word_vectors import WordTable, read_vectors
from tests.networks.text.test_autoregressive import EOS, LENGTH, VOCABULARY, every_sentence
from tests.tiny import codec

WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "a", f"b{GLUE}")
SHAPE: dict[str, Any] = {"vocabulary": VOCABULARY, "length": LENGTH, "codec": codec(WORDS)}


def generator(**keys: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(**SHAPE, bos=1, eos=EOS, **{"embedding": 3, "hidden": 4} | keys).double()


def test_a_cell_is_torch_s_with_a_forget_bias_of_one() -> None:
    torch.manual_seed(0)
    cell, known = Cell(3, 4, normed=False).double(), nn.LSTMCell(3, 4).double()
    nn.init.normal_(cell.gates.bias)
    enter, new, forget, leave = cell.gates.weight.chunk(4)
    b_enter, b_new, b_forget, b_leave = cell.gates.bias.chunk(4)
    ordered = torch.cat([enter, forget, new, leave])  # torch's order
    with torch.no_grad():
        known.weight_ih.copy_(ordered[:, :3])
        known.weight_hh.copy_(ordered[:, 3:])
        known.bias_ih.copy_(torch.cat([b_enter, b_forget + 1, b_new, b_leave]))
        known.bias_hh.zero_()
    x, h, c = torch.randn(5, 3).double(), torch.randn(5, 4).double(), torch.randn(5, 4).double()
    torch.testing.assert_close(cell(x, h, c), known(x, (h, c)))


def test_a_normed_cell_normalises_all_gates_before_their_bias() -> None:
    torch.manual_seed(0)
    cell = Cell(3, 4, normed=True).double()
    x, h, c = torch.randn(5, 3).double(), torch.randn(5, 4).double(), torch.randn(5, 4).double()
    gates = F.layer_norm(torch.cat([x, h], 1) @ cell.gates.weight.T, (16,))
    enter, new, forget, leave = gates.chunk(4, 1)
    wanted = torch.sigmoid(forget + 1) * c + torch.sigmoid(enter) * torch.tanh(new)
    found = cell(x, h, c)
    torch.testing.assert_close(found[1], wanted)
    torch.testing.assert_close(found[0], torch.sigmoid(leave) * torch.tanh(wanted))


def test_every_layer_sees_the_input_and_is_seen() -> None:
    layers = Layers(3, 4, 2, normed=False)
    assert [cell.gates.in_features for cell in layers.cells] == [3 + 4, 3 + 4 + 4]
    out, _ = layers(torch.randn(2, 3), layers.begin(2, torch.zeros(1)))
    assert out.shape == (2, 8)


@pytest.mark.parametrize("keys", [{}, {"layers": 1}, {"layer_norm": True}, {"classes": 2}])
def test_the_generator_s_probabilities(keys: dict[str, Any]) -> None:
    made, sentences = generator(**keys), every_sentence(EOS)
    cond = torch.ones(len(sentences), dtype=torch.int64) if keys.get("classes") else None
    assert made.log_prob(sentences, cond).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-12)
    state, before, steps = made.begin(len(sentences), cond), torch.full((len(sentences),), 1), []
    for column in sentences.unbind(1):
        logits, state = made.step(before, state)
        steps.append(logits)
        before = column
    torch.testing.assert_close(made.logits(sentences, cond), torch.stack(steps, 1))


def test_input_and_output_share_their_table() -> None:
    made = generator(layers=1)
    assert {name for name, _ in made.named_parameters()} == {
        *("bias", "table.own", "input.weight"),
        *("layers.cells.0.gates.weight", "layers.cells.0.gates.bias"),
    }


def test_the_discriminator_drops_entries_of_the_table() -> None:
    torch.manual_seed(0)
    made = Discriminator(**SHAPE, embedding=3, hidden=4, dropout=0.5)
    tokens = torch.tensor([[4, 4, 2, 0], [4, 4, 2, 0]])
    found = made(tokens)
    assert found.shape == (2, LENGTH) and torch.equal(found[0], found[1]), "the same entries for all sentences"
    assert not torch.equal(found, made(tokens))
    made.eval()
    rows = F.one_hot(tokens, VOCABULARY).float()
    torch.testing.assert_close(made(rows), made(tokens))


def test_features_of_the_position() -> None:
    waves = position_waves(50)
    assert waves.shape == (50, 8)
    for feature, (period, shift) in {0: (2.0, 0.0), 7: (50.0, 2.0)}.items():
        wanted = [torch.cos(torch.tensor(torch.pi * (t / period + shift))) for t in range(50)]
        torch.testing.assert_close(waves[:, feature], torch.stack(wanted), atol=1e-5, rtol=0)


def vectors(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("first", [(), ("3 2",)])
def test_vectors_of_a_file(tmp_path: Path, first: tuple[str, ...]) -> None:
    """GloVe's, and fastText's with its first line; marks of missing blanks are no part of a word."""
    file = vectors(tmp_path / "v.txt", *first, "a 1.5 -2", "other 0 0", "b 3 4")
    found = read_vectors(file, WORDS)
    assert found.shape == (6, 2) and found[4].tolist() == [1.5, -2] and found[5].tolist() == [3, 4]
    table = WordTable(WORDS, 3, file, trained=False)
    assert table.size == 5 and table()[4, :2].tolist() == [1.5, -2]
    assert [one.requires_grad for one in table.parameters()] == [True, False]
    made = generator(vectors=file, trained_vectors=True)
    assert made.table.given is not None and made.table.given.requires_grad and made.input.in_features == 5


def test_what_is_no_file_of_vectors(tmp_path: Path) -> None:
    faults: dict[str, tuple[str, ...]] = {
        "line 2 of .* has 1 numbers, not 2": ("a 1 2", "b 3"),
        "line 1 of .* is no word with numbers": ("a x y",),
        "knows none of the 6 tokens of the data": ("zebra 1 2",),
        "line 2 of .* holds a number that is not finite": ("zebra 1 2", "a 1 nan"),
        "is empty": (),
    }
    for message, lines in faults.items():
        with pytest.raises(ValueError, match=message):
            read_vectors(vectors(tmp_path / "v.txt", *lines), WORDS)
    (tmp_path / "v.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        read_vectors(str(tmp_path / "v.txt"), WORDS)
    with pytest.raises(ValueError, match=r"cannot be read: No such file or directory; did you mean 'v.txt'\?$"):
        read_vectors(str(tmp_path / "vv.txt"), WORDS)

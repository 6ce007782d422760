"""Files of sentences in `gan-dist evaluate`: against a run's data, in place of them, and against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pytest
import torch

import gan_dist
from gan_dist.data.codec import SPECIAL, Codec, Splitting
from gan_dist.evaluation.inputs import file_as_data, read_sentence_file
from gan_dist.metrics.text.bleu import bleu_against
from gan_dist.metrics.text.references import TokenSentences
from tests.helpers import SHARED, Cli

JOB = """
name: said
data: {modality: text, source: %s, test: %s, validation: 0, length: 6}
generator: {use: lstm, embedding: 4, hidden: 6}
objective: mle
batch: 8
until: 2 steps
metrics: [{use: self_bleu, samples: 16}]
"""
WORDS = ["a", "big", "small", "cat", "dog", "ran", "sat", "here"]


def lines(seed: int, count: int, extra: str = "") -> list[str]:
    import random

    chance = random.Random(seed)
    return [" ".join(chance.choices([*WORDS, *extra.split()], k=chance.randint(2, 5))) for _ in range(count)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("files")
    for name, content in (("train", lines(0, 64)), ("test", lines(1, 40)), ("made", lines(2, 30, "unicorn"))):
        (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in content))
    (root / "job.yaml").write_text(JOB % (root / "train.txt", root / "test.txt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        for seed, name in enumerate(("one", "two")):
            gan_dist.train(root / "job.yaml", name=name, seed=seed, storage=str(root / "runs"))
        yield root


@pytest.fixture
def ask(root: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Cli:
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    monkeypatch.setenv("GAN_DIST_STORAGE", str(root / "runs"))
    monkeypatch.chdir(root)
    return partial(cli, "evaluate")


def numbered(*files: Path) -> list[TokenSentences]:
    ids: dict[str, int] = {}
    return [
        TokenSentences.of(
            [[ids.setdefault(word, len(ids)) for word in line.split()] for line in file.read_text().split("\n")[:-1]]
        )
        for file in files
    ]


def test_a_file_against_a_run(root: Path, ask: Cli) -> None:
    code, out, err = ask("made.txt", "one", "--metric", "bleu", "--metric", "repetition", "--json")
    assert code == 0, err
    found = json.loads(out)
    wanted = bleu_against(*numbered(root / "made.txt", root / "test.txt"))
    assert {f"bleu{n}_test_30": pytest.approx(value) for n, value in wanted.items()}.items() <= found["metrics"].items()
    train = (root / "train.txt").read_text().split("\n")
    copies = sum(line in train for line in lines(2, 30, "unicorn")) / 30
    assert found["metrics"]["copies_30"] == pytest.approx(copies)
    assert (found["a"], found["split"], found["samples_of_b"], found["samples_of_split"]) == (
        "made.txt",
        "test",
        64,
        40,
    )
    assert found["real"]["copies_30"] == 1 and "samples_seen" in found


def test_real_sentences_are_compared_with_others_while_there_are_enough(ask: Cli) -> None:
    """The same ones would be as near as can be, and tell nothing of what to expect."""
    code, out, err = ask("one", "--metric", "profile", "--n", "32", "--json")
    assert code == 0, err
    real = json.loads(out)["real"]
    assert real["length_distance_32"] > 0 and real["length_32"] != real["length_real_32"]


def test_lengths_and_new_tokens_are_drawn_beside_real_ones(root: Path, ask: Cli) -> None:
    (root / "few.txt").write_text("a b c d\na b\n")  # the second is drawn first
    (root / "real.txt").write_text("a a a\na b c\n")
    words = ("--tokens", "blanks", "--metric", "profile", "--profile", "profile.png")
    code, out, err = ask("few.txt", "real.txt", *words, "--json")
    assert code == 0, err
    lengths, read = [0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]
    assert json.loads(out)["profile"] == {
        "lengths": {"samples": [lengths, [0, 0, 0.5, 0, 0.5]], "real": [lengths, [0, 0, 0, 1, 0]]},
        "types": {"samples": [read, [1, 2, 2, 2, 3, 4]], "real": [read, [1, 1, 1, 1, 2, 3]]},
    }
    assert (root / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert "profile: profile.png" in ask("few.txt", "real.txt", *words, "--force")[1]


def test_copied_passages_are_listed_with_where_they_stand(root: Path, ask: Cli) -> None:
    known = [" ".join(f"w{row}{place}" for place in range(12)) for row in range(20)]
    (root / "long.txt").write_text("".join(f"{line}\n" for line in known))
    made = ["x " + " ".join(known[7].split()[2:11]), known[3], "w10 w11 w12 w13 w14 w15 w16", "w00 x w02"]
    (root / "taken.txt").write_text("".join(f"{line}\n" for line in made))
    job = JOB % (root / "long.txt", root / "long.txt")
    (root / "long.yaml").write_text(job.replace("length: 6", "length: 12, tokens: blanks"))
    gan_dist.train(root / "long.yaml", name="long", storage=str(root / "runs"))
    code, out, err = ask("taken.txt", "long", "--metric", "copied", "--copies", "copies.jsonl")
    assert code == 0, err
    found = [json.loads(line) for line in (root / "copies.jsonl").read_text().splitlines()]
    assert [(one["passage"], one["tokens"], one["name"], one["source"]) for one in found] == [
        (known[3], 12, "long.txt:4", known[3]),
        (" ".join(known[7].split()[2:11]), 9, "long.txt:8", known[7]),
    ]
    assert "copies: 2 passages of 8 tokens or more stand in long" in out and f"long.txt:4: {known[3]}" in out
    assert "copied_sentences_4" in out
    code, out, err = ask("taken.txt", "long.txt", "--tokens", "blanks", "--metric", "copied", "--copies", "more.jsonl")
    assert code == 0 and "  sentence 3: " in out, err


def test_a_run_against_a_file(root: Path, ask: Cli) -> None:
    code, out, err = ask("one", "test.txt", "--metric", "bleu", "--metric", "nll", "--n", "32", "--json")
    assert code == 0, err
    ours, theirs = (
        json.loads(out),
        json.loads(ask("one", "--metric", "bleu", "--metric", "nll", "--n", "32", "--json")[1]),
    )
    # The same sentences as its own test, so the same numbers.
    assert ours["metrics"] == {f"{name}_vs_test.txt": pytest.approx(v) for name, v in theirs["metrics"].items()}
    assert "real" not in ours


@pytest.mark.slow
def test_two_files(root: Path, ask: Cli) -> None:
    code, out, err = ask("made.txt", "test.txt", "--json")
    assert code == 0, err
    found = json.loads(out)["metrics"]
    wanted = bleu_against(*numbered(root / "made.txt", root / "test.txt"))
    assert found["bleu3_test_30_vs_test.txt"] == pytest.approx(wanted[3]) and "self_bleu3_30_vs_test.txt" in found
    assert not any(name.startswith(("nll", "lm")) for name in found)
    code, out, err = ask("made.txt", "made.txt", "--metric", "copies", "--tokens", "characters", "--json")
    assert code == 0 and json.loads(out)["metrics"]["copies_30_vs_made.txt"] == 1
    (root / "loud.txt").write_text((root / "made.txt").read_text().upper())
    for words, copies in (((), 0), (("--lower",), 1)):
        out = ask("loud.txt", "made.txt", "--metric", "copies", "--json", *words)[1]
        assert json.loads(out)["metrics"]["copies_30_vs_made.txt"] == copies


def test_what_cannot_be_compared(root: Path, ask: Cli) -> None:
    (root / "long.txt").write_text("a big cat sat here a a a\na cat\n")
    (root / "none.txt").write_text("\n")
    (root / "bytes.txt").write_bytes(b"a cat\n\xff\xfe\n")
    code, _, err = ask("long.txt", "one", "--metric", "distinct2")
    assert code == 0 and "1 of 2 sentences of long.txt are longer than 6 tokens: they are cut" in err
    faults = [
        (("made.txt",), "'made.txt' is a file of sentences; name a run or a second file to compare it with"),
        (("made.txt", "one", "--temperature-grid"), "are for runs, and 'made.txt' is a file"),
        (("made.txt", "one", "--metric", "nll"), "asks the generator itself, and there are samples alone"),
        (("made.txt", "none.txt"), "none.txt' holds no sentence"),
        (("made.txt", "bytes.txt"), "error: 1 of 2 sentences in "),
        (("made.txt", "one", "--n", "31"), "'made.txt' holds 30 samples"),
        (("made.txt", "test.txt", "--tokens", "wrods"), "unknown way 'wrods'; did you mean 'words'?"),
    ]
    for words, message in faults:
        code, _, err = ask(*words)
        assert code == 2 and message in err, (words, err)


def test_a_run_and_its_twin_against_a_file_with_a_word_of_its_own(root: Path, ask: Cli) -> None:
    words = ("--metric", "nll", "--metric", "bleu", "--n", "30", "--temperature-grid", "--inverse-temperatures", "1")
    code, out, err = ask("one", "made.txt", "--twin", "two", *words, "--metric", "self_bleu", "--json")
    assert code == 0, err
    found = json.loads(out)
    for which, name in (("model", "one"), ("twin", "two")):
        model = gan_dist.load(next(path for path in (root / "runs").iterdir() if path.name.startswith(f"{name}-")))
        codec = model.facts.codec
        rows = torch.from_numpy(np.stack([codec.encode(line) for line in lines(2, 30, "unicorn")]).astype(np.int64))
        wanted = -model.generator.log_prob(rows).sum().item() / model.generator.mask(rows).sum().item()
        (point,) = found["curves"][which]
        assert point["metrics"]["nll_test_30_vs_made.txt"] == pytest.approx(wanted, rel=1e-5)


def test_files_that_differ_in_unknown_words_alone_are_two(tmp_path: Path) -> None:
    codec, checksums = Codec(4, Splitting("blanks"), (*SPECIAL, "a")), set()
    for word in ("unicorn", "griffin"):
        (tmp_path / "file.txt").write_text(f"a {word}\n")
        checksums.add(file_as_data(read_sentence_file(str(tmp_path / "file.txt"), codec)).facts.checksum)
    assert len(checksums) == 2


def test_words_are_numbered_once_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def ids(codec: Codec) -> dict[str, int]:
        built.append(len(codec.vocabulary))
        return {token: number for number, token in enumerate(codec.vocabulary)}

    counted = cached_property(ids)
    counted.__set_name__(Codec, "ids")
    monkeypatch.setattr(Codec, "ids", counted)
    (tmp_path / "file.txt").write_text("a cat\n" * 9)
    found = read_sentence_file(str(tmp_path / "file.txt"), Codec(4, Splitting("blanks"), (*SPECIAL, "a")))
    assert built == [5, 6] and not found.codec.cut


@pytest.mark.slow
def test_published_samples_have_the_published_score(ask: Cli) -> None:
    """BLEU-2 to BLEU-5 of Texygen's own samples against the test captions, by one command (Zhu et al. 2018)."""
    made, test = SHARED / "text" / "texygen_samples" / "mle.txt", SHARED / "text" / "coco" / "test.txt"
    if not made.exists() or not test.exists():
        pytest.skip("the published samples are not at hand")
    code, out, err = ask(str(made), str(test), "--metric", "bleu", "--lower", "--json")
    assert code == 0, err
    found = list(json.loads(out)["metrics"].values())
    assert found == pytest.approx([0.731, 0.497, 0.305, 0.189], abs=0.005)

"""Text sources: every kind, their labels, and what is wrong with them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import TextFacts, facts_from_record
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import prepare_or_load
from gan_dist.data.text.oracle import open_oracle
from gan_dist.errors import DataError, JobError
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data
from gan_dist.spec.data import TextData
from tests.helpers import SHARED

TEXTS = ["the cat sat", "a dog", "the cat ran off"]


def spec(source: Path | str, **keys: Any) -> TextData:
    made = validate_data({"modality": "text", "source": str(source), "length": 8, **keys})
    assert isinstance(made, TextData)
    return made


def read(source: Path | str, stand_in_of: int | None = None, **keys: Any) -> Memory:
    with tempfile.TemporaryDirectory() as cache:
        found = prepare_or_load(
            spec(source, **keys),
            Folder(cache),
            executor=write_shards_on_processes,
            progress=lambda done, total: None,
            stand_in_of=stand_in_of,
        )
        return load_into_memory(found, 0, 1)


def texts(read: Memory) -> list[str]:
    facts = read.facts
    assert isinstance(facts, TextFacts)
    return [facts.codec.text(row) for block in read.blocks for row in block.tolist()]


def write(root: Path, kind: str) -> Path:
    path = root / f"x{kind}"
    if kind in (".txt", ""):
        path.write_text("\n".join(TEXTS) + "\n")
    elif kind == ".csv":
        path.write_text("id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)))
    elif kind == ".tsv":
        path.write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps({"sentence": text, "n": 1}) + "\n" for text in TEXTS))
    elif kind == ".json":
        path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    else:
        pq.write_table(pa.table({"caption": TEXTS, "n": [1, 2, 3]}), path, row_group_size=2)
    return path


@pytest.mark.parametrize("kind", [".txt", "", ".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    found = read(write(tmp_path, kind))
    assert texts(found) == TEXTS
    assert found.facts.provided == {
        "vocabulary": 4 + 7,
        "length": 8,
        "bos": 1,
        "eos": 2,
        "classes": 0,
        "prompt_length": 0,
    } | {"codec": found.facts.codec}
    assert found.facts == facts_from_record(json.loads(json.dumps(found.facts.as_dict())))


def test_a_csv_may_hold_lines_and_commas_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text,label\n"a, b\nc",1\n"d ""e""",0\n')
    found = read(tmp_path / "x.csv", labels="column", tokens="blanks")
    assert texts(found) == ["a, b c", 'd "e"'] and found.labels.tolist() == [1, 0]


def test_columns_are_named_and_joined(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([{"setup": "why ?", "punchline": "so .", "type": "dad"}]))
    assert texts(read(tmp_path / "x.json", column=["setup", "punchline"], tokens="blanks")) == ["why ? so ."]
    with pytest.raises(DataError, match=r"say which column of 'x.json' holds the text"):
        read(tmp_path / "x.json")
    with pytest.raises(DataError, match="no column 'setpu'; did you mean 'setup'"):
        read(tmp_path / "x.json", column="setpu")
    with pytest.raises(DataError, match=r"data.label_column: 'x.json' has no column 'kind'"):
        read(tmp_path / "x.json", column="setup", labels="column", label_column="kind")


def test_labels_by_file_folder_and_column(tmp_path: Path) -> None:
    for name, text in (("neg/a.txt", "bad film\n"), ("pos/a.txt", "good film\nfine film\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read(tmp_path, labels="folders")
    assert found.facts.classes == ("neg", "pos") and found.labels.tolist() == [0, 1, 1]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "rt.neg").write_text("bad film\n")
    (tmp_path / "two" / "rt.pos").write_text("good film\n")
    assert read(tmp_path / "two", labels="files").facts.classes == ("rt.neg", "rt.pos")


def test_encodings(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("caf\u00e9 au lait\nplain words\n".encode("latin-1"))
    assert texts(read(tmp_path / "x.txt", encoding="latin-1"))[0] == "caf\u00e9 au lait"
    with pytest.raises(
        DataError,
        match=r"1 of 2 samples .*\n  x.txt:1: no UTF-8 at byte 3 \(0xe9\); it may be cp125\d: set",
    ):
        read(tmp_path / "x.txt")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfone two\r\n\r\n  \nthree four\r\n")
    assert texts(read(tmp_path / "bom.txt")) == ["one two", "three four"]
    with pytest.raises(JobError, match="encoding: 'klingon' is not known to Python"):
        spec("x", encoding="klingon")


def test_a_stand_in_has_the_shape_of_the_job(tmp_path: Path) -> None:
    found = read(tmp_path / "nowhere.txt", stand_in_of=20, vocabulary=50, labels="files")
    assert found.facts.stand_in and found.facts.count == 20 and len(found.facts.classes) == 10
    assert found.facts.provided["vocabulary"] == 50


def test_broken_lines_are_counted_and_named(tmp_path: Path) -> None:
    lines = [b"fine words here", b"x" * (2 << 20), b"zero\0s", b"\xff\xfe", b"more fine words", b"a b c d e f g h i"]
    (tmp_path / "x.txt").write_bytes(b"\n".join(lines))
    found = read(tmp_path / "x.txt", max_rejected=0.8)
    assert texts(found) == ["fine words here", "more fine words"]
    reasons = dict(found.facts.rejected)
    assert reasons == {
        "x.txt:2": "a line of more than 1 MiB",
        "x.txt:3": "zeros, no text",
        "x.txt:4": "no UTF-8 at byte 2097176 (0xff); it may be cp1251: set data.encoding",
        "x.txt:6": "9 tokens, more than data.length: 8",
    }
    assert texts(read(tmp_path / "x.txt", max_rejected=0.8, too_long="cut"))[-1] == "a b c d e f g h"


def test_broken_rows_of_tables(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,n\nfine words,1\nshort\nmore words,2\n")
    assert dict(read(tmp_path / "x.csv", max_rejected=0.5).facts.rejected) == {
        "x.csv:2": "1 cells where the table has 2 columns: 'short'"
    }
    (tmp_path / "x.jsonl").write_text('{"text": "fine words"}\n{"text": 3}\nnot json\n"alone so"\n[1]\n')
    found = read(tmp_path / "x.jsonl", max_rejected=0.8)
    assert texts(found) == ["fine words", "alone so"] and len(found.facts.rejected) == 3


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        ("", {}, "holds no sentence: every line and row of it is empty"),
        ("\n \n", {}, "holds no sentence"),
        ("same same\nsame\n", {}, "a vocabulary of 1 tokens is nothing to learn from"),
        ("a b\nc d\n", {"min_count": 2}, "a vocabulary of 0 tokens"),
        ("a b\n", {"labels": "folders"}, "wants each image in its class's folder"),
    ],
)
def test_what_cannot_be_learnt_from(tmp_path: Path, content: str, keys: dict[str, Any], message: str) -> None:
    (tmp_path / "x.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "x.txt", **keys)


def test_missing_files_and_documents_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a b\n")
    with pytest.raises(DataError, match=r"does not exist; did you mean '.*captions.txt'"):
        read(tmp_path / "caption.txt")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match=r"x.json is no JSON document"):
        read(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="holds a dict, not a list of sentences"):
        read(tmp_path / "x.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files in"):
        read(tmp_path / "empty")


def test_parts_are_read_at_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.data.source.rows_of_a_part", lambda form: 3)
    lines = [f"word{n} is {'long ' * (n % 4)}number {n}" for n in range(40)]
    (tmp_path / "a.txt").write_text("\n\n".join(lines[:25]))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[25:]))
    assert texts(read(tmp_path, tokens="blanks")) == [" ".join(line.split()) for line in lines]


def test_a_changed_file_is_prepared_anew_and_an_equal_one_is_not_read(tmp_path: Path) -> None:
    path, cache = write(tmp_path, ".txt"), Folder(str(tmp_path / "cache"))

    def settled() -> Any:
        return prepare_or_load(spec(path), cache, executor=write_shards_on_processes, progress=lambda done, total: None)

    first = settled()
    assert settled().folder == first.folder and len(cache.names()) == 1
    path.write_text("another text\nentirely so\n")
    assert settled().folder != first.folder


def test_where_test_sentences_are_does_not_change_the_data(tmp_path: Path) -> None:
    path, test = write(tmp_path, ".txt"), tmp_path / "test.txt"
    test.write_text("the cat ran\nthe unicorn sat\nthe cat sat off a dog the cat sat\n")
    found = read(path, test=str(test), validation=0)
    assert found.facts.checksum == read(path).facts.checksum
    held = found.facts.for_metrics("test")["held_out"]
    assert len(held.rows()) == 3 - 1 and len(held.numbers()) == 3
    unicorn = held.numbers()[1][1]
    assert unicorn >= len(found.facts.provided) and unicorn not in held.numbers()[0]


def test_oracles(tmp_path: Path) -> None:
    found = read("oracle", length=6, vocabulary=30, count=50)
    assert found.facts.provided == {
        "vocabulary": 30,
        "length": 6,
        "bos": 0,
        "eos": None,
        "classes": 0,
        "prompt_length": 0,
    } | {"codec": found.facts.codec}
    again = read("oracle", length=6, vocabulary=30, count=70)
    assert np.array_equal(np.concatenate(again.blocks)[:50], np.concatenate(found.blocks))
    with pytest.raises(DataError, match="an oracle's sentences have none"):
        read("oracle", labels="files")
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(DataError, match=r"holds 1 arrays \(a, ...\); an oracle has 15: emb, Wi"):
        read(f"oracle:{tmp_path / 'x.npz'}")
    (tmp_path / "y.npz").write_bytes(b"no")
    with pytest.raises(DataError, match=r"is no \.npz file of an oracle"):
        read(f"oracle:{tmp_path / 'y.npz'}")


def test_what_an_oracle_says_of_its_own_sentences() -> None:
    """Its entropy by drawing is its entropy by summing: of the first token exactly, from 20,000 draws."""
    oracle = open_oracle({"vocabulary": 30, "seed": 3})
    drawn = oracle.sample(np.random.default_rng(0).random((20_000, 1)))
    p = np.exp(-oracle.nll(np.arange(30)[:, None])[:, 0])
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert oracle.nll(drawn).mean() == pytest.approx(-(p * np.log(p)).sum(), abs=0.03)


@pytest.mark.slow
def test_the_published_oracle() -> None:
    file = SHARED / "text" / "oracle" / "oracle_lstm_params.npz"
    if not file.exists():
        pytest.skip("the published oracle is not at hand")
    oracle = open_oracle({"file": str(file)})
    drawn = oracle.sample(np.random.default_rng(0).random((3000, 20)))
    assert oracle.nll(drawn).mean() == pytest.approx(5.754, abs=0.02)
    with pytest.raises(DataError, match=r"data.vocabulary: 30, but the oracle of"):
        read(f"oracle:{file}", vocabulary=30)


@pytest.mark.parametrize(
    ("source", "keys", "count"),
    [
        ("coco/train.txt", {"length": 37}, 10_000),
        ("news/train.txt", {"length": 51, "tokens": "blanks"}, 10_000),
        ("stories/sentences.txt", {"length": 52, "max_rejected": 0.05}, 7_374),
        ("poems/tang_5jue.txt", {"length": 20, "tokens": "blanks"}, 3_785),
        ("jokes/jokes.json", {"length": 40, "column": ["setup", "punchline"]}, 451),
        ("sentiment", {"length": 70, "labels": "files", "encoding": "latin-1"}, 10_662),
    ],
)
@pytest.mark.slow
def test_text_at_hand(source: str, keys: dict[str, Any], count: int) -> None:
    if not (SHARED / "text" / source).exists():
        pytest.skip("the shared text is not at hand")
    facts = read(SHARED / "text" / source, **keys).facts
    assert facts.count + len(facts.rejected) == pytest.approx(count, abs=2)

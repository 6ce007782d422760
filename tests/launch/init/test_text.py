"""A first job for text: its column, what is kept from training, and a length that fits the machine."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.data.facts import TextFacts
from gan_dist.execution.local import read_rows
from gan_dist.execution.preflight import network_problems
from gan_dist.launch.init.images import write_job
from gan_dist.launch.init.recipes import Machine
from gan_dist.launch.init.text import write_text_job
from gan_dist.launch.init.training_speed import seconds_per_text_step
from gan_dist.launch.load_job import load_job
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec, TextData

WORDS = ["why", "did", "the", "cat", "dog", "sit", "on", "a", "mat", "and", "run", "to", "town", "with", "hat"]
CPU, GPU = Machine(0, 2), Machine(1, 8)


def sentences(count: int) -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(WORDS, k=9)) for _ in range(count)]


def read(text: str, folder: Path) -> JobSpec:
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml")


def _csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.write_text("\n".join([", ".join(columns), *(", ".join(map(str, row)) for row in rows)]) + "\n")
    return path


def _jsonl(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows) + "{no JSON\n")
    return path


def _document(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    return path


def _parquet(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    pq.write_table(pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path


TABLES = {"csv": _csv, "jsonl": _jsonl, "json": _document, "parquet": _parquet}


@pytest.mark.parametrize("ending", TABLES)
def test_the_only_column_of_text_needs_no_name(ending: str, tmp_path: Path) -> None:
    write: Callable[..., Path] = TABLES[ending]
    rows = [(f"id{at}", text, "good") for at, text in enumerate(sentences(200))]
    spec = read(write_text_job(str(write(tmp_path / f"t.{ending}", ["ID", "Joke", "Mood"], rows)), CPU), tmp_path)
    assert isinstance(spec.data, TextData) and spec.data.column == "Joke" and spec.data.length == 9
    named = write(tmp_path / f"n.{ending}", ["ID", "text", "Mood"], rows)
    spec = read(write_text_job(str(named), CPU), tmp_path)
    assert isinstance(spec.data, TextData) and spec.data.column is None, "the usual name says it"
    assert "--column" not in write_text_job(str(named), CPU)
    both = write(tmp_path / f"b.{ending}", ["title", "text", "Mood"], [(text, text, "good") for _, text, _ in rows])
    job = write_text_job(str(both), CPU)
    assert (
        "  # Text is in 'title' too: --column NAME\n" in job and read(job, tmp_path).data.model_dump()["column"] is None
    )


@pytest.mark.parametrize("ending", TABLES)
def test_of_several_columns_of_text_one_is_named(ending: str, tmp_path: Path) -> None:
    write: Callable[..., Path] = TABLES[ending]
    rows = [(text, f"{text} {text}") for text in sentences(200)]
    file = str(write(tmp_path / f"t.{ending}", ["title", "lyrics"], rows))
    with pytest.raises(ValueError, match=r"say which column.*'title' and 'lyrics' are text; it has title, lyrics"):
        write_job(file)
    with pytest.raises(ValueError, match="has no column 'lyric'; did you mean 'lyrics'"):
        write_job(file, column="lyric")
    text = write_job(file, column="lyrics")
    spec = read(text, tmp_path)
    assert isinstance(spec.data, TextData) and (spec.data.column, spec.data.length) == ("lyrics", 18)
    assert "--column lyrics" in text


ASKED = [f"why did the {animal} run to {place}?" for animal in WORDS[3:8] for place in WORDS[8:]] * 6
TABLES_WITH_PROMPTS: dict[str, tuple[str, list[str], list[tuple[object, ...]]]] = {
    # Names that say it, beside a third column of text.
    "jokes.json": ("jokes", ["id", "setup", "punchline", "told by"], [
        (f"{at}", text, f"{text} {text}", "a cat on a mat") for at, text in enumerate(sentences(200))
    ]),
    # Names that say nothing, and cells that do; answers stand first.
    "quiz.csv": ("quiz", ["Antwort", "Frage"], [
        (f"{text} and {text}", ask) for ask, text in zip(ASKED, sentences(210), strict=True)
    ]),
    # Answers of one word, which are no text for themselves.
    "short.parquet": ("short", ["Question", "Answer"], [(ask, ask.split()[3]) for ask in ASKED]),
    # `text` is the usual name of what is learnt, and `prompt` says what it follows.
    "told.jsonl": ("told", ["prompt", "text"], [(text, f"{text} {text}") for text in sentences(150)]),
}  # fmt: skip
JOBS = Path(__file__).parent / "jobs"


@pytest.mark.parametrize("file", TABLES_WITH_PROMPTS)
def test_the_literal_job_of_a_table_with_prompts(file: str, tmp_path: Path) -> None:
    name, columns, rows = TABLES_WITH_PROMPTS[file]
    TABLES[file.partition(".")[2]](tmp_path / file, columns, rows)
    text = write_text_job(str(tmp_path / file), CPU)
    assert text.replace(f"{tmp_path}/", "") == (JOBS / f"text-{name}.yaml").read_text()
    spec = read(text, tmp_path)
    facts = read_rows(spec, Folder.at(tmp_path / "prepared"), smoke=False, emit=lambda event: None).facts
    assert isinstance(facts, TextFacts) and facts.codec.prompt_length == spec.data.model_dump()["prompt_length"]
    assert len(facts.rejected) == (file == "told.jsonl"), "whose last line is no JSON"
    assert network_problems(spec, facts) == []


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (["left", "right"], [(ask, ask) for ask in ASKED]),
        (["left", "right"], [(text, text) for text in sentences(200)]),
        (["question", "right"], [(text, text) for text in sentences(200)]),
    ],
)
def test_columns_of_a_kind_are_no_prompts(columns: list[str], rows: list[tuple[object, ...]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--column: say which column"):
        write_text_job(str(_jsonl(tmp_path / "t.jsonl", columns, rows)), CPU)


def test_a_column_that_is_asked_for_follows_no_prompt(tmp_path: Path) -> None:
    rows = [(text, f"{text} {text}") for text in sentences(200)]
    file = str(_csv(tmp_path / "jokes.csv", ["setup", "punchline"], rows))
    spec = read(write_text_job(file, CPU, column="punchline"), tmp_path)
    assert isinstance(spec.data, TextData) and (spec.data.column, spec.data.prompt) == ("punchline", None)


def test_no_column_of_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(sentences(200)))
    (tmp_path / "images").mkdir()
    for source in (str(tmp_path / "lines.txt"), "manual"):
        with pytest.raises(ValueError, match=r"--column x: .* is no table, and has no columns"):
            write_job(source, column="x")
    with pytest.raises(ValueError, match=r"--column x: is for tables of text, but digits is none"):
        write_job("digits", column="x")
    file = _csv(tmp_path / "numbers.csv", ["a", "b"], [(at, at * 2) for at in range(200)])
    with pytest.raises(ValueError, match="none looks like text; it has a, b"):
        write_job(str(file))


def test_byte_pairs_where_more_than_one_token_in_a_hundred_would_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    common = [f"word{at} is word{at} and word{at} is it" for at in range(600)]  # 4,200 tokens, none of them rare

    def tokens(rare: int) -> tuple[str, str]:
        lines = [*common, *(f"rare{at} is it and it is it too" for at in range(rare))]
        (tmp_path / "lines.txt").write_text("\n".join(lines))
        text = write_text_job(str(tmp_path / "lines.txt"), CPU)
        spec = read(text, tmp_path)
        assert isinstance(spec.data, TextData)
        assert (spec.data.vocabulary, spec.data.min_count) == ((4000, 1) if spec.data.tokens == "bpe" else (None, 2))
        return spec.data.tokens, text

    assert tokens(44)[0] == "words", "44 of 4,552"
    way, text = tokens(50)
    assert way == "bpe" and "of words 1.1% would be <unk>" in text, "50 of 4,600"
    monkeypatch.setattr("gan_dist.launch.init.text.find_spec", lambda name: None)
    way, text = tokens(50)
    assert way == "words" and "pip install 'gan-dist[text]'" in text


@pytest.mark.parametrize(("between", "way"), [("", "characters"), (" ", "blanks")])
def test_of_chinese_every_character_is_known(between: str, way: str, tmp_path: Path) -> None:
    """The bytes of one that comes once would be byte pairs of their own, and be written in wrong order."""
    often = [between.join(chr(0x4E00 + at) for at in range(first, first + 20)) for first in range(0, 600, 20)]
    once = [between.join(chr(0x6E00 + at) for at in range(first, first + 20)) for first in range(0, 200, 20)]
    (tmp_path / "poems.txt").write_text("\n".join([*often * 2, *once]))
    text = write_text_job(str(tmp_path / "poems.txt"), CPU)
    spec = read(text, tmp_path)
    assert isinstance(spec.data, TextData) and (spec.data.tokens, spec.data.min_count) == (way, 1)
    assert "about 804 tokens are known" in text


def test_some_sentences_are_kept_where_there_are_enough(tmp_path: Path) -> None:
    for lines, kept in ((sentences(200), 0.1), (sentences(50) * 4, None)):
        (tmp_path / "lines.txt").write_text("\n".join(lines))
        spec = read(write_text_job(str(tmp_path / "lines.txt"), CPU), tmp_path)
        assert isinstance(spec.data, TextData) and spec.data.test == kept
        assert ("bleu" in [metric.use for metric in spec.metrics]) == (kept is not None)


@pytest.mark.slow
def test_the_length_fits_the_time(tmp_path: Path) -> None:
    """The stages take what they were given where that is little, and no more than 60 passes where it is much."""
    (tmp_path / "lines.txt").write_text("\n".join(sentences(5000)))
    step = seconds_per_text_step(128, len(WORDS) + 4, 9, batch=64, gpus=0, cpus=2)

    def stages(seconds: float | None) -> tuple[float, float]:
        spec = read(write_text_job(str(tmp_path / "lines.txt"), CPU, seconds=seconds), tmp_path)
        return spec.stages[0].length.value / 64, spec.stages[1].length.value

    likelihood, adversarial = stages(10.0)
    assert step * likelihood == pytest.approx(8, rel=0.02) and 5 * step * adversarial == pytest.approx(2, rel=0.02)
    assert stages(20.0)[0] == pytest.approx(2 * likelihood, rel=0.02)
    assert stages(None) == (60 * 5000 / 64, 200), "an hour is more than is good for so few"
    text = write_text_job(str(tmp_path / "lines.txt"), CPU, seconds=10.0)
    assert "Takes about 10 s here" in text and "--for 10s" in text
    # A GPU makes a step of so small a network no faster than its kernels start.
    assert seconds_per_text_step(128, 100, 9, batch=64, gpus=8, cpus=8) == pytest.approx(9 / 461 / 20)


def test_steps_are_those_measured() -> None:
    """One core took 61 ms for 2,000 tokens and 256 ms for 8,000; an H200 2.2 ms for a small network."""
    assert seconds_per_text_step(128, 2000, 20, batch=64, gpus=0, cpus=1) == pytest.approx(0.061, rel=0.3)
    assert seconds_per_text_step(128, 8000, 20, batch=64, gpus=0, cpus=1) == pytest.approx(0.256, rel=0.3)
    assert seconds_per_text_step(32, 5000, 20, batch=64, gpus=1, cpus=8) == pytest.approx(1 / 461)

"""Prompts: where they end, what is stored, which side of the split they are on, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import TextFacts, facts_from_record
from gan_dist.data.prepare import prepare_or_load
from gan_dist.data.prompts import PromptForm
from gan_dist.data.text.held_out import read_prompts
from gan_dist.errors import DataError, JobError, UnreadableSample
from gan_dist.runs.storage import Folder
from tests.data.text.test_corpus import read, spec

JOKES = [("Why tea?", "No coffee."), ("Why me?", "Who else."), ("Why tea?", "It was hot.")]


def rows_of(source: Path | str, **keys: Any) -> list[tuple[str, str]]:
    """What is stored, as prompts and what follows them."""
    found = read(source, **keys)
    codec = found.facts.codec  # type: ignore[attr-defined]
    rows = np.concatenate(found.blocks).tolist()
    return [(codec.prompt_text(row[: codec.prompt_length]), codec.text(row[codec.prompt_length :])) for row in rows]


def write(root: Path, kind: str) -> Path:
    path = root / f"jokes{kind}"
    if kind == ".csv":
        path.write_text("setup,punchline\n" + "".join(f'"{one}","{other}"\n' for one, other in JOKES))
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps({"setup": one, "punchline": other}) + "\n" for one, other in JOKES))
    elif kind == ".json":
        path.write_text(json.dumps([{"setup": one, "punchline": other} for one, other in JOKES]))
    else:
        pq.write_table(
            pa.table({"n": [1, 2, 3], "setup": [a for a, _ in JOKES], "punchline": [b for _, b in JOKES]}), path
        )
    return path


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("column", ["punchline", None])
def test_prompts_of_a_column(tmp_path: Path, kind: str, column: str | None) -> None:
    path = write(tmp_path, kind)
    assert rows_of(path, prompt="setup", column=column) == JOKES
    facts = read(path, prompt="setup", prompt_length=5).facts
    assert facts.provided["prompt_length"] == 5 and facts.shape == (8,)
    assert isinstance(facts, TextFacts) and set(facts.prompts) == {"Why tea?", "Why me?"}
    assert facts == facts_from_record(json.loads(json.dumps(facts.as_dict())))


@pytest.mark.parametrize(
    ("count", "unit", "text", "parts"),
    [
        (1, "sentence", "It is 3.5 m. So what? Go on.", ("It is 3.5 m.", "So what? Go on.")),
        (2, "sentence", "It is. “So what?” Go on.", ("It is. “So what?”", "Go on.")),
        (1, "question", "Well. Why (or not?) Because!", ("Well. Why (or not?)", "Because!")),
        (1, "question", "为什么\uff1f因为。", ("为什么\uff1f", "因为。")),
        (2, "word", "one  two three", ("one  two", "three")),
        (2, "character", "春眠不覺", ("春眠", "不覺")),
    ],
)
def test_beginnings_of_texts(count: int, unit: str, text: str, parts: tuple[str, str]) -> None:
    assert PromptForm(9, count, unit).parts(text) == parts


@pytest.mark.parametrize(
    ("form", "text", "why"),
    [
        (PromptForm(9, 1, "question"), "No question at all.", "without the first question"),
        (PromptForm(9, 1, "question"), "Only this?", "without the first question"),
        (PromptForm(9, 2, "word"), "two words", "without the first 2 words"),
        (PromptForm(9, 2, "character"), "春眠", "nothing follows the first 2 characters"),
        (PromptForm(9), "\0answer", "no prompt"),
        (PromptForm(9), "why\0 ", "nothing follows the prompt"),
    ],
)
def test_texts_without_a_prompt_or_anything_after_it(form: PromptForm, text: str, why: str) -> None:
    with pytest.raises(UnreadableSample, match=why):
        form.parts(text)


def test_texts_without_a_prompt_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("Why tea? No coffee.\nNothing is asked here.\nWhy me? Who else.\n")
    found = read(tmp_path / "x.txt", prompt={"first": "1 question"})
    assert found.facts.count == 2 and not found.facts.rejected
    assert "passed over: 1 texts, without the first question" in found.facts.remarks
    with pytest.raises(DataError, match=r"data.prompt: 3 of 3 texts in .* have none: without the first 9 words"):
        read(tmp_path / "x.txt", prompt={"first": "9 words"})


def test_a_prompt_is_filled_up_on_its_left_and_cut_there(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv")
    facts = read(path, prompt="setup", prompt_length=4).facts
    assert isinstance(facts, TextFacts)
    row = facts.codec.encode_prompt("Why me?")
    assert row[0] == 0 and [facts.codec.vocabulary[one] for one in row[1:]] == ["Why", "me", "￭?"]
    assert [prompt for prompt, _ in rows_of(path, prompt="setup", prompt_length=2, too_long="cut")] == [
        "tea?",
        "me?",
        "tea?",
    ]
    with pytest.raises(DataError, match=r"3 tokens in its prompt, more than data\.prompt_length: 2"):
        read(path, prompt="setup", prompt_length=2)


@pytest.mark.parametrize("prompt", ["setup", {"first": "1 question"}])
def test_equal_prompts_stay_on_one_side(tmp_path: Path, prompt: Any) -> None:
    rows = [(f"Why {word}?", f"{word} {n}") for word in "abcdefghij" for n in range(3)]
    path = tmp_path / "rows.jsonl"
    if prompt == "setup":
        path.write_text("".join(json.dumps({"setup": one, "text": other}) + "\n" for one, other in rows))
    else:
        path.write_text("".join(json.dumps(f"{one} {other}") + "\n" for one, other in rows))
    asked = spec(path, prompt=prompt, test=0.2, validation=0.1, max_rejected=0)
    executor: Any = write_shards_on_processes
    made = prepare_or_load(asked, Folder.at(tmp_path / "kept"), executor=executor, progress=lambda done, total: None)
    facts = made.facts
    assert isinstance(facts, TextFacts) and facts.count == 21
    kept = facts.held_out("test")
    assert kept is not None and len(kept.pairs) == 6
    grouped = kept.by_prompt()
    assert len(grouped) == 2 and all(len(numbers) == len(texts) == 3 for _, numbers, texts in grouped)
    assert kept.rows().shape == (6, 8)
    prompts = kept.prompts()
    assert prompts is not None and prompts.shape == (6, 8)
    learnt = {one for one, _ in rows_of(path, prompt=prompt, test=0.2, validation=0.1)}
    assert not learnt & {one for one, _ in kept.pairs}


def test_held_out_prompts_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv")
    facts = read(path, prompt="setup", column="punchline", test=str(path)).facts
    assert isinstance(facts, TextFacts)
    kept = facts.held_out("test")
    assert kept is not None and kept.pairs == JOKES


def test_a_stand_in_has_prompts(tmp_path: Path) -> None:
    found = read(tmp_path / "gone.csv", stand_in_of=5, prompt="setup", test=0.1)
    assert np.concatenate(found.blocks).shape == (5, 16)
    facts = found.facts
    assert isinstance(facts, TextFacts) and facts.prompts == ("word0",)
    kept = facts.held_out("test")
    assert kept is not None and len(kept.by_prompt()) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prompt": "setpu"}, "has no column 'setpu'; did you mean 'setup'"),
        ({"prompt": {"first": "one sentence"}}, "'one sentence' is no beginning of a text; write 1 sentence"),
        ({"prompt": {"first": "0 words"}}, "'0 words' is no beginning of a text"),
        ({"prompt_length": 4}, "without `prompt` there are no prompts"),
        ({"prompt": "setup", "labels": "column"}, "of a class or follow a prompt, and labels is column"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, JobError), match=message):
        read(write(tmp_path, ".csv"), **keys)


def test_sources_without_columns_have_no_column_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a b\n")
    with pytest.raises(DataError, match=r"data.prompt: 'setup' is a column, and 'x.txt' is no table"):
        read(tmp_path / "x.txt", prompt="setup")
    with pytest.raises(DataError, match=r"would be a column, and 'manual' has none"):
        read("manual", prompt="setup")
    with pytest.raises(JobError, match="an oracle's sentences have no prompts"):
        spec("oracle", prompt="setup")


def test_a_file_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("Why tea?\n\nWhy me?\n")
    assert read_prompts(str(tmp_path / "x.txt"), "--prompts: ") == ["Why tea?", "Why me?"]
    assert read_prompts(str(write(tmp_path, ".csv")), "--prompts: ") == [one for one, _ in JOKES]
    (tmp_path / "x.csv").write_text("a,b\nwhy,so\n")
    with pytest.raises(
        DataError, match=r"--prompts: none of the columns of .* \(a, b\) is called prompt, question or setup"
    ):
        read_prompts(str(tmp_path / "x.csv"), "--prompts: ")
    with pytest.raises(DataError, match=r"--prompts: .*gone\.txt' does not exist"):
        read_prompts(str(tmp_path / "gone.txt"), "--prompts: ")

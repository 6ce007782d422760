"""Sentences that nothing is learnt from: which they are, that training keeps to its own, and that a test is a test."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gan_dist
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.facts import TextFacts
from gan_dist.data.ingest import Memory, load_into_memory
from gan_dist.data.prepare import Prepared, prepare_into, prepare_or_load
from gan_dist.data.text.held_out import split_of
from gan_dist.data.text.oracle import SEED, open_oracle
from gan_dist.errors import DataError, JobError
from gan_dist.evaluation.overlap import HeldOutOverlap, find_held_out_overlap
from gan_dist.execution.local import run_local
from gan_dist.execution.preflight import held_out_problems, metric_problems
from gan_dist.registry.metric_names import check_metrics
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.data.text.test_corpus import spec, texts
from tests.helpers import Cli, request_of, small

LINES = [f"number {n} is {'big' if n % 3 else 'small'}" for n in range(200)]


def settled(root: Path, source: Path | str, **keys: Any) -> Prepared:
    return prepare_or_load(
        spec(source, **keys),
        Folder(str(root / "cache")),
        executor=write_shards_on_processes,
        progress=lambda done, total: None,
    )


def sides(found: Prepared) -> dict[str, list[str]]:
    facts = found.facts
    assert isinstance(facts, TextFacts)
    kept = {held: facts.held_out(held) for held in ("test", "validation")}
    return {"train": texts(load_into_memory(found, 0, 1)), **{key: list(one.texts) for key, one in kept.items() if one}}


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_each_sentence_is_on_one_side_and_equal_ones_are_on_the_same(tmp_path: Path) -> None:
    source = write(tmp_path / "x.txt", LINES * 2 + [line.upper() for line in LINES])
    found = sides(settled(tmp_path, source, test=0.1, validation=0.05, lower=True))
    assert {key: len(set(map(str.lower, side))) for key, side in found.items()} == {
        "train": 170,
        "test": 20,
        "validation": 10,
    }
    assert sum(map(len, found.values())) == 600
    whole = [set(map(str.lower, side)) for side in found.values()]
    assert set().union(*whole) == set(LINES) and sum(map(len, whole)) == len(LINES)


def test_the_split_is_of_what_sentences_say_and_not_of_where_they_stand(tmp_path: Path) -> None:
    one = settled(tmp_path, write(tmp_path / "x.txt", LINES), test=0.1)
    shuffled = [LINES[at] for at in np.random.default_rng(0).permutation(len(LINES))]
    other = settled(tmp_path, write(tmp_path / "y.txt", shuffled), test=0.1)
    assert {key: sorted(side) for key, side in sides(one).items()} == {k: sorted(s) for k, s in sides(other).items()}
    more = sides(settled(tmp_path, tmp_path / "x.txt", test=0.1, validation=0.2))
    assert more["test"] == sides(one)["test"] and set(sides(one)["validation"]) < set(more["validation"])
    assert settled(tmp_path, tmp_path / "x.txt", test=0.1).folder == one.folder


def test_validation_is_taken_from_training_where_only_a_test_is_named(tmp_path: Path) -> None:
    source, test = write(tmp_path / "x.txt", LINES), write(tmp_path / "test.txt", ["a unicorn"])
    found = sides(settled(tmp_path, source, test=str(test)))
    assert found["test"] == ["a unicorn"] and len(found["validation"]) == 10 and len(found["train"]) == 190
    assert sides(settled(tmp_path, source, test=str(test), validation=0)).keys() == {"train", "test"}
    assert sides(settled(tmp_path, source)).keys() == {"train"}
    named = sides(settled(tmp_path, source, validation=str(test)))
    assert named.keys() == {"train", "validation"} and len(named["train"]) == 200


def test_words_that_only_held_out_sentences_say_are_not_known(tmp_path: Path) -> None:
    source = write(tmp_path / "x.txt", [f"alone{n}" for n in range(40)])
    found = settled(tmp_path, source, test=0.25)
    facts, kept = found.facts, sides(found)
    assert isinstance(facts, TextFacts)
    assert set(facts.codec.vocabulary[4:]) == set(kept["train"]) and facts.count == len(kept["train"]) == 28


def test_labels_stay_with_their_sentences(tmp_path: Path) -> None:
    for name, word in (("a", "cat"), ("b", "dog")):
        write(tmp_path / f"{name}.txt", [f"{word} {n}" for n in range(50)])
    found = load_into_memory(settled(tmp_path, tmp_path, test=0.2, labels="files"), 0, 1)
    assert found.facts.classes == ("a", "b") and sum(found.facts.class_counts) == 75 == found.facts.count
    assert [line.startswith("dog") for line in texts(found)] == [label == 1 for label in found.labels.tolist()]


def test_every_number_of_workers_learns_from_the_same_sentences(tmp_path: Path) -> None:
    found = settled(tmp_path, write(tmp_path / "x.txt", LINES), test=0.1)
    kept = sides(found)
    for world in (1, 2, 3):
        memory: Memory = load_into_memory(found, 0, 32)
        drawn = [memory.positions(at)[rank::world] for rank in range(world) for at in range(0, 96, 32)]
        codec = found.facts.codec  # type: ignore[attr-defined]
        seen = {codec.text(row) for row in memory.rows(np.concatenate(drawn))[0].tolist()}
        assert len(seen) == 96 and not seen & {*kept["test"], *kept["validation"]}


def test_an_oracle_draws_further_sentences(tmp_path: Path) -> None:
    plain = settled(tmp_path, "oracle", vocabulary=30, count=50)
    found = settled(tmp_path, "oracle", vocabulary=30, count=50, test=0.2, validation=0.1)
    more = texts(load_into_memory(settled(tmp_path, "oracle", vocabulary=30, count=65), 0, 1))
    assert found.facts.checksum == plain.facts.checksum
    assert sides(found) == {"train": more[:50], "test": more[50:60], "validation": more[60:]}


def test_a_prepared_folder_keeps_its_split(tmp_path: Path) -> None:
    source = write(tmp_path / "x.txt", LINES)
    made = prepare_into(
        spec(source, test=0.1), str(tmp_path / "made"), write_shards_on_processes, lambda done, total: None
    )
    assert sides(settled(tmp_path, made.folder.uri)) == sides(settled(tmp_path, source, test=0.1))
    whole = prepare_into(spec(source), str(tmp_path / "whole"), write_shards_on_processes, lambda done, total: None)
    with pytest.raises(DataError, match=r"data.test: 0.1, but .* was prepared without; .* with -o test=0.1"):
        settled(tmp_path, whole.folder.uri, test=0.1)
    for share in (0.2, 0):
        with pytest.raises(
            DataError, match=f"data.test: {share}, but .* was prepared with 0.1; .* with -o test={share}"
        ):
            settled(tmp_path, made.folder.uri, test=share)


def test_shares_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"0.5 is out of range; a share must be in \[0, 0.5\), or name a file"):
        spec("oracle", test=0.5)
    with pytest.raises(JobError, match="true is not a number"):
        spec("oracle", validation=True)
    with pytest.raises(DataError, match=r"data.test: 0.4 and data.validation: 0.05: 2 different sentences leave none"):
        settled(tmp_path, write(tmp_path / "x.txt", ["a b", "c d"] * 9), test=0.4)
    assert split_of([], {}).side(["a"]) == "train"


def job(root: Path, **data: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "split",
            "data": {"modality": "text", "source": "oracle", "length": 6, "vocabulary": 12, "count": 64, **data},
            "generator": {"use": "lstm", "embedding": 4, "hidden": 6},
            "objective": "mle",
            "batch": 16,
            "until": "4 steps",
            "metrics": [{"use": name, "samples": 16} for name in ("bleu", "nll")],
            "every": {"metrics": "2 steps"},
            "stop_when": {"metric": "nll_validation", "below": -1},
            "keep": {"metric": "nll"},
        }
    )


def test_training_never_reads_the_test(tmp_path: Path) -> None:
    test = tmp_path / "test.txt"
    test.write_bytes(b"\xff\xfe no utf-8\n" * 50)
    told: list[dict[str, Any]] = []
    assert run_local(request_of(job(tmp_path, test=str(test)), tmp_path / "run"), told.append) == 0
    names = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1]).keys()
    assert {"metric/nll_validation_16", "metric/bleu5_validation_16"} <= names
    assert not any("test" in name for name in names)


def test_what_decides_in_training_is_never_the_test(tmp_path: Path) -> None:
    of = job(tmp_path, test=0.1)
    assert of.stop_when is not None and not check_metrics(of)
    asked = of.model_copy(update={"stop_when": of.stop_when.model_copy(update={"metric": "nll_test"})})
    (problem,) = check_metrics(asked)
    assert problem.message.startswith("unknown metric 'nll_test'") and "nll_validation_16" in problem.message


def test_problems_are_said_before_the_start(tmp_path: Path) -> None:
    facts = settled(tmp_path, "oracle", vocabulary=12, count=64, length=6).facts
    (found,) = metric_problems(job(tmp_path), facts)
    assert "'bleu' compares with sentences that were not learnt from, and there are none; name a file" in found
    facts = settled(tmp_path, "oracle", vocabulary=12, count=64, length=6, test=str(tmp_path / "tset.txt")).facts
    assert metric_problems(job(tmp_path), facts) == []
    (found,) = held_out_problems(facts)
    assert found.startswith("data.test: ") and "tset.txt" in found and "cannot be read" in found


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Cli:
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return partial(cli, "evaluate")


def test_evaluate_takes_the_test_and_says_so(tmp_path: Path, ask: Cli) -> None:
    drawn = open_oracle({"vocabulary": 12, "seed": SEED}).sample(np.random.default_rng(7).random((40, 6)))
    known = open_oracle({"vocabulary": 12, "seed": SEED}).sample(np.random.default_rng([SEED, 0]).random((1, 6)))
    test = write(tmp_path / "test.txt", [" ".join(map(str, row)) for row in [*drawn, *known]])
    spec = job(tmp_path, test=str(test))
    assert run_local(request_of(spec, tmp_path / "run"), lambda event: None) == 0
    code, out, err = ask(str(tmp_path / "run"), "--json")
    found = json.loads(out)
    assert code == 0 and (found["split"], found["samples_of_split"]) == ("test", 41)
    assert "1 of 41 test sentences are in the training text too" in err
    model = gan_dist.load(max((tmp_path / "run" / "checkpoints").iterdir()))
    rows = torch.from_numpy(np.concatenate([drawn, known]))[:: -(-41 // 16)]
    wanted = -model.generator.log_prob(rows).double().sum() / rows.numel()
    assert found["metrics"]["nll_test_16"] == pytest.approx(wanted.item(), rel=1e-5)
    logged = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    code, out, _ = ask(str(tmp_path / "run"), "--split", "validation", "--json")
    found = json.loads(out)
    assert (found["split"], found["samples_of_split"]) == ("validation", 4)
    assert found["metrics"]["nll_validation_16"] == pytest.approx(logged["metric/nll_validation_16"], rel=1e-6)
    code, out, _ = ask(str(tmp_path / "run"))
    assert "(64 samples) and 41 test sentences" in out and "nll_test_16" in out


def test_known_sentences_are_counted_without_all_of_the_data_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = write(tmp_path / "test.txt", [*LINES[:5], LINES[0], LINES[-1], "number one is unheard"])
    memory = load_into_memory(settled(tmp_path, write(tmp_path / "x.txt", LINES), test=str(test), validation=0), 0, 1)
    read: list[int] = []

    def rows(positions: Any) -> Any:
        read.append(len(positions))
        return Memory.rows(memory, positions)

    monkeypatch.setattr(memory, "rows", rows)
    monkeypatch.setattr("gan_dist.evaluation.overlap.CHUNK", 64, raising=False)
    measuring: Any = SimpleNamespace(built=[SimpleNamespace(metric=SimpleNamespace(by_split=("bleu",)))])
    assert find_held_out_overlap(measuring, memory, "test") == HeldOutOverlap("test", 8, 7)
    assert read == [64, 64, 64, 8]


def test_without_a_test_evaluate_says_what_there_is(tmp_path: Path, ask: Cli) -> None:
    assert run_local(request_of(job(tmp_path, validation=0.2), tmp_path / "run"), lambda event: None) == 0
    code, _, err = ask(str(tmp_path / "run"))
    assert code == 2 and "has no test sentences for bleu, as its job names no data.test; --split validation" in err
    code, _, err = ask(str(tmp_path / "run"), "--split", "vaildation")
    assert code == 2 and "'vaildation' is neither test nor validation; did you mean 'validation'?" in err


def test_of_pictures_nothing_is_held_out(tmp_path: Path, ask: Cli) -> None:
    assert run_local(request_of(small(until="2 steps"), tmp_path / "run"), lambda event: None) == 0
    code, _, err = ask(str(tmp_path / "run"), "--split", "validation", "--n", "64")
    assert code == 2 and "--split validation: of" in err and "nothing is held out, as its data are images" in err

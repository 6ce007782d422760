"""Metrics in a run: what they say, that they leave training alone, what they are made from, and what they decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_dist.data.conditioning import Conditioning
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation import metric_runner
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.execution.local import run_local
from gan_dist.execution.preflight import metric_problems
from gan_dist.execution.smoke import shorten_job
from gan_dist.generation.samples import metric_samples
from gan_dist.metrics.statistics import Moments
from gan_dist.registry.metric_names import job_metric_names
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec
from tests.helpers import CPU, Trained, assert_same_state, never, request_of, rows_of, small, stop_at, train

FEW: list[dict[str, Any]] = [{"use": name, "samples": 100} for name in ("frechet", "kid", "prdc")]
NAMES = ["fd_random_100", "kid_all_pairs_random_100", "kid_all_pairs_se_random_100"]
NAMES += [f"{name}_random_100" for name in ("precision", "recall", "density", "coverage")]
EVERY = {"report": "1 steps", "grid": "1000 steps", "checkpoint": "2 steps", "metrics": "4 steps"}


def lines(trained: Trained) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trained.local / "scalars.jsonl").read_text().splitlines()]


def of(trained: Trained) -> dict[int, dict[str, float]]:
    """Metrics by position."""
    prefix = "metric/"
    found = {
        line["seen"]: {k.removeprefix(prefix): v for k, v in line.items() if prefix in k} for line in lines(trained)
    }
    return {seen: values for seen, values in found.items() if values}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    """One job with metrics and without."""
    root = tmp_path_factory.mktemp("both")
    job = {"data": {"source": "digits", "size": 8, "labels": "source"}, "ema": {"half_life": 16}, "every": EVERY}
    return train(small(**job, metrics=FEW), root / "with"), train(small(**job), root / "without")


def test_metrics_are_logged_at_their_cadence_and_at_the_end(both: tuple[Trained, Trained]) -> None:
    found = of(both[0])
    assert list(found) == [32, 48] and all(list(values) == NAMES for values in found.values())
    assert found[32] != found[48] and all(np.isfinite(list(values.values())).all() for values in found.values())
    assert of(both[1]) == {}


def test_metrics_are_in_events_checkpoints_and_the_hyper_parameters(both: tuple[Trained, Trained]) -> None:
    last = [event for event in both[0].events if event["event"] == "progress"][-1]
    assert last["metrics"] == of(both[0])[48]
    meta = {one.seen: one.meta["metrics"] for one in stored(both[0].run.checkpoints())}
    assert meta[48]["metric/fd_random_100"] == of(both[0])[48]["fd_random_100"]
    board = b"".join(path.read_bytes() for path in (both[0].local / "tensorboard").iterdir())
    assert board.count(b"metric/fd_random_100") >= 3


def test_weights_are_the_same_with_and_without_metrics(both: tuple[Trained, Trained]) -> None:
    assert_same_state(both[0].newest, both[1].newest)


def test_a_report_has_the_rate_without_the_metrics(both: tuple[Trained, Trained]) -> None:
    measured_line = next(line for line in lines(both[0]) if line["seen"] == 32)
    seconds, stepping = (8 / measured_line[f"speed/{name}"] for name in ("samples_per_s", "step_samples_per_s"))
    assert 0 < stepping <= seconds - measured_line["speed/metrics_s"] + 1e-9


def test_what_the_data_are_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train(small(every=EVERY, metrics=FEW), tmp_path / "one")
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / ".prepared" / "metrics").iterdir())
    assert kept == ["moments", "rows"]
    collected: list[int] = []
    monkeypatch.setattr(Moments, "add", lambda self, start, features: collected.append(start))
    monkeypatch.setattr(metric_runner.FeatureRows, "add", lambda self, start, features: collected.append(start))
    train(small(every=EVERY, metrics=FEW), tmp_path / "two")
    assert collected and max(collected) < 100  # of the 100 samples alone, not of the 1797 digits
    assert of(first)


class Constant(nn.Module):
    """Makes one grey, 100, in training, and another, 200, in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def draw(self, n: int, rng: Any) -> Tensor:
        return rng.normal(1)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        grey = 100 if self.training else 200
        return torch.full((len(noise), 1, 8, 8), grey / 127.5 - 1) + self.unused


def test_samples_are_of_the_average_in_evaluation_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, nn.Module]] = []

    def spy(generator: nn.Module, *rest: Any) -> Tensor:
        seen.append((generator.training, generator))
        return metric_samples(generator, *rest)

    monkeypatch.setattr("gan_dist.generation.modality.metric_samples", spy)
    spec = small(ema={"half_life": 1000}, every=EVERY, metrics=FEW)
    trained = train(spec, tmp_path / "run")
    assert seen and not any(training for training, _ in seen)
    average, raw = (trained.newest.tensors(name) for name in ("generator_ema", "generator"))
    used = seen[-1][1].state_dict()
    assert all(torch.equal(used[key], average[key]) for key in average)
    assert any(not torch.equal(used[key], raw[key]) for key in raw)


def test_samples_are_rounded_as_the_protocol_says() -> None:
    found = metric_samples(Constant().eval(), range(64), 0, None, CPU)
    assert found.dtype == torch.uint8 and found.shape == (64, 1, 8, 8) and found.unique().tolist() == [200]


def test_samples_do_not_depend_on_how_they_are_cut() -> None:
    from gan_dist.networks.image.mlp import Generator

    generator = Generator(size=8, channels=1, classes=3).eval()
    shares = Conditioning(torch.tensor([0.2, 0.0, 0.8]), None, CPU)
    whole = metric_samples(generator, range(128), 5, shares, CPU)
    halves = [metric_samples(generator, range(start, start + 64), 5, shares, CPU) for start in (0, 64)]
    assert torch.equal(whole, torch.cat(halves))


def test_classes_come_as_often_as_in_the_data() -> None:
    classes: list[Tensor] = []

    class Listening(Constant):
        def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
            assert cond is not None
            classes.append(cond)
            return super().forward(noise)

    metric_samples(Listening().eval(), range(4000), 0, Conditioning(torch.tensor([0.7, 0.0, 0.3]), None, CPU), CPU)
    counts = torch.cat(classes).bincount(minlength=3)
    assert counts[1] == 0 and counts[0] / counts.sum() == pytest.approx(0.7, abs=0.03)


def question(root: Path, metrics: list[dict[str, Any]], labels: str = "none") -> tuple[MetricRunner, Any]:
    spec = small(data={"source": "digits", "size": 8, "labels": labels})
    rows = rows_of(spec)
    specs = [MetricSpec.model_validate(one) for one in metrics]
    run = LocalRuntime(CPU, lambda event: None, never)
    return MetricRunner(metrics=specs, facts=rows.facts, cache=Folder.at(root), run=run, roots=[root]), rows


@pytest.mark.parametrize("chunk", [16, 100])
def test_batch_size_does_not_matter(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def values(root: Path) -> dict[str, float]:
        asked, rows = question(root, FEW)
        return asked.measure(lambda part: rows.rows(np.arange(part.start, part.stop))[0], rows)

    expected = values(tmp_path / "64")
    monkeypatch.setattr(metric_runner, "CHUNK", chunk)
    assert values(tmp_path / "other") == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.slow
def test_a_classifier_is_trained_once_and_its_accuracy_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = [{"use": "frechet", "features": "classifier", "samples": 100}]
    monkeypatch.setattr("gan_dist.metrics.features.classifiers.CLASSIFIER_EPOCHS", 1)  # enough for these digits
    found = []
    for _ in range(2):
        asked, rows = question(tmp_path, metrics, "source")
        found.append(asked.measure(lambda part: rows.rows(np.arange(part.start, part.stop))[0], rows))  # noqa: B023
        monkeypatch.setattr("gan_dist.metrics.features.classifiers.DigitClassifier.fit", None)
    assert found[0] == found[1] and list(found[0]) == ["fd_classifier_100"]
    (record,) = tmp_path.glob("extractor-*.json")
    assert json.loads(record.read_text())["accuracy"] > 0.9


OWN = """\
import torch
from torch import nn


class Greys(nn.Module):
    def forward(self, pixels):
        return pixels.float().flatten(1)[:, :4]


class Brightness:
    values = ("brighter", "count")
    needs = "rows"

    def __init__(self, *, power: float = 1.0):
        self.power = power

    def compare(self, real, fake):
        return {"brighter": float(fake.mean() - real.mean()) ** self.power, "count": len(real)}
"""


def test_an_own_metric_and_own_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {"use": "their_metric:Brightness", "features": "their_metric:Greys", "samples": 70, "power": 2.0}
    asked, rows = question(tmp_path, [own])
    found = asked.measure(lambda part: torch.full((len(part), 1, 8, 8), 255, dtype=torch.uint8), rows)
    assert list(found) == ["brighter_Greys_70_power2", "count_Greys_70_power2"]
    assert found["count_Greys_70_power2"] == 70 and found["brighter_Greys_70_power2"] > 100
    assert not list(tmp_path.glob("*.safetensors"))  # code that may change unseen is asked each time


BROKEN = """

class Raising(Brightness):
    values = ("one",)
    needs = "moments"

    def compare(self, real, fake):
        raise KeyError("oops")


class Other(Brightness):
    values = ("one", "two")
    needs = "rows"


class Flat(nn.Module):
    def forward(self, pixels):
        return pixels.float().flatten()
"""


def test_an_own_metric_that_fails_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_metric.py").write_text(OWN + BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = [
        {"use": "broken_metric:Raising"},
        {"use": "broken_metric:Other"},
        {"use": "frechet", "features": "broken_metric:Flat"},
        {"use": "broken_metric:Brightness"},
    ]
    spec = small(metrics=asked, environment={"code": str(tmp_path)})
    line = (OWN + BROKEN).splitlines().index('        raise KeyError("oops")') + 1
    assert metric_problems(spec, rows_of(spec).facts) == [
        "metrics: 'broken_metric:Raising' with features 'random' raised KeyError: 'oops' "
        f"({tmp_path / 'broken_metric.py'}:{line})",
        "metrics: 'broken_metric:Other' with features 'random' raised UsageError: metric 'broken_metric:Other' gave "
        "brighter, count, where it says one, two",
        "metrics: 'frechet' with features 'broken_metric:Flat' raised UsageError: features of 64 images are [4096], "
        "where [B, d] is wanted",
    ]


def test_too_few_samples_are_told_before_training() -> None:
    spec = small(metrics=[{"use": "kid", "samples": 5}, {"use": "prdc", "k": 7, "samples": 7}])
    assert metric_problems(spec, rows_of(spec).facts) == [
        "metrics: kid_all_pairs_random_5 needs at least 20 generated samples, and there are 5",
        "metrics: precision_random_7_k7 needs at least 8 generated samples, and there are 7",
    ]
    inception = small(metrics=[{"use": "frechet", "features": "inception"}])
    (told,) = metric_problems(inception, rows_of(inception).facts)
    assert "needs the weights weights-inception-2015" in told


def test_the_best_are_kept_by_a_metric(tmp_path: Path) -> None:
    every = {**EVERY, "metrics": "1000 steps"}
    keep = {"last": 1, "best": 1, "metric": "fd"}
    spec = small(until="8 steps", every=every, keep=keep, metrics=FEW, optimizer={"lr": 0.05})
    trained = train(spec, tmp_path / "run")
    found = of(trained)
    assert list(found) == [16, 32, 48, 64]  # each checkpoint was measured
    best = min(found, key=lambda seen: found[seen]["fd_random_100"])
    assert [one.seen for one in stored(trained.run.checkpoints())] == sorted({best, 64})


@pytest.mark.parametrize(("goal", "ends"), [({"below": 1e9}, 32), ({"above": 1e9}, 80)])
def test_a_run_ends_once_it_is_good_enough(goal: dict[str, float], ends: int, tmp_path: Path) -> None:
    stop_when = {"metric": "fd", **goal}
    trained = train(small(until="10 steps", every=EVERY, metrics=FEW, stop_when=stop_when), tmp_path / "run")
    assert trained.result["ending"] == "finished" and trained.newest.seen == trained.result["seen"] == ends
    told = [event["text"] for event in trained.events if event["event"] == "stage" and "stop_when" in event["text"]]
    assert len(told) == (ends == 32)


def test_a_stopped_run_saves_without_being_measured(tmp_path: Path) -> None:
    trained = train(small(until="10 steps", every=EVERY, metrics=FEW), tmp_path / "run", stopping=stop_at(3))
    assert trained.result["ending"] == "stopped" and trained.newest.seen == 24 and of(trained) == {}


def test_metrics_may_change_on_resume(tmp_path: Path) -> None:
    train(small(until="10 steps", every=EVERY), tmp_path / "run", stopping=stop_at(3))
    changed = small(until="10 steps", every=EVERY, metrics=FEW)
    alone = train(small(until="10 steps", every=EVERY), tmp_path / "alone")
    again = train(changed, tmp_path / "run", attempt=2)
    assert list(of(again)) == [32, 64, 80]
    assert_same_state(again.newest, alone.newest)


@pytest.mark.slow
def test_a_worker_without_metrics_imports_none_of_this(tmp_path: Path) -> None:
    import subprocess
    import sys

    parts = "('gan_dist.metrics', 'metric_runner')"
    code = f"import sys, gan_dist.training.trainer; print([m for m in sys.modules if any(p in m for p in {parts})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_rehearsal_looks_at_few_samples_and_is_not_ended_early() -> None:
    stop_when = {"metric": "fd_random_5k", "below": 1e9}
    keep = {"last": 3, "best": 1, "metric": "fd_random_5k"}
    spec = small(metrics=["frechet", {"use": "kid", "samples": 100}], stop_when=stop_when, keep=keep)
    short = shorten_job(spec, 2)
    assert list(job_metric_names(short)) == ["fd_random_256", "kid_all_pairs_random_100", "kid_all_pairs_se_random_100"]
    assert short.stop_when is None and short.keep.best == 0 and short.keep.last == 3


def test_a_rehearsal_says_what_metrics_will_take(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    spec = small(metrics=["frechet"], every={"metrics": "2 steps"}, until="100 steps")
    assert run_local(request_of(spec, tmp_path / "run", mode="smoke"), events.append) == 0
    told = [line for event in events if event["event"] == "preflight" for line in event["lines"]]
    assert any("of it for metrics" in line for line in told), told

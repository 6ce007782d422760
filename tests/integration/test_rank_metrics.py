"""Two and three ranks measure what one does, and agree on when a run is good enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gan_dist.runs.checkpoint import stored
from gan_dist.runs.storage import Folder
from tests.integration.gang import Training, train_alone, train_together

pytestmark = pytest.mark.dist
NAMES = ("frechet", "kid", "prdc", "class_frechet", "memorised", "diversity")
FEW: list[dict[str, Any]] = [{"use": name, "samples": 150} for name in NAMES]
JOB: dict[str, Any] = {
    "name": "measured",
    "data": {"source": "digits", "size": 8, "labels": "source"},
    "generator": {"use": "mlp", "hidden": 16},
    "discriminator": {"use": "mlp", "hidden": 16},
    "objective": "hinge",
    "ema": {"half_life": 40},
    "batch": 18,
    "until": "4 steps",
    "precision": "fp64",
    "optimizer": {"lr": 1e-2},
    "every": {"report": "1 steps", "grid": "1G", "checkpoint": "1G", "metrics": "2 steps"},
    "metrics": [
        *FEW,
        {"use": "cas", "samples": 150, "steps": 5, "seeds": 1},
        {"use": "ppl", "space": "z", "at": "full", "samples": 150},
        *({"use": name, "features": "classifier", "samples": 150} for name in ("frechet", "class_score")),
    ],
}
TEXT: dict[str, Any] = {
    "name": "said",
    "data": {"modality": "text", "source": "oracle", "length": 6, "vocabulary": 12, "count": 200},
    "generator": {"use": "lstm", "embedding": 4, "hidden": 6},
    "objective": "mle",
    "batch": 18,
    "until": "4 steps",
    "precision": "fp64",
    "every": {"report": "1 steps", "grid": "1G", "checkpoint": "1G", "metrics": "2 steps"},
    "metrics": [
        {"use": "lm", "samples": 150, "features": {"use": "language_model", "steps": 20}},
        {"use": "reverse_lm", "samples": 150, "steps": 20},
    ],
}
EARLY = JOB | {"until": "40 steps", "stop_when": {"metric": "fd_random_150", "below": 1e9}}


def measured(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
    found = [{name: value for name, value in line.items() if name.startswith("metric/")} for line in lines]
    return [values for values in found if values]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each number of ranks finds out for itself what the data are: `<world>` holds its own cache."""
    root = tmp_path_factory.mktemp("ranks")
    (root / "test.txt").write_text("".join(f"{n} {n + 1} 4 5 {n} 3\n" for n in range(10)))
    text = TEXT | {"data": TEXT["data"] | {"test": str(root / "test.txt")}}
    jobs = {"run": JOB, "early": EARLY, "text": text}
    for world in (1, 2, 3):
        trainings = [Training(job, str(root / str(world) / name), data="job") for name, job in jobs.items()]
        if world == 1:
            for training in trainings:
                train_alone(training)
        else:
            train_together(world, trainings)
    return root


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_measure_what_one_does(trained: Path, world: int) -> None:
    one, several = measured(trained / "1" / "run"), measured(trained / str(world) / "run")
    assert len(one) == len(several) == 2 and len(one[0]) == 18
    for alone, together in zip(one, several, strict=True):
        assert together == pytest.approx(alone, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_have_one_language_model(trained: Path, world: int) -> None:
    """That the first one trains, of the real sentences and of the generated ones of all."""
    one, several = measured(trained / "1" / "text"), measured(trained / str(world) / "text")
    assert len(one) == len(several) == 2 and len(one[0]) == 3
    for alone, together in zip(one, several, strict=True):
        assert together == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_agree_that_a_run_is_good_enough(trained: Path, world: int) -> None:
    last = stored(Folder.at(trained / str(world) / "early" / "checkpoints"))[-1]
    assert last.seen == 36 and last.meta["world"] == world
    assert "metric/fd_random_150" in last.meta["metrics"]

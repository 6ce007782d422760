"""The losses of the first five iterations of every shipped job, in float64, as they were when last looked at.

After a change of the numbers that was meant: `pytest tests/integration/test_golden.py --rewrite-golden`, and say why
in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gan_dist.errors import DataError
from gan_dist.execution.local import read_rows
from gan_dist.launch.load_job import load_job
from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import PairData
from gan_dist.spec.job import JobSpec, ObjectiveSpec, TextData
from tests.helpers import SHARED, train

SHIPPED = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
JOBS = [path for path in SHIPPED if load_job(path).sweep is None]
GOLDEN = Path(__file__).parent / "golden"
CUT = {
    "precision": "fp64",
    "every": {"report": "1 steps", "grid": "1G", "checkpoint": "1G"},
    "resources.workers": 1,
    "metrics": [],
}
STEPS = {2: (2, 3), 3: (2, 1, 2)}  # of each stage
SMALL_PAIRS = {"batch": 2, "data.size": 32, "generator.width": 4, "discriminator.width": 4}


def lighter(objectives: tuple[ObjectiveSpec, ...]) -> tuple[ObjectiveSpec, ...]:
    """The same with few rollouts and D steps: the mathematics are the same, and take seconds."""
    fewer = {"rollouts": 2, "d_steps": 2}
    given = [
        {key: min(value, fewer.get(key, value)) for key, value in one.model_dump().items() if key in fewer}
        for one in objectives
    ]
    return tuple(one.model_copy(update=less) for one, less in zip(objectives, given, strict=True))


def cut(job: Path) -> JobSpec:
    """Five iterations of a job in float64; of text few sentences, on the real ones where these are at hand."""
    # Pretrained weights are not at hand everywhere; random ones of the job's seed are.
    without_weights = {"discriminator.weights": "random"} if "use: projected" in job.read_text() else {}
    spec = load_job(job, CUT | without_weights | (SMALL_PAIRS if "modality: pair" in job.read_text() else {}))
    if spec.stages is None:
        spec = spec.model_copy(update={"until": Amount(5, "steps")})
    else:
        stages = [
            stage.model_copy(
                update={"length": Amount(steps, "steps"), "every": spec.every, "objective": lighter(stage.objective)}
            )
            for stage, steps in zip(spec.stages, STEPS[len(spec.stages)], strict=True)
        ]
        spec = spec.model_copy(update={"stages": tuple(stages)})
    if not isinstance(spec.data, TextData):
        return spec
    source = spec.data.source if spec.data.from_oracle else str(SHARED / "text" / spec.data.source)
    data = {"source": source, "test": None, "count": Amount(100)}
    return spec.model_copy(update={"batch": 2, "data": spec.data.model_copy(update=data)})


def losses(job: Path, root: Path) -> dict[str, list[float]]:
    """Each phase's loss in each of its iterations."""
    spec = cut(job)
    try:
        # Of pairs nothing is built in; random ones stand in.
        stands_in = isinstance(spec.data, PairData)
        rows = read_rows(spec, Folder.at(root / "prepared"), smoke=stands_in, emit=lambda event: None)
    except DataError as error:
        pytest.skip(f"the job's data are not at hand: {error}")
    train(spec, root, rows=rows)
    lines = [json.loads(line) for line in (root / "scalars.jsonl").read_text().splitlines()]
    names = sorted({name for line in lines for name in line if name.startswith("loss/")})
    return {name: [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_losses_are_as_they_were(job: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found, path = losses(job, tmp_path), GOLDEN / f"{job.stem}.json"
    assert found and all(len(values) in (2, 3, 5) for values in found.values())
    if request.config.getoption("--rewrite-golden"):
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"wrote {path}")
    expected = json.loads(path.read_text())
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=0, abs=1e-6), name


def test_every_golden_file_belongs_to_a_job() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {path.stem for path in JOBS}

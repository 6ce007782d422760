"""The losses of the first five iterations of every shipped job, in float64, as they were when last looked at.

After a change of the numbers that was meant: `pytest tests/integration/test_golden.py --rewrite-golden`, and say why
in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gan_dist.execution.local import read_rows
from gan_dist.launch.load_job import load_job
from gan_dist.registry import lookup
from gan_dist.registry.build import KINDS
from gan_dist.runs.storage import Folder
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import PairData
from gan_dist.spec.job import JobSpec, ObjectiveSpec, TextData
from tests.helpers import ASSETS, train

SHIPPED = sorted((Path(__file__).parents[2] / "jobs").glob("*.yaml"))
JOBS = [path for path in SHIPPED if "\nsweep:" not in path.read_text()]  # reading all as jobs takes seconds
GOLDEN = Path(__file__).parent / "golden"
CUT = {
    "precision": "fp64",
    "every": {"report": "1 steps", "grid": "1G", "checkpoint": "1G"},
    "resources.workers": 1,
    "metrics": [],
}
STEPS = {2: (2, 3), 3: (2, 1, 2)}  # of each stage
# What the jobs' sentences are replaced by, of those in tests/assets.
SENTENCES = {
    "download:coco-captions": "captions.txt",
    "jokes/jokes.json": "jokes.json",
    "download:emnlp-news": "news.txt",
    "manual": "captions.txt",  # each Python's own is another
    "pyjokes": "jokes.json",
    "poems/tang_5jue.txt": "quatrains.txt",
    "sentiment/": "sentiment",
    "stories.txt": "captions.txt",
    "download:tiny-shakespeare": "captions.txt",
}
# Arguments of the networks that cost time, where a job's are larger: fewer channels, the same mathematics.
NARROW: dict[str, dict[str, int]] = {
    "autoencoder": {"width": 8},
    "biggan": {"width": 2, "z": 20, "shared": 4},
    "charcnn": {"width": 8},
    "cyclegan": {"width": 4, "blocks": 1},
    "cyclegan_discriminator": {"width": 4},
    "cyclegan_generator": {"width": 4, "blocks": 1},
    "dcgan": {"width": 4, "z": 8},
    "fastgan": {"width": 4, "z": 8},
    "flow": {"width": 8, "steps": 2},
    "gat": {"hidden": 16, "depth": 4, "heads": 2, "z": 8},
    "lstm": {"embedding": 8, "hidden": 8},
    "mlp": {"hidden": 16},
    "multirep": {"representations": 4, "filters": 8, "features": 8},
    "patch_projection": {"width": 4, "features": 8},
    "pix2pix": {"width": 4},
    "projected": {"width": 4},
    "r3gan": {"width": 8, "wide": 16, "group": 4, "z": 8},
    "r3gan2": {"width": 8, "wide": 16, "group": 4, "z": 8},
    "rmc": {"heads": 2, "head_size": 8},
    "scratchgan": {"embedding": 8, "hidden": 8},
    "sngan": {"width": 4, "z": 8},
    "stylegan2": {"capacity": 128, "most": 8, "z": 8, "w": 8},
    "textcnn": {"embedding": 8},
    "textlstm": {"embedding": 8, "hidden": 8},
    "transformer": {"width": 8, "heads": 2},
    "vae": {"width": 4, "z": 8},
}
FULL_WIDTH = "r3gan"
# First weights are the same on every CPU. What differs is the order of sums in float64, and what Adam makes of it: at
# most 8e-15 over all jobs between ATEN_CPU_CAPABILITY default, avx2 and avx512, MKL_CBWR COMPATIBLE and AVX2, and
# OPENBLAS_CORETYPE Prescott. First weights that are off by a rounding of float32 show from 1e-9 on.
TOLERANCE = 1e-10


def narrow(spec: JobSpec) -> dict[str, object]:
    """Changes of a job that leave its mathematics as they are, and take a tenth of the time or less."""
    changes: dict[str, object] = {"batch": 4}
    for name, component in spec.network_specs.items():
        known = lookup.signature(lookup.ALIASES[KINDS.get(name, "network")][component.use]).params
        accepted = {param.name for param in known}
        place = name if name in KINDS else f"networks.{name}"
        changes |= {f"{place}.{key}": value for key, value in NARROW[component.use].items() if key in accepted}
    if isinstance(spec.data, PairData):
        return changes | {"data.size": 32}
    if isinstance(spec.data, TextData):
        changes |= {"batch": 2, "data.length": min(spec.data.length, 20), "data.count": 100, "data.test": None}
        if spec.data.from_oracle:
            return changes | {"data.vocabulary": 100}
        if spec.data.tokens == "bpe":  # which wants `tokenizers`
            changes |= {"data.tokens": "words", "data.vocabulary": None}
        changes |= {"data.source": str(ASSETS / SENTENCES[spec.data.source]), "data.too_long": "cut"}
        return changes | ({"data.column": ["setup", "punchline"]} if spec.data.source == "pyjokes" else {})
    return changes


def lighter(objectives: tuple[ObjectiveSpec, ...]) -> tuple[ObjectiveSpec, ...]:
    """The same with few rollouts and D steps: the mathematics are the same, and take seconds."""
    fewer = {"rollouts": 2, "d_steps": 2}
    given = [
        {key: min(value, fewer.get(key, value)) for key, value in one.model_dump().items() if key in fewer}
        for one in objectives
    ]
    return tuple(one.model_copy(update=less) for one, less in zip(objectives, given, strict=True))


def cut(job: Path, full_width: bool = False) -> JobSpec:
    """Five iterations of a job in float64, of narrow networks, and of text on few sentences of our own."""
    # Pretrained weights are not at hand everywhere; random ones of the job's seed are.
    changes = CUT | ({"discriminator.weights": "random"} if "use: projected" in job.read_text() else {})
    spec = load_job(job, changes if full_width else changes | narrow(load_job(job)))
    if spec.stages is None:
        return spec.model_copy(update={"until": Amount(5, "steps")})
    stages = [
        stage.model_copy(
            update={"length": Amount(steps, "steps"), "every": spec.every, "objective": lighter(stage.objective)}
        )
        for stage, steps in zip(spec.stages, STEPS[len(spec.stages)], strict=True)
    ]
    return spec.model_copy(update={"stages": tuple(stages)})


def losses(spec: JobSpec, root: Path) -> dict[str, list[float]]:
    """Each phase's loss in each of its iterations."""
    # Of pairs nothing is built in; random ones stand in.
    stands_in = isinstance(spec.data, PairData) and not spec.data.of_itself
    rows = read_rows(spec, Folder.at(root / "prepared"), smoke=stands_in, emit=lambda event: None)
    train(spec, root, rows=rows)
    lines = [json.loads(line) for line in (root / "scalars.jsonl").read_text().splitlines()]
    names = sorted({name for line in lines for name in line if name.startswith("loss/")})
    return {name: [line[name] for line in lines if name in line] for name in names}


def compare(found: dict[str, list[float]], path: Path, rewrite: bool) -> None:
    assert found and all(len(values) in (2, 3, 5) for values in found.values())
    if rewrite:
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"wrote {path}")
    expected = json.loads(path.read_text())
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE), name


# In the slow tier: a second and more each. `projected` has the one width of its backbone; plain jobs have the
# mathematics of the text jobs.
SLOW = {
    "projected",
    "fastgan",
    "transformer-coco",
    "poems-zh",
    "seqgan-oracle",
    "seqgan-coco",
    "cyclegan",
    "cut",
    "autoencoder",
    "diffusion",
    "biggan",
    "gat",
}


@pytest.mark.parametrize(
    "job",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in SLOW else (), id=path.stem) for path in JOBS],
)
def test_losses_are_as_they_were(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found = losses(cut(job), tmp_path)
    compare(found, GOLDEN / f"{job.stem}.json", request.config.getoption("--rewrite-golden"))


@pytest.mark.slow
def test_losses_at_full_width_are_as_they_were(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (job,) = [job for job in JOBS if job.stem == FULL_WIDTH]
    found = losses(cut(job, full_width=True), tmp_path)
    compare(found, GOLDEN / "full-width" / f"{job.stem}.json", request.config.getoption("--rewrite-golden"))


def test_every_golden_file_belongs_to_a_job() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {path.stem for path in JOBS}
    assert [path.stem for path in GOLDEN.glob("*/*.json")] == [FULL_WIDTH]

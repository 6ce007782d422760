"""The maximum-likelihood twin of a job differs from it in nothing but how it learns."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gan_dist.cli import main
from gan_dist.launch.load_job import load_job
from gan_dist.launch.mle_twin import Seeds, find_seeds, mle_twin
from gan_dist.runs.index import remember_run
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.helpers import ROOT

JOBS = ROOT / "jobs"
CHANGED = {"name", "generator", "discriminator", "objective", "until", "stages", "optimizer", "penalties", "stop_when"}


def plain(spec: JobSpec) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec.model_dump_json(by_alias=True))
    return found


def test_relgan() -> None:
    spec = load_job(JOBS / "relgan-coco.yaml")
    twin = mle_twin(spec)
    before, after = plain(spec), plain(twin)
    assert {key for key in before if before[key] != after[key]} <= CHANGED
    assert twin.name == "relgan-coco-mle" and twin.network_specs.keys() == {"generator"}
    assert twin.generator.use == "rmc" and not {"relax", "beta"} & twin.generator.args.keys()
    assert [(str(one.length), [o.use for o in one.objective]) for one in twin.phases_plan] == [
        ("150 epochs", ["mle"]),
        ("2000 steps", ["mle"]),
    ]
    assert spec.optimizer.lr == 1e-4 and twin.optimizer.lr == 1e-2, "the rate that its likelihood stage has"


def test_lengths_of_one_sort_become_one_but_for_stages_of_d_alone() -> None:
    seqgan = JOBS / "seqgan-oracle.yaml"
    twin = mle_twin(load_job(seqgan, {"stages.2.for": "30 epochs"}))
    assert str(twin.until) == "150 epochs" and twin.stages is None
    twin = mle_twin(load_job(seqgan, {"stages.0.for": "10k"}))
    assert twin.until is not None and twin.until.value == 10_000 + 140 * 64
    assert twin.optimizer.settings("generator").clip == 5 and not twin.optimizer.overrides


TRAINED = sorted(path.name for path in JOBS.glob("*.yaml") if not path.name.startswith("sweep-"))


@pytest.mark.parametrize("job", TRAINED)
def test_every_shipped_text_job_with_an_adversary_has_a_twin(job: str) -> None:
    spec = load_job(JOBS / job)
    alone = all(one.use == "mle" for stage in spec.phases_plan for one in stage.objective)
    if spec.data.modality != "text" or alone:
        with pytest.raises(ValueError, match="is its own twin" if alone else "the job's data are images"):
            mle_twin(spec)
    else:
        assert {one.use for stage in mle_twin(spec).phases_plan for one in stage.objective} == {"mle"}


def test_metrics_of_the_discriminator_decide_nothing() -> None:
    spec = load_job(JOBS / "seqgan-oracle.yaml", {"keep.metric": "loss/D", "keep.best": 2, "keep.mode": "min"})
    assert mle_twin(spec).keep.metric is None
    spec = load_job(JOBS / "seqgan-oracle.yaml", {"keep.metric": "nll_oracle_5k", "keep.best": 2, "keep.mode": "min"})
    assert mle_twin(spec).keep == spec.keep


def test_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = [str(JOBS / "seqgan-oracle.yaml"), "--mle-twin", "--local", "--storage", str(tmp_path / "runs")]
    small = ["data.count=64", "data.vocabulary=12", "data.length=5", "batch=16", "generator.hidden=4", "metrics=[]"]
    small += ["stages.0.for=2 steps", "stages.2.for=3 steps"]
    words += [word for change in small for word in ("-o", change)]

    def call(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gan-dist", "submit", *words, *more])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == 0, err
        return out

    shown = json.loads(call("--dry-run"))
    assert shown["job"]["name"] == "seqgan-oracle-mle" and shown["in_samples"][0]["for"] == 80
    ended = json.loads(call("--json"))
    assert ended["status"] == "succeeded" and Path(ended["uri"]).name.startswith("seqgan-oracle-mle-")
    files = {path.name for path in Path(ended["uri"]).glob("checkpoints/*/*")}
    assert "generator.safetensors" in files and "discriminator.safetensors" not in files


def test_a_sweep_has_no_twin() -> None:
    sweep = {"metric": "nll_oracle_5k", "space": {"optimizer.lr": {"choice": [0.01, 0.001]}}}
    job = plain(load_job(JOBS / "seqgan-oracle.yaml")) | {"sweep": sweep}
    with pytest.raises(ValueError, match="the job is a sweep; take the twin of the best job"):
        mle_twin(JobSpec.model_validate(job))


def stored(root: Path, name: str, spec: JobSpec, created: float, status: str = "succeeded", **facts: Any) -> RunFolder:
    """A run in the index with nothing in its folder but what was submitted and how it ended."""
    run = RunFolder(Folder.at(root / name))
    run.folder.write_json("request.json", {"run_id": name, "mode": "train", "job": plain(spec), **facts})
    run.update(status=status)
    remember_run(run, created=created)
    return run


def test_of_each_seed_the_newest_finished_run_counts(tmp_path: Path) -> None:
    """A repeat of a seed tells nothing of the spread over seeds."""

    def seeded(seed: int, **changes: Any) -> JobSpec:
        return load_job(JOBS / "seqgan-oracle.yaml", {"seed": seed, **changes})

    asked = stored(tmp_path, "asked", seeded(0), 3)
    stored(tmp_path, "same-seed-newer", seeded(0), 9)
    stored(tmp_path, "two", seeded(2), 2)
    stored(tmp_path, "one-old", seeded(1), 4)
    stored(tmp_path, "one-new", seeded(1), 5)
    stored(tmp_path, "one-stopped", seeded(1), 6, status="stopped")
    stored(tmp_path, "one-rehearsed", seeded(1), 7, mode="smoke")
    stored(tmp_path, "other-rate", seeded(3, **{"optimizer.lr": 0.5}), 8)
    assert find_seeds(asked) == Seeds(
        others=(f"{tmp_path}/one-new", f"{tmp_path}/two"),
        twins=(),
        repeats=(
            "of 2 runs of the job with seed 0, asked is measured",
            "of 2 runs of the job with seed 1, one-new is measured",
        ),
    )
    for created, (name, seed) in enumerate((("twin-new", 0), ("twin-one", 1)), 20):
        stored(tmp_path, name, mle_twin(seeded(seed)), created)
    stored(tmp_path, "twin-old", mle_twin(seeded(0)), 10)
    found = find_seeds(asked)
    assert found.twins == (f"{tmp_path}/twin-new", f"{tmp_path}/twin-one")
    assert found.repeats[2:] == ("of 2 runs of its twin with seed 0, twin-new is measured",)

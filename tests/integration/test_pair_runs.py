"""A run on pairs of images from end to end: metrics by pair, `sample --inputs`, evaluate, compare, export."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_dist import api
from gan_dist.data.encoding import image
from gan_dist.data.order import shuffle
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import JobError
from gan_dist.generation.model import load
from gan_dist.launch.load_job import load_job
from gan_dist.metrics.image.paired import psnr
from gan_dist.runs.run_folder import RunFolder
from gan_dist.training.batch_norm_statistics import batch_norms_of
from tests.helpers import CPU

JOB = """
name: pairs
data: {{modality: pair, source: {made}, inputs: {given}, size: 16, channels: 1}}
generator: {{use: pix2pix, width: 2}}
discriminator: {{use: pix2pix, width: 2, layers: 2}}
objective: [{{use: hinge}}, {{use: l1, weight: 10}}]
batch: 4
until: 4 steps
metrics:
  - {{use: psnr, samples: 8}}
  - {{use: ssim, samples: 8}}
  - {{use: apart, samples: 8}}
  - {{use: frechet, samples: 100}}
every: {{report: 2 steps, grid: 2 steps, checkpoint: 2 steps, metrics: 4 steps}}
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    root = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    for name in ("made", "given"):
        (root / name).mkdir()
        for number in range(9):
            Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(root / name / f"{number}.png")
    job = root / "job.yaml"
    job.write_text(JOB.format(made=root / "made", given=root / "given"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        return root, api.train(job, storage=str(root / "runs")).folder


@pytest.mark.slow
def test_standing_statistics_are_of_the_data_s_inputs(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = scene
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    changes = {"generator": {"use": "pix2pix", "width": 2, "norm": "batch"}, "standing": {"batches": 2, "batch": 5}}
    run = api.train(root / "job.yaml", **changes, storage=str(root / "standing")).folder
    generator: Any = load(run).generator
    pictures = [np.asarray(Image.open(root / "given" / f"{number}.png")) for number in range(9)]
    order = shuffle(9, 0, "shown")
    means = []
    for batch in (order[[0, 1, 2, 3, 4]], order[[5, 6, 7, 8, 0]]):
        given = image.encode(torch.tensor(np.stack([pictures[one] for one in batch]))[:, None], CPU, torch.float32)
        means.append(before_first_norm(generator, given).mean((0, 2, 3)))
    found = batch_norms_of(generator)[0].running_mean
    torch.testing.assert_close(found, torch.stack(means).mean(0), rtol=1e-5, atol=1e-6)


def before_first_norm(generator: Any, given: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = batch_norms_of(generator)[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        generator(generator.draw(len(given), single_lane_rng((), len(given), CPU)), given)
    hook.remove()
    return seen[0]


def test_metrics_by_pair_are_those_of_the_pictures(scene: Any, gan_dist: Any) -> None:
    _, run = scene
    last = run.reports()[-1]
    found = {name.removeprefix("metric/"): value for name, value in last.items() if name.startswith("metric/")}
    assert list(found) == ["psnr_8", "ssim_8", "apart_random_8", "fd_random_100"]
    assert 0 < found["psnr_8"] < 30 and -1 < found["ssim_8"] < 1 and found["apart_random_8"] > 0
    code, said = gan_dist("evaluate", run.uri, "--json")
    assert code == 0, said
    again = json.loads(said[: said.rindex("}") + 1])["metrics"]
    assert {name: again[name] for name in found} == pytest.approx(found, rel=1e-6)


def test_psnr_of_the_run_by_hand(scene: Any) -> None:
    from gan_dist.generation.model import trained_on

    _, run = scene
    model = load(run)
    rows = trained_on(model)
    wanted = model.modality.metric_targets(rows, model.spec.seed)
    assert wanted is not None
    made = model.modality.metric_draw(model.generator, rows, model.spec.seed, torch.device("cpu"))(range(64))[:8]
    by_hand = psnr(made.float() / 127.5 - 1, wanted(range(64))[:8].float() / 127.5 - 1).mean().item()
    assert run.reports()[-1]["metric/psnr_8"] == pytest.approx(by_hand, rel=1e-6)


def test_pictures_are_made_of_ones_own(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    root, run = scene
    code, said = gan_dist("sample", run.uri, "--inputs", root / "given", "--out", "made")
    assert code == 0, said
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [f"{number}.png" for number in range(9)]
    model = load(run)
    given = torch.from_numpy(np.stack([np.asarray(Image.open(root / "given" / f"{n}.png"))[None] for n in range(9)]))
    expected = model.translate(given)
    found = np.stack([np.asarray(Image.open(tmp_path / "made" / f"{n}.png"))[None] for n in range(9)])
    assert np.array_equal(found, expected.numpy())
    assert not model.translate(given, seed=1).equal(expected)
    (tmp_path / "made" / "mine.txt").write_text("mine")
    assert gan_dist("sample", run.uri, "--inputs", root / "given", "--out", "made")[0] == 2
    code, said = gan_dist("sample", run.uri, "--inputs", root / "given", "--out", "made", "--force", "--seed", 1)
    assert code == 0 and (tmp_path / "made" / "mine.txt").read_text() == "mine"
    code, said = gan_dist("sample", run.uri, "--inputs", root / "given")
    assert code == 0 and (tmp_path / f"{run.id}-seed0-made.png").exists(), said


def test_what_a_model_of_pairs_cannot_do_is_said(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    _, run = scene
    code, said = gan_dist("sample", run.uri)
    assert code == 2 and "makes pictures of other pictures; name them: --inputs FOLDER" in said
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    code, said = gan_dist("sample", run.uri, "--inputs", "bad", "--out", "out")
    assert code == 2 and "--inputs: a.png in 'bad' cannot be used: not an image" in said
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.new").exists()
    with pytest.raises(ValueError, match=r"wants uint8 \[n, 1, 16, 16\]"):
        load(run).translate(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.slow
def test_compare_and_export(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    _, run = scene
    assert gan_dist("compare", run.uri, run.uri, "--report", "report.html")[0] == 0
    for form in ("safetensors", "torch"):
        code, said = gan_dist("export", run.uri, "--out", form, "--format", form)
        assert code == 0, said
    given = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    assert load(tmp_path / "safetensors").translate(given).equal(load(run).translate(given))
    assert "pictures [B, 1, 16, 16]" in (tmp_path / "torch" / "README.md").read_text()


def test_metrics_of_another_modality_are_refused(scene: Any) -> None:
    root, _ = scene
    text = (root / "job.yaml").read_text().replace("pix2pix", "dcgan").replace(", layers: 2", "")
    text = re.sub(r"data: .*", "data: {source: digits, size: 16}", text)
    (root / "other.yaml").write_text(text)
    with pytest.raises(JobError, match=r"'psnr' is for pairs of images, but data\.modality is image"):
        load_job(root / "other.yaml")

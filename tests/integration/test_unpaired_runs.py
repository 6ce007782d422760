"""A run on two domains from end to end: metrics of the target, `sample --inputs` both ways, evaluate, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gan_dist import api
from gan_dist.errors import JobError, UsageError
from gan_dist.generation.model import load, trained_on
from gan_dist.launch.load_job import load_job
from gan_dist.runs.run_folder import RunFolder

JOB = """
name: domains
data: {{modality: unpaired, source: {source}, size: 16, channels: 1}}
generator: {{use: cyclegan, width: 2, blocks: 1}}
discriminator: {{use: cyclegan, width: 2, layers: 1}}
networks:
  inverse: {{use: cyclegan_generator, width: 2, blocks: 1}}
  source_discriminator: {{use: cyclegan_discriminator, width: 2, layers: 1}}
objective: {{use: cyclegan}}
batch: 4
until: 4 steps
metrics: [{{use: frechet, samples: 300}}, {{use: kid, samples: 20}}]
every: {{report: 2 steps, grid: 2 steps, checkpoint: 2 steps, metrics: 4 steps}}
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    root = tmp_path_factory.mktemp("domains")
    random = np.random.default_rng(0)
    for folder, count in (("trainA", 9), ("trainB", 21)):
        (root / "in" / folder).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(root / "in" / folder / f"{number}.png")
    job = root / "job.yaml"
    job.write_text(JOB.format(source=root / "in"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        return root, api.train(job, storage=str(root / "runs")).folder


def pictures(folder: Path) -> torch.Tensor:
    names = sorted(folder.iterdir(), key=lambda path: int(path.stem))
    return torch.from_numpy(np.stack([np.asarray(Image.open(name))[None] for name in names]))


@pytest.mark.slow
def test_metrics_are_of_translated_pictures_against_the_target(scene: Any, gan_dist: Any) -> None:
    _, run = scene
    last = run.reports()[-1]
    found = {name.removeprefix("metric/"): value for name, value in last.items() if name.startswith("metric/")}
    assert {"fd_random_300", "kid_all_pairs_random_20"} <= set(found)
    code, said = gan_dist("evaluate", run.uri, "--json")
    assert code == 0, said
    again = json.loads(said[: said.rindex("}") + 1])
    assert {name: again["metrics"][name] for name in found} == pytest.approx(found, rel=1e-5)
    told = "21 real samples are too few for 512 features; it is far too high; --metric kid has no such bias"
    assert told in " ".join(said.split()), said


def test_what_is_made_is_of_the_source(scene: Any) -> None:
    root, run = scene
    model = load(run)
    rows = trained_on(model)
    made = model.modality.metric_draw(model.generator, rows, 0, torch.device("cpu"))(range(64))
    expected = {one.numpy().tobytes() for one in model.translate(pictures(root / "in" / "trainA"))}
    assert {one.numpy().tobytes() for one in made[:9]} == expected


def test_pictures_are_translated_both_ways(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    root, run = scene
    for words, folder, backward in (((), "trainA", False), (("--backward",), "trainB", True)):
        code, said = gan_dist("sample", run.uri, "--inputs", root / "in" / folder, "--out", f"of_{folder}", *words)
        assert code == 0, said
        expected = load(run, backward=backward).translate(pictures(root / "in" / folder))
        assert torch.equal(pictures(tmp_path / f"of_{folder}"), expected)
    assert not torch.equal(load(run, backward=True).translate(pictures(root / "in" / "trainA")), expected[:9])
    code, said = gan_dist("sample", run.uri, "--inputs", root / "in" / "trainB", "--backward")
    assert code == 0 and (tmp_path / f"{run.id}-seed0-made-back.png").exists(), said


def test_what_cannot_be_done_is_said(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    root, run = scene
    code, said = gan_dist("sample", run.uri)
    assert code == 2 and "makes pictures of other pictures; name them: --inputs FOLDER" in said
    code, said = gan_dist("sample", run.uri, "--inputs", root / "nowhere")
    assert code == 2 and "does not exist" in said
    code, said = gan_dist("latents", "directions", run.uri)
    assert code == 2 and "latents are of generators of images from noise" in said
    code, said = gan_dist("export", run.uri, "--out", "exported")
    assert code == 0, said
    with pytest.raises(UsageError, match="is exported, with the one network that was asked for; name the run"):
        load(tmp_path / "exported", backward=True)
    given = pictures(root / "in" / "trainA")
    assert load(tmp_path / "exported").translate(given).equal(load(run).translate(given))


def test_one_way_alone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    root, _ = scene
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    changes: dict[str, Any] = {"objective": {"use": "cut", "places": 16}, "until": "2 steps", "metrics": []}
    changes["networks"] = {"projection": {"use": "patch_projection", "width": 2, "features": 4}}
    text = (root / "job.yaml").read_text()
    job = tmp_path / "cut.yaml"
    job.write_text(text[: text.index("networks:")] + text[text.index("objective:") :])
    run = api.train(job, **changes, storage=str(root / "one-way")).folder
    assert load(run).translate(pictures(root / "in" / "trainA")).shape == (9, 1, 16, 16)
    with pytest.raises(UsageError, match="learnt one way: its job has no network `inverse`; cyclegan learns both"):
        load(run, backward=True)


def test_the_way_back_runs_no_code_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Any) -> None:
    root, _ = scene
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "way_back.py").write_text(
        "from gan_dist.networks.image import cyclegan\n\n\nclass Back(cyclegan.Generator):\n    pass\n"
    )
    job = tmp_path / "job.yaml"
    job.write_text((root / "job.yaml").read_text().replace("cyclegan_generator", "'way_back:Back'"))
    run = api.train(job, until="2 steps", metrics=[], storage=str(root / "own-way")).folder
    assert load(run, backward=True).translate(pictures(root / "in" / "trainB")).shape == (21, 1, 16, 16)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "other-home"))
    sys.modules.pop("way_back")
    load(run)  # the other way is by a network of ours
    with pytest.raises(UsageError, match=r"networks\.inverse\.use: way_back:Back.*--trust-code"):
        load(run, backward=True)
    assert "way_back" not in sys.modules


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator": {"use": "dcgan"}}, "'dcgan' is made for images, but data.modality is unpaired"),
        ({"discriminator": {"use": "pix2pix"}}, "'pix2pix' is made for pairs of images, but data.modality is unpaired"),
        ({"objective": ["hinge", "l1"]}, "'l1' compares each sample with its own real one, which unpaired images lack"),
        ({"metrics": [{"use": "psnr"}]}, "'psnr' is for pairs of images, but data.modality is unpaired"),
        ({"augment": {"use": "ada"}}, "augment: changes pictures, but data.modality is unpaired; remove it"),
        ({"data.modality": "image"}, "'cyclegan' is for data.modality: unpaired, not image"),
        ({"data.inputs": "x"}, "data.inputs: belongs to data of `modality: pair`"),
    ],
)
def test_what_does_not_go_together_is_refused(scene: Any, changes: dict[str, Any], said: str) -> None:
    root, _ = scene
    with pytest.raises(JobError) as caught:
        load_job(root / "job.yaml", changes)
    assert said in str(caught.value)

"""Runs on images that are no squares, from files to what is given away; and [N, N] is N to the bit."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import gan_dist
from gan_dist.runs.run_folder import RunFolder
from gan_dist.spec.job import JobSpec
from tests.helpers import SMALL, Cli, assert_same_state, rows_of, train

JOB: dict[str, Any] = {
    "version": 1,
    "name": "wide",
    "generator": {"use": "stylegan2", "capacity": 64, "most": 8, "z": 4, "w": 4, "mapping": 1},
    "discriminator": {"use": "dcgan", "width": 4, "norm": "none"},
    "objective": "hinge",
    "penalties": [{"use": "r1", "gamma": 1.0}, {"use": "bcr"}, {"use": "path_length", "every": 2}],
    "augment": {"use": "ada", "p": 0.5, "cutout": 0.5},
    "metrics": [{"use": "frechet", "samples": 32}],
    "batch": 8,
    "until": "4 steps",
    "every": {"report": "1 steps", "grid": "2 steps", "checkpoint": "2 steps", "metrics": "4 steps"},
}
SIZE = (32, 48)


def photos(folder: Path, count: int, size: tuple[int, int] = SIZE) -> str:
    """Pictures of this height and width, each with a bar of its own."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.zeros((*size, 3), np.uint8)
        pixels[:, number % size[1] :] = (number * 7 % 256, 90, 200)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    root = tmp_path_factory.mktemp("wide")
    source = photos(root / "photos", 40, (40, 60))
    job = {**JOB, "data": {"source": source, "size": list(SIZE), "channels": 3, "xflip": True}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        yield gan_dist.train(job, storage=str(root / "runs")).folder


@pytest.mark.slow
def test_grids_metrics_and_checkpoints(run: RunFolder) -> None:
    last = json.loads(run.folder.read("scalars.jsonl").splitlines()[-1])
    assert last["metric/fd_random_32"] > 0 and last["D/bcr_real"] >= 0
    grid = Image.open(io.BytesIO(run.folder.read(f"grids/{sorted(run.grids())[-1]}")))
    # Eight in a row, with two pixels between them.
    assert grid.width / grid.height == (8 * SIZE[1] + 14) / (8 * SIZE[0] + 14)
    assert gan_dist.load(run.uri).facts.size == SIZE


@pytest.mark.slow
def test_samples_in_every_form(run: RunFolder, cli: Cli, tmp_path: Path) -> None:
    for out in ("many", "many.zip", "many.parquet"):
        code, _, err = cli("sample", run.uri, "--n", "3", "--out", tmp_path / out)
        assert code == 0, err
    assert Image.open(tmp_path / "many" / "000000.png").size == SIZE[::-1]
    with zipfile.ZipFile(tmp_path / "many.zip") as packed:
        assert {Image.open(io.BytesIO(packed.read(name))).size for name in packed.namelist()} == {SIZE[::-1]}
    assert pq.read_table(tmp_path / "many.parquet").num_rows == 3
    code, _, err = cli(
        "sample", run.uri, "--seed", "0,1", "--interpolate", "line", "--steps", "3", "--out", tmp_path / "way.png"
    )
    assert code == 0, err
    code, _, err = cli("sample", run.uri, "--seed", "0,1", "--mix", "2,3", "--out", tmp_path / "mix.png")
    assert code == 0, err


@pytest.mark.slow
def test_measured_against_folders(run: RunFolder, cli: Cli, tmp_path: Path) -> None:
    same, turned = photos(tmp_path / "same", 30), photos(tmp_path / "turned", 30, SIZE[::-1])
    code, out, err = cli(
        "evaluate", run.uri, same, "--metric", "fd", "--n", "32", "--neighbours", tmp_path / "near.png", "--json"
    )
    assert code == 0, err
    assert "fd_random_32_vs_same" in json.loads(out)["metrics"] and (tmp_path / "near.png").is_file()
    code, out, err = cli("evaluate", same, turned, "--metric", "fd")
    assert code != 0 and "images of 32x48 RGB and images of 48x32 RGB" in out + err


@pytest.mark.parametrize("form", ["safetensors", pytest.param("torch", marks=pytest.mark.slow)])
def test_given_away(run: RunFolder, cli: Cli, tmp_path: Path, form: str) -> None:
    code, _, err = cli("export", run.uri, "--out", tmp_path / "out", "--format", form)
    assert code == 0, err
    assert "images of 32x48 RGB" in (tmp_path / "out" / "README.md").read_text()
    if form == "safetensors":
        ours, theirs = gan_dist.load(run.uri), gan_dist.load(str(tmp_path / "out"))
        assert torch.equal(*(model.sample(5, seed=2) for model in (ours, theirs)))


def test_compared_and_resumed(run: RunFolder, cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("compare", run.uri, run.uri, "--out", tmp_path / "page.html")
    assert code == 0, err
    again = gan_dist.load(run.uri).spec
    assert JobSpec.model_validate_json(again.model_dump_json()) == again


def test_pairs_are_translated(cli: Cli, tmp_path: Path) -> None:
    made, given = photos(tmp_path / "made", 16), photos(tmp_path / "given", 16)
    job = {
        "name": "pairs",
        "data": {"modality": "pair", "source": made, "inputs": given, "size": list(SIZE)},
        "generator": {"use": "pix2pix", "width": 2},
        "discriminator": {"use": "pix2pix", "width": 2},
        "objective": ["hinge", {"use": "l1", "weight": 10.0}],
        "metrics": [{"use": "ssim", "samples": 16}, {"use": "psnr", "samples": 16}],
        "batch": 4,
        "until": "2 steps",
    }
    trained = gan_dist.train(job, storage=str(tmp_path / "runs"))
    model = gan_dist.load(trained.folder.uri)
    assert model.facts.described == "pairs of images of 32x48 RGB"
    pictures = torch.zeros(2, 3, *SIZE, dtype=torch.uint8)
    assert model.translate(pictures).shape == pictures.shape
    with pytest.raises(ValueError, match=r"wants uint8 \[n, 3, 32, 48\]"):
        model.translate(pictures.mT)
    code, _, err = cli(
        "sample", trained.folder.uri, "--inputs", photos(tmp_path / "more", 3, (50, 60)), "--out", tmp_path / "out"
    )
    assert code == 0, err
    assert {Image.open(path).size for path in (tmp_path / "out").iterdir()} == {SIZE[::-1]}


def test_a_number_and_a_list_of_it_twice_are_one_run(tmp_path: Path) -> None:
    runs = []
    for name, size in (("number", 8), ("list", [8, 8])):
        spec = JobSpec.model_validate({**SMALL, "data": {"source": "digits", "size": size}})
        runs.append(train(spec, tmp_path / name, rows=rows_of(spec)).newest)
    assert runs[0].meta["data"] == runs[1].meta["data"] and runs[0].meta["data"]["size"] == 8
    assert_same_state(*runs)

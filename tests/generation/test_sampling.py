"""Many samples: the same wherever they are made, whole or not at all, and taken up where they were left."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

import gan_dist
from gan_dist.cli import main
from gan_dist.data.executors import write_shards_on_processes as read_here
from gan_dist.data.facts import ImageFacts
from gan_dist.data.prepare import prepare_or_load
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.execution.ray.tasks import SampleMaker
from gan_dist.generation.export import export
from gan_dist.generation.exported_model import checksum_of
from gan_dist.generation.modality import PairModality
from gan_dist.generation.model import Model
from gan_dist.generation.samples import real_samples
from gan_dist.generation.sampling import SampleRange, SamplingPlan, parse_seeds, sample_in_process, write_samples
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import ImageData
from tests.helpers import CPU, Cli

PICTURES = """
name: pictures
data: {source: digits, size: 8, labels: source}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: hinge
batch: 8
until: 2 steps
"""
SENTENCES = """
name: sentences
data: {modality: text, source: oracle, length: 5, vocabulary: 50, count: 100}
generator: {use: lstm, embedding: 4, hidden: 4}
objective: mle
batch: 8
until: 2 steps
"""


RARE = """
name: rare
data: {modality: text, source: rare.txt, length: 4, min_count: 2}
generator: {use: lstm, embedding: 4, hidden: 4}
objective: mle
batch: 8
until: 2 steps
every: {grid: 1 steps}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    root, found = tmp_path_factory.mktemp("runs"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        for name, job in (("pictures", PICTURES), ("sentences", SENTENCES)):
            (root / f"{name}.yaml").write_text(job)
            found[name] = gan_dist.load(gan_dist.train(root / f"{name}.yaml", storage=str(root / "runs")))
        yield found


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.generation.sampling.MOST", 64)


@pytest.fixture
def sample(cli: Cli) -> Callable[..., tuple[object, str]]:
    def call(*words: object) -> tuple[object, str]:
        code, out, err = cli("sample", *words)
        return code, out + err

    return call


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def pixels_of(content: bytes) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(content))).copy())[None]


def test_seeds_are_a_number_a_range_or_several() -> None:
    assert parse_seeds("7") == [7] and parse_seeds("1-3") == [1, 2, 3] and parse_seeds("5, 1-2") == [5, 1, 2]
    for wrong in ("", "3-1", "a", "1-", "-1"):
        with pytest.raises(ValueError, match="must be a number, a range such as 1-4, or several"):
            parse_seeds(wrong)


def test_stretches_are_bounded_by_number_and_by_size() -> None:
    sampling = SamplingPlan("x", [3, 4], 50_000)
    found = sampling.sample_ranges(ImageFacts(count=1, size=32, channels=3, checksum=""))
    assert len(found) == 2 * 49 and max(one.many for one in found) == 1024
    assert [one.number for one in found] == list(range(98)) and sum(one.many for one in found) == 100_000
    assert found[49] == SampleRange(49, 4, 0, 1024)
    large = sampling.sample_ranges(ImageFacts(count=1, size=1024, channels=3, checksum=""))
    assert max(one.many for one in large) == 64


@pytest.mark.usefixtures("small_ranges")
def test_a_folder_a_zip_and_a_table_hold_the_samples(runs: dict[str, Model], tmp_path: Path) -> None:
    model = runs["pictures"]
    expected = {seed: model.sample(150, seed=seed) for seed in (3, 4)}
    asked = SamplingPlan(model.uri, [3, 4], 150)
    folder = write_samples(asked, model, tmp_path / "folder", executor=sample_in_process, progress=silent)
    assert len(list(folder.glob("*.png"))) == 300
    archive = zipfile.ZipFile(
        write_samples(asked, model, tmp_path / "some.zip", executor=sample_in_process, progress=silent)
    )
    table = pq.read_table(
        write_samples(
            replace(asked, form="parquet"),
            model,
            tmp_path / "some.parquet",
            executor=sample_in_process,
            progress=silent,
        )
    )
    rows = table.to_pylist()
    assert len(rows) == 300 and len(archive.namelist()) == 301
    for row in rows:
        name, wanted = row["image"]["path"], expected[row["seed"]][row["number"]]
        assert name == f"seed{row['seed']}-{row['number']:06d}.png" and row["label"] == row["number"] % 10
        for content in (row["image"]["bytes"], archive.read(name), (folder / name).read_bytes()):
            assert torch.equal(pixels_of(content), wanted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "some.parquet", "some.zip"]


def test_a_folder_may_be_called_like_an_archive(runs: dict[str, Model], tmp_path: Path) -> None:
    (tmp_path / "some.zip").mkdir()
    out = write_samples(
        SamplingPlan(runs["pictures"].uri, [0], 3),
        runs["pictures"],
        tmp_path / "some.zip",
        executor=sample_in_process,
        progress=silent,
    )
    assert len(list(out.glob("*.png"))) == 3


@pytest.mark.parametrize("name", ["some.zip", "some.parquet"])
def test_what_is_written_can_be_trained_on(runs: dict[str, Model], tmp_path: Path, name: str) -> None:
    model = runs["pictures"]
    form = "png" if name.endswith("zip") else "parquet"
    write_samples(
        SamplingPlan(model.uri, [0], 30, form), model, tmp_path / name, executor=sample_in_process, progress=silent
    )
    data = ImageData(source=str(tmp_path / name), size=8, labels="source")
    found = prepare_or_load(data, Folder.at(tmp_path / "cache"), executor=read_here, progress=silent)
    assert found.facts.class_counts == (3,) * 10 and found.facts.count == 30


@pytest.mark.usefixtures("small_ranges")
def test_an_interrupted_command_goes_on_where_it_was(runs: dict[str, Model], tmp_path: Path) -> None:
    model, asked, out = runs["pictures"], SamplingPlan(runs["pictures"].uri, [0], 200), tmp_path / "some.zip"
    whole = write_samples(
        asked, model, tmp_path / "whole.zip", executor=sample_in_process, progress=silent
    ).read_bytes()
    made: list[int] = []

    def dying(sampling: SamplingPlan, ranges: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
        for number, content in sample_in_process(sampling, list(ranges)[::-1]):
            if made:
                raise KeyboardInterrupt
            made.append(number)
            yield number, content

    def rest(sampling: SamplingPlan, ranges: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
        made.extend(one.number for one in ranges)
        return sample_in_process(sampling, ranges)

    with pytest.raises(KeyboardInterrupt):
        write_samples(asked, model, out, executor=dying, progress=silent)
    assert not out.exists()
    told: list[tuple[int, int]] = []
    write_samples(asked, model, out, executor=rest, progress=lambda *counts: told.append(counts))
    assert made == [3, 0, 1, 2] and told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert out.read_bytes() == whole


@pytest.mark.usefixtures("small_ranges")
def test_what_was_left_of_another_wish_is_not_used(runs: dict[str, Model], tmp_path: Path) -> None:
    model, out = runs["pictures"], tmp_path / "some.zip"
    for seed in (0, 1):
        with pytest.raises(RuntimeError):
            write_samples(SamplingPlan(model.uri, [seed], 128), model, out, executor=interrupted, progress=silent)
    write_samples(SamplingPlan(model.uri, [1], 128), model, out, executor=sample_in_process, progress=silent)
    content = zipfile.ZipFile(out).read("000000.png")
    assert torch.equal(pixels_of(content), model.sample(1, seed=1)[0])


def interrupted(sampling: SamplingPlan, ranges: Sequence[SampleRange]) -> Iterator[tuple[int, bytes]]:
    yield from sample_in_process(sampling, ranges[:1])
    raise RuntimeError("interrupted")


@pytest.mark.usefixtures("small_ranges")
def test_sentences_are_lines_or_rows(runs: dict[str, Model], tmp_path: Path) -> None:
    model = runs["sentences"]
    expected = model.sample(100, seed=5)
    (tmp_path / "version.2").mkdir()
    for out in (tmp_path / "some.txt", tmp_path / "folder", tmp_path / "version.2"):
        path = write_samples(
            SamplingPlan(model.uri, [5], 100, "txt"), model, out, executor=sample_in_process, progress=silent
        )
        assert path.read_text().splitlines() == expected
    out = write_samples(
        SamplingPlan(model.uri, [5], 100, "parquet"),
        model,
        tmp_path / "some.parquet",
        executor=sample_in_process,
        progress=silent,
    )
    assert pq.read_table(out)["text"].to_pylist() == expected
    assert pq.ParquetFile(out).metadata.row_group(0).column(0).compression == "ZSTD"


def test_sampling_survives_the_way_to_a_worker() -> None:
    sampling = SamplingPlan("x", [1, 2], 5, "parquet", cls="3", truncation=0.5)
    assert SamplingPlan.from_json(sampling.to_json()) == sampling


@pytest.mark.usefixtures("small_ranges")
def test_a_worker_of_a_cluster_makes_the_same_bytes(runs: dict[str, Model]) -> None:
    """What Ray Data calls, without Ray; a zip ends with zeros, which must not be lost on the way."""
    model, asked = runs["pictures"], SamplingPlan(runs["pictures"].uri, [0], 100)
    ranges = asked.sample_ranges(model.facts)
    made = SampleMaker(asked.to_json())(pa.table({"sample_range": [json.dumps(one) for one in ranges]}))
    assert made["number"].to_pylist() == [0, 1]
    assert made["content"].to_pylist() == [content for _, content in sample_in_process(asked, ranges)]


def test_the_command(runs: dict[str, Model], tmp_path: Path, sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = runs["pictures"].uri
    code, said = sample(run, "--n", 20, "--class", 7, "--out", "sevens", "--json")
    assert code == 0 and json.loads(said)["files"] == ["sevens"]
    sevens = runs["pictures"].sample(20, class_label=7)
    assert torch.equal(pixels_of((tmp_path / "sevens" / "000019.png").read_bytes()), sevens[19])
    code, said = sample(run, "--n", 10, "--out", "sevens")
    assert code == 2 and "is not empty; choose another folder, or --force" in said
    assert sample(run, "--n", 10, "--out", "sevens", "--force")[0] == 0
    assert len(list((tmp_path / "sevens").glob("*.png"))) == 20
    assert sample(run, "--seed", "1-3")[0] == 0 and sample(run)[0] == 0
    grids = [path.name for path in tmp_path.iterdir() if path.suffix == ".png"]
    assert sorted(grids) == [f"{runs['pictures'].name}-seed{seed}.png" for seed in ("0", "1-3")]


def test_a_grid_is_written_where_one_says_and_under_a_name_that_tells_it_apart(
    runs: dict[str, Model], tmp_path: Path, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = runs["pictures"]
    assert sample(model.uri, "--out", "grid.png")[0] == 0 and sample(model.uri)[0] == 0
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / f"{model.name}-seed0.png").read_bytes()
    assert sample(model.uri, "--class", 7, "--weights", "raw", "--seed", 2)[0] == 0
    raw = "-raw" if model.spec.ema is not None else ""
    assert (tmp_path / f"{model.name}-seed2-class7{raw}.png").exists()
    before = (tmp_path / "grid.png").read_bytes()
    for words in (("--out", "grid.png", "--seed", 9), ()):
        code, said = sample(model.uri, *words)
        assert code == 2 and "is there already; choose another name, or --force" in said
    assert (tmp_path / "grid.png").read_bytes() == before
    assert sample(model.uri, "--out", "grid.png", "--seed", 9, "--force")[0] == 0
    assert (tmp_path / "grid.png").read_bytes() != before


def test_text_is_shown_and_written(
    runs: dict[str, Model], tmp_path: Path, sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = runs["sentences"]
    code, said = sample(model.uri, "--n", 70, "--temperature", 0.7)
    written = (tmp_path / f"{model.name}-seed0-t0.7.txt").read_text().splitlines()
    assert code == 0 and len(written) == 70
    assert said.splitlines()[:65] == [*written[:64], "... and 6 more"]
    assert sample(model.uri, "--n", 70, "--min-p", 1)[0] == 0
    likeliest = (tmp_path / f"{model.name}-seed0-m1.txt").read_text().splitlines()
    assert len(set(written)) > 60 and len(set(likeliest)) == 1 and model.sample(1, min_p=1.0) == likeliest[:1]
    code, said = sample(model.uri, "--out", "x.png")
    assert code == 2 and "are written into a folder, or a file of .txt" in said


def test_no_unknown_word_is_written_unless_asked(tmp_path: Path, sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rare.txt").write_text("".join(f"a b rare{at}\n" for at in range(16)))
    Path("rare.yaml").write_text(RARE)
    run = gan_dist.train("rare.yaml", storage=str(tmp_path / "runs"))
    model, unknown = run.load(), "<unk>"
    asked, plain = model.sample(200, allow_unk=True), model.sample(200)
    assert sum(unknown in line for line in asked) > 50
    assert not any(unknown in line for line in plain)
    assert torch.cat(list(model.sample_chunks(200))).shape == (200, 4)
    assert model.modality.to_public(torch.cat(list(model.sample_chunks(200)))) == plain
    assert model.generator(model.generator.draw(64, single_lane_rng(("x",), 64, CPU))).eq(3).any(), "metrics see them"
    grids = {path.name: path.read_text() for path in Path(run.folder.uri, "grids").glob("*.txt")}
    assert [name for name, content in grids.items() if unknown in content] == ["real.txt"] and len(grids) > 1
    for words, wanted in (((), plain), (("--allow-unk",), asked)):
        assert sample(model.uri, "--n", 200, "--out", "x.txt", "--force", *words)[0] == 0
        assert Path("x.txt").read_text().splitlines() == wanted
    assert sample(model.uri, "--allow-unk")[0] == 0 and unknown in Path(f"{model.name}-seed0-unk.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--class", "11", "--out", "x.zip"), "the model has no such class; its classes: 0, 1"),
        (("--out", "x.txt"), "images of 8x8 grey are written into a folder, or a file of .zip, .parquet"),
        (("--seed", "4-2"), "seeds: '4-2' must be a number"),
        (("--device", "gpu"), "--device 'gpu'; allowed: auto, cpu, cuda"),
        (("--workers", "2"), "--workers is for samples that go to --out"),
        (("--layers", "0-3"), "--layers says which styles --mix takes; add --mix"),
        (("--interpolate", "circle", "--seed", "1-2"), "--interpolate 'circle'"),
        (("--interpolate", "line"), "an interpolation needs two places or more"),
        (("--interpolate", "line", "--seed", "1-2", "--out", "x.jpg"), "makes a file of .png or .gif"),
        (("--mix", "1-2"), "--mix: the generator 'mlp'"),
        (("--truncation", "0.5"), "the run's generator 'mlp' has none"),
        (("--truncation-layers", "0-3"), "--truncation-layers says where --truncation counts; give both"),
    ],
)
def test_faults_leave_nothing_behind(
    runs: dict[str, Model],
    tmp_path: Path,
    sample: Any,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = sample(runs["pictures"].uri, *words)
    assert code == 2 and message in said, said
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_written_over(runs: dict[str, Model], tmp_path: Path, sample: Any) -> None:
    (tmp_path / "x.zip").write_text("mine")
    code, said = sample(runs["pictures"].uri, "--out", tmp_path / "x.zip")
    assert code == 2 and "is there already; choose another name, or --force" in said
    assert (tmp_path / "x.zip").read_text() == "mine"


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "has format 3, written by another gan-dist; this one reads 2"),
        ({"file": "model.onnx"}, "holds model.onnx, a program of its own, see its README.md; not weights"),
        ({"checksum": "0"}, "is missing or damaged (its checksum differs); export it again"),
        ({"config_checksum": "0"}, "is damaged or was altered (its checksum differs); export it again"),
        ({"job": {}}, "is no exported generator"),
    ],
)
def test_a_generator_of_another_version_or_kind_is_refused(
    runs: dict[str, Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    change: dict[str, Any],
    message: str,
) -> None:
    export(runs["pictures"].uri, tmp_path / "out")
    config = tmp_path / "out" / "config.json"
    told = {**json.loads(config.read_text()), **change}
    if "config_checksum" not in change:
        told = {**told, "config_checksum": checksum_of({k: told[k] for k in told if k != "config_checksum"})}
    config.write_text(json.dumps(told))
    monkeypatch.setattr(sys, "argv", ["gan-dist", command, str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and message in capsys.readouterr().err


class OnGpu(NamedTuple):
    """A tensor that has to be fetched."""

    held: Tensor

    def cpu(self) -> Tensor:
        return self.held


def test_real_samples_are_fetched_from_where_the_data_are() -> None:
    pixels, labels = torch.arange(140).view(70, 2, 1, 1), torch.zeros(70, dtype=torch.int64)
    facts = SimpleNamespace(count=70, classes=())
    rows: Any = SimpleNamespace(
        facts=facts, labels=labels.numpy(), rows=lambda at: (OnGpu(pixels[at]), OnGpu(labels[at]))
    )
    samples, classes = real_samples(rows, 0)
    assert samples.shape == (64, 2, 1, 1) and classes.shape == (64,)
    modality: Any = PairModality(facts)  # type: ignore[arg-type]
    made, given = modality._shown(rows, 0)
    assert torch.equal(given, made + 1)

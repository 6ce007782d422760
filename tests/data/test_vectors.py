"""Labels that are vectors: read alike from every source, kept beside the shards, given to networks as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gan_dist
from gan_dist.data.conditioning import Conditioning
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Stream
from gan_dist.data.prepare import VECTORS, Prepared, prepare_into, prepare_or_load
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError, JobError, UsageError
from gan_dist.registry.aliases import ALIASES
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData
from tests.data.corpus import ingest, noise, put, spec
from tests.data.sources.kinds import LABEL_SOURCES, in_folder, pngs

CPU = torch.device("cpu")
ROWS = [[0.5, -1.0], [0.0, 2.0], [0.5, -1.0], [1.0, 0.25]]


def npz(root: Path, labels: Any) -> Path:
    pictures = np.stack([np.asarray(noise(8, seed=number)) for number in range(len(labels))])
    np.savez(root / "x.npz", images=pictures, labels=np.array(labels))
    return root / "x.npz"


def csv(root: Path, rows: list[list[Any]]) -> Path:
    in_folder(root, pngs(len(rows)))
    lines = ["file_name,name,smile,age"] + [
        ",".join([f"{number}.png", "somebody", *map(str, row)]) for number, row in enumerate(rows)
    ]
    return put(root / "in", "x.csv", "\n".join(lines).encode())


SOURCES = {**LABEL_SOURCES, "npz": npz, "columns of a CSV": csv}


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_source_gives_the_vectors_that_it_holds(kind: str, tmp_path: Path) -> None:
    read = ingest(spec(SOURCES[kind](tmp_path, ROWS), labels="vectors"))
    assert read.vectors is not None and read.vectors.dtype == np.float32
    assert read.vectors[read.labels].tolist() == ROWS
    assert read.facts.classes == () and read.facts.provided["classes"] == 2
    assert sorted(map(list, read.facts.vectors)) == sorted(map(list, {tuple(row) for row in ROWS}))
    assert any("2 numbers in [-1, 2] a sample, 3 distinct ones" in remark for remark in read.facts.remarks)


@pytest.mark.parametrize(
    "labels", [[0.5, 1, 2, 3], [3, 1, 2, 0], ["0.5", "1", "2e0", "3"], ["[0.5]", "[1]", "[2]", "[3]"]]
)
def test_one_number_is_a_vector_too(labels: list[Any], tmp_path: Path) -> None:
    read = ingest(spec(LABEL_SOURCES["JSON lines"](tmp_path, labels), labels="vectors"))
    numbers = [float(str(label).strip("[]")) for label in labels]
    assert read.vectors is not None and read.vectors[read.labels].reshape(-1).tolist() == numbers


BAD: dict[str, tuple[list[Any], str]] = {
    "words": (["fig", "pear", "fig"], r"3 of 3 labels are no list of finite numbers; first: '.*0.*' has 'fig'"),
    "lengths": ([[0, 1], [0, 1], [1]], "has 1 numbers, where others have 2"),
    "infinity": ([[0.0, float("inf")]] * 3, r"no list of finite numbers; .* has \[0.0, inf\]"),
    "NaN": ([[0.0, float("nan")], [0, 1], [0, 1]], "1 of 3 labels are no list of finite numbers"),
    "nested": ([[[0, 1]]] * 3, r"no list of finite numbers; .* has \[\[0, 1\]\]"),
    "mapping": ([{"a": 1}] * 3, r"no list of finite numbers; .* has \{'a': 1\}"),
    "empty": ([[], [0], [1]], r"1 of 3 labels are no list of finite numbers; .* has \[\]"),
    "missing": ([None, [0, 1], [1, 0]], "1 of 3 samples have no label"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_what_is_no_vector_is_refused_with_an_example(name: str, tmp_path: Path) -> None:
    labels, message = BAD[name]
    with pytest.raises(DataError, match=message):
        ingest(spec(LABEL_SOURCES["StyleGAN's zip"](tmp_path, labels), labels="vectors"))


def test_classes_asked_of_vectors_name_the_key_that_reads_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels: vectors"):
        ingest(spec(LABEL_SOURCES["Parquet"](tmp_path, ROWS), labels="source"))
    with pytest.raises(DataError, match="labels: vectors"):
        ingest(spec(npz(tmp_path, ROWS), labels="source"))


def test_a_table_without_numbers_and_a_folder_have_no_vectors(tmp_path: Path) -> None:
    in_folder(tmp_path, pngs(2))
    table = put(tmp_path / "in", "x.csv", b"file_name,who\n0.png,ann\n1.png,bob\n")
    with pytest.raises(DataError, match="no column of numbers; it has file_name, who"):
        ingest(spec(table, labels="vectors"))
    with pytest.raises(DataError, match="'vectors' needs data that carry labels"):
        ingest(spec(tmp_path / "in", labels="vectors"))


def prepared(source: Path, out: Path) -> Prepared:
    return prepare_into(
        spec(source, labels="vectors"), str(out), write_shards_on_processes, progress=lambda done, total: None
    )


def reopened(folder: Path, cache: Path, **keys: Any) -> Prepared:
    data = ImageData.model_validate({"source": str(folder), "size": 8, **keys})
    return prepare_or_load(
        data, Folder(str(cache)), executor=write_shards_on_processes, progress=lambda done, total: None
    )


def test_a_preparation_keeps_its_vectors_and_says_when_they_are_damaged(tmp_path: Path) -> None:
    source, out = npz(tmp_path, ROWS), tmp_path / "ready"
    prepared(source, out)
    found = reopened(out, tmp_path / "cache", labels="vectors")
    assert found.vectors is not None and found.vectors[found.column("label")].tolist() == ROWS
    assert Stream(found, 1, 0, 2).vectors is not None
    assert reopened(out, tmp_path / "cache").facts.provided["classes"] == 0
    with pytest.raises(DataError, match=r"data.labels: 'source', but .* was prepared with vectors"):
        reopened(out, tmp_path / "cache", labels="source")
    content = bytearray((out / VECTORS).read_bytes())
    content[-1] ^= 1
    (out / VECTORS).write_bytes(content)
    with pytest.raises(DataError, match=r"vectors\.npy is damaged"):
        _ = reopened(out, tmp_path / "cache", labels="vectors").vectors


def test_other_vectors_of_the_same_pictures_are_other_data(tmp_path: Path) -> None:
    one = ingest(spec(npz(tmp_path, ROWS), labels="vectors")).facts.checksum
    two = ingest(spec(npz(tmp_path, [[a, b + 1] for a, b in ROWS]), labels="vectors")).facts.checksum
    assert one != two


def test_vectors_are_drawn_as_often_as_the_data_have_them(tmp_path: Path) -> None:
    rows = ingest(spec(npz(tmp_path, ROWS), labels="vectors"))
    conditioning = Conditioning.of(rows.facts, rows, CPU)
    assert conditioning is not None
    drawn = conditioning.draw(single_lane_rng(("x",), 4000, CPU))
    assert drawn.shape == (4000, 2)
    share = (drawn == torch.tensor(ROWS[0])).all(1).double().mean().item()
    assert abs(share - 0.5) < 5 * (0.25 / 4000) ** 0.5


JOB: dict[str, Any] = {
    "version": 1,
    "name": "vectors",
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "mlp", "hidden": 8, "layers": 1},
    "objective": {"use": "hinge"},
    "metrics": [{"use": "frechet", "samples": 16}],
    "batch": 8,
    "until": "3 steps",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("vectors")
    labels = np.random.default_rng(0).uniform(-1, 1, (24, 3)).round(2).tolist()
    data = {"source": str(npz(root, labels)), "size": 8, "labels": "vectors"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        run = gan_dist.train({**JOB, "data": data}, storage=str(root / "runs"))
        assert run.metrics
        yield run.load()


def test_a_run_on_vectors_samples_by_them(model: Any) -> None:
    some = model.sample(20)
    of_one = model.sample(20, class_label=[0.5, -0.25, 1])
    assert some.shape == of_one.shape == (20, 3, 8, 8) and not torch.equal(some, of_one)
    assert torch.equal(of_one, model.sample(20, class_label="0.5,-0.25,1"))
    assert torch.equal(of_one[:3], model.sample(3, class_label=torch.tensor([0.5, -0.25, 1.0]).tolist()))


@pytest.mark.parametrize("asked", ["1,0", [1.0, 2.0], "cat", 7, [float("nan"), 0, 0]])
def test_another_vector_than_the_models_is_refused(model: Any, asked: Any) -> None:
    with pytest.raises(UsageError, match="conditioned on vectors of 3 finite numbers"):
        model.sample(2, class_label=asked)


def test_samples_carry_their_vectors(model: Any, tmp_path: Path, cli: Any) -> None:
    import zipfile

    code, _, _ = cli("sample", model.uri, "--n", 9, "--out", tmp_path / "s.zip")
    assert not code
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
    assert [label for _, label in labels] == [list(model.facts.vectors[number % 8]) for number in range(9)]
    again = ingest(spec(tmp_path / "s.zip", labels="vectors"))
    assert again.facts.provided["classes"] == 3


def test_what_compares_classes_is_refused_by_validate(tmp_path: Path) -> None:
    data = {"source": "digits", "size": 8, "labels": "vectors"}
    for change, message in [
        ({"objective": ["hinge", "auxiliary_classifier"]}, "'auxiliary_classifier' is about classes"),
        ({"metrics": [{"use": "class_frechet"}]}, "compares class by class"),
        ({"metrics": [{"use": "frechet", "features": "classifier"}]}, "learns from classes"),
    ]:
        with pytest.raises(JobError, match=message):
            gan_dist.train({**JOB, **change, "data": data}, storage=str(tmp_path))


NETWORKS = sorted(
    name for name, target in ALIASES["generator"].items() if ".image." in target and name not in ("pix2pix",)
)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_image_generator_takes_vectors(name: str) -> None:
    from gan_dist.registry.lookup import build_component, signature

    target = ALIASES["generator"][name]
    if not any(param.name == "classes" for param in signature(target).params):
        pytest.skip(f"{name} takes no classes")
    narrow = {"width": 16} if name == "flow" else {}
    generator: Any = build_component("generator", name, narrow, {"size": 32, "channels": 3, "classes": 3})
    noise = generator.draw(4, single_lane_rng(("x",), 4, CPU))
    generator.eval()
    with torch.no_grad():
        one, other = (generator(noise, torch.full((4, 3), value)) for value in (0.25, 0.75))
    assert one.shape == (4, 3, 32, 32)
    # Their first weights do not look at the condition yet.
    assert name in ("stylegan2", "flow") or not torch.equal(one, other)

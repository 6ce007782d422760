"""What lies below a source and is no data is passed over and counted: hidden, special, and what gan-dist wrote."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gan_dist
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.prepare import prepare_into
from gan_dist.data.sources.walk import THUMBNAILS, is_hidden, kind_of_ours, walk
from gan_dist.errors import DataError
from gan_dist.generation.sampling import SamplingPlan, sample_in_process, write_samples
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data
from tests.data.corpus import encoded, ingest, many, noise, put, spec
from tests.data.sources.kinds import FILE_SOURCES, pngs
from tests.data.sources.test_s3 import upload
from tests.data.test_text_stream import SENTENCES, sentences

JOB = {
    "version": 1,
    "name": "tiny",
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "mlp", "hidden": 8, "layers": 1},
    "objective": {"use": "hinge"},
    "batch": 8,
    "until": "2 steps",
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of ten pictures, and below it a run with its grids, an export, a preparation and samples."""
    root = tmp_path_factory.mktemp("ours")
    many(root, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        run = gan_dist.train({**JOB, "data": {"source": str(root), "size": 8}}, storage=str(root / "storage"))
        gan_dist.export(run, root / "exported")
        shards = validate_data({"source": str(root), "size": 8})
        prepare_into(shards, str(root / "ready"), write_shards_on_processes, lambda *_: None)
        model = run.load()
        drawn = SamplingPlan(model.uri, [0], 4)
        write_samples(drawn, model, root / "made", executor=sample_in_process, progress=lambda *_: None)
        yield root


def test_hidden_and_thumbnails_in_every_kind_of_files(tmp_path: Path) -> None:
    hidden = {f"{folder}/x.png": b"" for folder in (".git", ".ipynb_checkpoints", "a/@eaDir", "__MACOSX", "lost+found")}
    for source, write in FILE_SOURCES.items():
        read = ingest(
            spec(write(tmp_path / source.replace(".", "_"), pngs(3) | hidden | {".x.png": b"", "n.txt": b""}))
        )
        assert read.facts.count == 3 and not read.facts.rejected
        assert read.facts.remarks[-1] == "passed over: 1 .txt, 6 hidden files and thumbnails"


@pytest.mark.parametrize("name", [*THUMBNAILS, ".hidden", "@EADIR"])
def test_hidden_names(name: str) -> None:
    assert is_hidden(f"a/{name}/b.png") and is_hidden(name) and not is_hidden(f"a/x{name}/b.png")


def test_special_files_are_never_waited_for(tmp_path: Path) -> None:
    root = tmp_path / "in"
    many(root, 3)
    os.mkfifo(root / "pipe.png")
    os.symlink("/dev/zero", root / "zero.png")
    os.symlink("nowhere", root / "lost.png")
    os.symlink("circle.png", root / "circle.png")
    os.symlink(root, root / "again")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(root / "s.png"))
    read = ingest(spec(root, max_rejected=0.9))
    assert read.facts.count == 3 and "passed over: 3 special files" in read.facts.remarks
    assert dict(read.facts.rejected) == {
        "circle.png": "Too many levels of symbolic links",
        "lost.png": "no such file",
    }


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.npy", "x.npz", "x.zip", "x.tar", "x.parquet", "x-idx3-ubyte"])
@pytest.mark.parametrize("text", [False, True])
def test_a_pipe_as_source_is_refused(tmp_path: Path, name: str, text: bool) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=r"^data\.source: .* cannot be read: .* is no regular file"):
        sentences(tmp_path / name) if text else ingest(spec(tmp_path / name))


def test_names_of_any_bytes_are_read_and_shown_escaped(tmp_path: Path) -> None:
    names = [b"new\nline.png", b"quo\"te'.png", b"bang!x.zip!y.png", b"caf\xe9.png", b"per%20cent#.png", b"sp ace.png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(encoded(noise(), "PNG"))
    (tmp_path / os.fsdecode(b"broken\xff.png")).write_bytes(b"nothing of a picture" * 9)
    read = ingest(spec(tmp_path, max_rejected=0.5))
    assert read.facts.count == len(names) and read.facts.rejected == (("broken\\xff.png", "not an image"),)


def test_classes_of_any_bytes_are_shown_escaped(tmp_path: Path) -> None:
    for name in (b"caf\xe9", "größe".encode()):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "x.png").write_bytes(encoded(noise(), "PNG"))
    assert ingest(spec(tmp_path, labels="folders")).facts.classes == ("caf\\xe9", "größe")


def test_what_gan_dist_wrote_is_no_data(ours: Path) -> None:
    found = walk(Folder.at(ours))
    assert [entry.name for entry in found.entries if entry.name.endswith(".png")] == [f"{n:03d}.png" for n in range(10)]
    told = {kind for kind in found.passed if kind.endswith("of gan-dist")}
    assert {"runs of gan-dist", "preparations of gan-dist", "exports of gan-dist", "samples of gan-dist"} <= told
    read = ingest(spec(ours))
    assert read.facts.count == 10 and not read.facts.rejected
    assert "1 samples of gan-dist" in read.facts.remarks[-1]


def test_what_gan_dist_wrote_is_no_text(ours: Path) -> None:
    put(ours, "said.txt", "\n".join(SENTENCES).encode())
    try:
        assert sentences(ours) == SENTENCES
    finally:
        (ours / "said.txt").unlink()


def test_what_gan_dist_wrote_is_no_data_on_s3(ours: Path, bucket: str) -> None:
    remote = Folder(f"{bucket}/ours")
    for path in ours.rglob("*"):
        if path.is_file() and ours / "home" not in path.parents:
            remote.write(str(path.relative_to(ours)), path.read_bytes())
    here, there = walk(Folder.at(ours)), walk(remote)
    assert [entry.name for entry in here.entries] == [entry.name for entry in there.entries]
    kinds = ("runs of gan-dist", "preparations of gan-dist", "exports of gan-dist", "samples of gan-dist")
    assert {kind: n for kind, n in here.passed.items() if kind in kinds} == {
        kind: n for kind, n in there.passed.items() if kind in kinds
    }


def test_a_run_as_source_is_refused(ours: Path) -> None:
    (run,) = {path.parent for path in (ours / "storage").rglob("request.json")}
    with pytest.raises(DataError, match="is a run of gan-dist, and no data"):
        ingest(spec(run))


@pytest.mark.parametrize("name", ["a b", "per%cent", "ha#sh", "größe", "日本", "plus+and&"])
def test_keys_of_s3_hold_any_letters(tmp_path: Path, bucket: str, name: str) -> None:
    many(tmp_path / "in" / name, 2)
    put(tmp_path / "in", f"{name}.png", encoded(noise(), "PNG"))
    put(tmp_path / "in", f"{name}.txt", "\n".join(SENTENCES).encode())
    remote = upload(tmp_path / "in", f"{bucket}/{name}")
    assert ingest(spec(remote)).facts.checksum == ingest(spec(tmp_path / "in")).facts.checksum
    assert ingest(spec(f"{remote}/{name}")).facts.count == 2
    assert sentences(f"{remote}/{name}.txt") == SENTENCES  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["request.json", "status.json"], "runs"),
        (["request.json"], None),
        (["source.json", "manifest.json"], "preparations"),
        (["source.json", "shard-000000000.npy"], "preparations"),
        (["source.json", "a.png"], None),
        (["config.json", "model.safetensors", "README.md"], "exports"),
        (["config.json", "README.md"], None),
        ([".sampling.json", "0.png"], "samples"),
        (["a.png"], None),
    ],
)
def test_a_folder_of_ours_is_known_by_its_files(names: list[str], kind: Any) -> None:
    assert kind_of_ours(names) == kind

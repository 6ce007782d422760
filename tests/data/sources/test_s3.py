"""Sources and prepared folders on a real S3 server on the loopback device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import Stream, load_into_memory
from gan_dist.data.prepare import prepare_into, prepare_or_load
from gan_dist.data.sources.walk import walk
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from tests.data.corpus import many, pixels_in, put, spec
from tests.data.sources.test_containers import MEMBERS, zipped


def upload(local: Path, uri: str) -> str:
    folder = Folder(uri)
    for entry in walk(Folder.at(local)).entries:
        folder.write(entry.name, (local / entry.name).read_bytes())
    return uri


def test_a_folder_prepared_from_and_to_s3(tmp_path: Path, bucket: str) -> None:
    many(tmp_path / "in", 10)
    put(tmp_path / "in", "broken.png", b"")
    remote = upload(tmp_path / "in", f"{bucket}/in")
    local = prepare_or_load(
        spec(tmp_path / "in", max_rejected=0.5),
        Folder.at(tmp_path / "c"),
        executor=write_shards_on_processes,
        progress=lambda *_: None,
    )
    found = prepare_into(spec(remote, max_rejected=0.5), f"{bucket}/ready", write_shards_on_processes, lambda *_: None)
    assert found.facts.checksum == local.facts.checksum and found.facts.rejected == (("broken.png", "empty file"),)
    served = prepare_or_load(
        spec(f"{bucket}/ready", max_rejected=0.5),
        Folder.at(tmp_path / "c"),
        executor=write_shards_on_processes,
        progress=lambda *_: None,
    )
    expected = pixels_in(load_into_memory(local, 0, 2))
    assert np.array_equal(pixels_in(load_into_memory(served, 0, 2)), expected)
    stream = Stream(served, 2, 0, 2)
    positions = stream.positions(4)
    assert np.array_equal(stream.rows(positions)[0].numpy(), expected[positions])


def test_an_archive_on_s3(tmp_path: Path, bucket: str) -> None:
    path = zipped(tmp_path / "x.zip", MEMBERS)
    Folder(bucket).write("x.zip", path.read_bytes())
    there = prepare_or_load(
        spec(f"{bucket}/x.zip", labels="folders"),
        Folder.at(tmp_path / "c"),
        executor=write_shards_on_processes,
        progress=lambda *_: None,
    )
    here_too = prepare_or_load(
        spec(path, labels="folders"),
        Folder.at(tmp_path / "d"),
        executor=write_shards_on_processes,
        progress=lambda *_: None,
    )
    assert there.facts == here_too.facts


def test_what_is_not_on_s3_is_named(tmp_path: Path, bucket: str) -> None:
    for source in (f"{bucket}/nothing", "s3://no-such-bucket/x"):
        with pytest.raises(DataError, match=source):
            prepare_or_load(
                spec(source), Folder.at(tmp_path / "c"), executor=write_shards_on_processes, progress=lambda *_: None
            )

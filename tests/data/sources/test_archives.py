"""Archives follow the rules of folders, and what is damaged in them costs itself and is told."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from tests.data.corpus import encoded, ingest, noise, pixels_in, put, spec
from tests.data.sources.kinds import FILE_SOURCES, in_folder, in_tar, in_zip, pngs

ARCHIVES = [source for source in FILE_SOURCES if source != "folder"]
TARS = [source for source in ARCHIVES if source != "zip"]
ODD = ["sp ace.png", "quo\"te'.png", "bang!x.zip!y.png", "größe.png", "日本.png", "per%20cent#.png", "new\nline.png"]


@pytest.mark.parametrize("source", ARCHIVES)
def test_an_archive_holds_what_its_folder_holds(tmp_path: Path, source: str) -> None:
    files = {f"{'ab'[n % 2]}/{name}": content for n, (name, content) in enumerate(pngs(7).items())}
    there, here = (
        ingest(spec(write(tmp_path, files), labels="folders")) for write in (FILE_SOURCES[source], in_folder)
    )
    assert np.array_equal(pixels_in(there), pixels_in(here)) and there.labels.tolist() == here.labels.tolist()


@pytest.mark.parametrize("source", ARCHIVES)
def test_odd_names(tmp_path: Path, source: str, bucket: str) -> None:
    path = FILE_SOURCES[source](tmp_path, {name: encoded(noise(8, seed=n), "PNG") for n, name in enumerate(ODD)})
    read = ingest(spec(path))
    assert read.facts.count == len(ODD) and not read.facts.rejected
    Folder(f"{bucket}/o d%d").write(path.name, path.read_bytes())
    assert ingest(spec(f"{bucket}/o d%d/{path.name}")).facts.checksum == read.facts.checksum


@pytest.mark.parametrize("source", ARCHIVES)
def test_backslashes_are_slashes(tmp_path: Path, source: str) -> None:
    files = {f"{'ab'[n % 2]}\\{n}.png": content for n, content in enumerate(pngs(4).values())}
    assert ingest(spec(FILE_SOURCES[source](tmp_path, files), labels="folders")).facts.classes == ("a", "b")


@pytest.mark.parametrize("source", ARCHIVES)
@pytest.mark.parametrize("called", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz"])
def test_which_archive_it_is_is_known_by_content(tmp_path: Path, source: str, called: str) -> None:
    path = put(tmp_path / "other", called, FILE_SOURCES[source](tmp_path, pngs(3)).read_bytes())
    assert ingest(spec(path)).facts.count == 3


@pytest.mark.parametrize("source", ["zip", "tar"])
def test_of_a_doubled_name_the_last_is_used(tmp_path: Path, source: str) -> None:
    first, last = (encoded(noise(8, seed=seed), "PNG") for seed in (1, 2))
    if source == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
            for content in (first, last):
                archive.writestr("a.png", content)
    else:
        in_tar(tmp_path, {"a.png": first})
        with tarfile.open(tmp_path / "x.tar", "a") as archive:
            member = tarfile.TarInfo("a.png")
            member.size = len(last)
            archive.addfile(member, io.BytesIO(last))
    read = ingest(spec(tmp_path / f"x.{source}"))
    assert np.array_equal(pixels_in(read)[0], np.asarray(noise(8, seed=2)).transpose(2, 0, 1))
    assert any("whose name comes again later (first: 'a.png')" in line for line in read.facts.remarks)


def test_links_lead_to_what_stands_before_them(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        content = encoded(noise(), "PNG")
        member = tarfile.TarInfo("a/x.png")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        for name, kind, target in (
            ("b/soft.png", tarfile.SYMTYPE, "../a/x.png"),
            ("b/hard.png", tarfile.LNKTYPE, "a/x.png"),
            ("lost.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    read = ingest(spec(tmp_path / "x.tar"))
    assert read.facts.count == 3
    assert read.facts.remarks[-1] == "passed over: 1 links that lead nowhere, 1 special files"


def test_tars_behind_one_another(tmp_path: Path) -> None:
    files = list(pngs(5).items())
    halves = [in_tar(tmp_path, dict(some)).read_bytes() for some in (files[:3], files[3:])]
    assert ingest(spec(put(tmp_path, "cat.tar", b"".join(halves)))).facts.count == 5
    assert ingest(spec(put(tmp_path, "cat.tar.gz", b"".join(map(gzip.compress, halves))))).facts.count == 5


@pytest.mark.parametrize("place", [0, 100, 150, 156])
def test_a_damaged_header_costs_its_member_and_is_told(tmp_path: Path, place: int) -> None:
    files = pngs(6)
    content = bytearray(in_tar(tmp_path, files).read_bytes())
    size = 512 + -(-len(files["0.png"]) // 512) * 512
    content[3 * size + place] ^= 0x40
    read = ingest(spec(put(tmp_path, "bad.tar", bytes(content))))
    assert read.facts.count == 5
    assert f"passed over: {size:,} bytes of a tar that are damaged, from byte {3 * size:,} on" in read.facts.remarks


def test_what_stands_behind_a_tar_is_told(tmp_path: Path) -> None:
    read = ingest(spec(put(tmp_path, "x.tar", in_tar(tmp_path, pngs(3)).read_bytes() + b"no tar at all " * 100)))
    assert read.facts.count == 3 and any("1,400 bytes of a tar that are damaged" in one for one in read.facts.remarks)


@pytest.mark.parametrize("source", ARCHIVES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_an_archive_that_breaks_off_is_refused_or_read_up_to_there(tmp_path: Path, source: str, share: float) -> None:
    path = FILE_SOURCES[source](tmp_path, pngs(9))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        read = ingest(spec(path, max_rejected=0.9))
    except DataError as error:
        assert "cannot be read" in str(error) and "fetch it anew" in str(error)
    else:
        assert source == "tar" and read.facts.count <= 9


@pytest.mark.parametrize("source", ARCHIVES)
def test_an_archive_without_pictures_says_what_it_holds(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match=r"^data\.source: .* holds no images \(passed over: 1 \.md, 2 \.txt\)"):
        ingest(spec(FILE_SOURCES[source](tmp_path, {"a.txt": b"", "b.txt": b"", "readme.md": b""})))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("[1]", "no mapping with `labels`"),
        ('{"labels": 5}', r"`labels` are no list of \[name, label\]"),
        ('{"labels": {"0.png": 1}}', "are no list of"),
        ('{"labels": [["0.png"]]}', "are no list of"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "Expecting property name"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(tmp_path: Path, told: str, why: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.labels: .*dataset\.json cannot be read: .*{why}"):
        ingest(spec(in_zip(tmp_path, pngs(2) | {"dataset.json": told.encode()}), labels="source"))


def test_a_dataset_json_below_a_common_folder(tmp_path: Path) -> None:
    labels = json.dumps({"labels": [["0.png", 1], ["1.png", 0]]}).encode()
    files = {f"top/{name}": content for name, content in (pngs(2) | {"dataset.json": labels}).items()}
    assert ingest(spec(in_zip(tmp_path, files), labels="source")).labels.tolist() == [1, 0]


@pytest.mark.parametrize("source", TARS)
def test_one_image_a_key(tmp_path: Path, source: str) -> None:
    files = {
        f"{n}.{ending}": encoded(noise(8, seed=n if ending != "seg.png" else 99), "PNG")
        for n in range(3)
        for ending in ("JPG", "seg.png", "cls")
    }
    files = {name: b"1" if name.endswith("cls") else content for name, content in files.items()}
    read = ingest(spec(FILE_SOURCES[source](tmp_path, files), labels="source"))
    assert read.facts.count == 3 and read.labels.tolist() == [1, 1, 1]
    assert "one image a key: .jpg; passed over: 3 .seg.png" in read.facts.remarks

"""Folders: a file is replaced as a whole or not at all, and what cannot be written says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pyarrow.fs import FileInfo, FileSelector, LocalFileSystem

from gan_dist.errors import StorageError
from gan_dist.runs.storage import Folder, home, is_uri, remote_filesystem


def test_write_read_and_replace(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "new" / "deep")
    folder.write("sub/a.bin", b"one")
    folder.write("sub/a.bin", b"two")
    assert folder.read("sub/a.bin") == b"two" and folder.child("sub").names() == ["a.bin"]
    assert list(folder.files()) == [("sub/a.bin", 3)]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    folder, contents = Folder.at(tmp_path), [bytes([value]) * 300_000 for value in (1, 2)]
    folder.write("a", contents[0])
    over = threading.Event()

    def write() -> None:
        for turn in range(60):
            folder.write("a", contents[turn % 2])
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not over.is_set():
        seen.add(folder.read("a"))
    writer.join()
    assert seen <= set(contents)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.at(tmp_path)
    folder.write("a", b"old")

    def full(path: Path, content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError) as caught:
        folder.write("a", b"new")
    monkeypatch.undo()
    assert str(caught.value) == f"storage {str(tmp_path)!r} cannot be written: [Errno 28] No space left on device"
    assert folder.read("a") == b"old" and folder.names() == ["a"]


def test_what_is_not_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=f"^storage '{tmp_path}/file' cannot be written: "):
        Folder.at(tmp_path / "file").write("a", b"")


def test_create_lets_one_win(tmp_path: Path) -> None:
    folder, won = Folder.at(tmp_path), []
    start = threading.Barrier(8)

    def take(number: int) -> None:
        start.wait()
        if folder.create("lease", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [folder.read("lease")] == [str(number).encode() for number in won]


def test_json_that_is_absent_cut_or_no_mapping_is_none(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    folder.write_json("whole", {"a": [1, None, "é"]})
    folder.write("cut", b'{"a": 1')
    folder.write("binary", b"\xff\xfe\x00")
    folder.write("list", b"[1]")
    assert folder.read_json("whole") == {"a": [1, None, "é"]}
    assert [folder.read_json(name) for name in ("absent", "cut", "binary", "list", "whole/below")] == [None] * 5


def test_delete(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "run")
    folder.write("a/b", b"")
    folder.write("c", b"")
    folder.delete("absent")
    folder.delete("a")
    assert folder.names() == ["c"]
    folder.delete()
    assert not (tmp_path / "run").exists()
    folder.delete()


def test_an_absent_folder_holds_nothing(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path / "absent")
    assert folder.names() == [] and list(folder.files()) == [] and not folder.exists("a")
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_where_a_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Folder.at("runs").local == tmp_path / "runs"
    assert Folder.at("file:///data/runs").local == Path("/data/runs")
    assert Folder.at("~/x").local == Path.home() / "x"
    remote = Folder.at("s3://bucket/runs/")
    assert (remote.uri, remote.local, is_uri(remote.uri)) == ("s3://bucket/runs", None, True)


def test_an_unknown_scheme_says_so() -> None:
    with pytest.raises(StorageError, match=r"^'nonsense://a' cannot be reached: "):
        Folder.at("nonsense://a").names()


@pytest.mark.parametrize(
    ("endpoint", "where", "scheme"),
    [
        ("http://127.0.0.1:9000", "127.0.0.1:9000", "http"),
        ("https://store.example/", "store.example", "https"),
        ("https://store.example/storage/v1/s3/", "store.example/storage/v1/s3", "https"),
        ("store.example:9000", "store.example:9000", "https"),
        ("localhost:9000", "localhost:9000", "http"),
        ("127.0.0.1:9000/below", "127.0.0.1:9000/below", "http"),
    ],
)
def test_an_endpoint_with_a_path_or_without_a_scheme(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, where: str, scheme: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr("pyarrow.fs.FileSystem", SimpleNamespace(from_uri=lambda uri: (uri, "")))
    found, _ = remote_filesystem.__wrapped__("s3://bucket/größe #1/50%")
    parts = urlsplit(str(found))
    assert unquote(parts.path) == "/größe #1/50%"
    assert parse_qs(parts.query) == {"endpoint_override": [where], "scheme": [scheme]}


def test_without_a_home_one_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "GAN_DIST_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with pytest.raises(StorageError, match=r"^GAN_DIST_HOME: no home folder is known .*; set GAN_DIST_HOME"):
        home()


def test_a_record_that_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.runs.storage.LARGEST_JSON", 1000)
    folder = Folder.at(tmp_path)
    folder.write_json("small.json", {"text": "x" * 900})
    assert folder.read_json("small.json") == {"text": "x" * 900}
    with pytest.raises(StorageError, match=r"large\.json would have 0 MiB"):
        folder.write_json("large.json", {"text": "x" * 1000})
    assert folder.names() == ["small.json"]


class Racing:
    """A file system in which another process makes the folder while it is listed, as pyarrow then fails."""

    def __init__(self, times: int) -> None:
        self.times, self.real = times, LocalFileSystem()

    def get_file_info(self, selector: FileSelector) -> list[FileInfo]:
        Path(selector.base_dir).mkdir(exist_ok=True)
        self.times -= 1
        if self.times >= 0:
            raise FileNotFoundError(2, f"Cannot list directory {selector.base_dir!r}")
        return list(self.real.get_file_info(selector))


@pytest.mark.parametrize("look", [Folder.names, lambda folder: list(folder.entries())])
def test_a_folder_that_comes_while_it_is_listed(
    look: Callable[[Folder], list[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder.at(tmp_path / "new")
    monkeypatch.setattr(Folder, "open", lambda self: (Racing(1), str(tmp_path / "new")))
    assert look(folder) == []

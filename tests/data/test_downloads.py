"""Public data sets, fetched from a server on the loopback interface: whole or not at all, checked, read by jobs."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.data import downloads
from gan_dist.data.downloads import (
    DATASETS,
    WEIGHTS,
    PretrainedWeights,
    PublicDataset,
    RemoteFile,
    resolve_download,
)
from gan_dist.data.sources.presence import missing_data
from gan_dist.errors import DataError, DataNotFound, StorageError
from gan_dist.metrics.features import pretrained
from gan_dist.metrics.features.pretrained import Resnet50
from gan_dist.networks.layers.weight_files import downloadable
from gan_dist.registry.metric_names import metric_value_names
from gan_dist.spec.check import validate_data
from gan_dist.spec.data import BUILT_IN
from gan_dist.spec.job import MetricSpec
from gan_dist.spec.job_file import parse_value
from tests.data.text.test_corpus import read, texts
from tests.helpers import ROOT, Cli

TRAIN, TEST = b"a cat sits\na dog runs\n" * 20, b"a bird sings\n"


class Server:
    """What a path answers: its bytes; `cut`: fewer than it announces; a number: this status."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | int] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                found = server.files.get(self.path, 404)
                if isinstance(found, int):
                    self.send_error(found)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found[: server.cut.get(self.path, len(found))])

            def log_message(self, *words: Any) -> None:
                """Nobody reads it."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def file(self, name: str, content: bytes, kind: str = "sha256") -> RemoteFile:
        """A file that is served, with its checksum; none where `kind` is empty."""
        self.files[f"/{name}"] = content
        checksum = f"{kind}:{hashlib.new(kind, content).hexdigest()}" if kind else ""
        return RemoteFile(name, f"{self.url}/{name}", len(content), checksum)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "RETRIES", 0)
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def captions(server: Server, monkeypatch: pytest.MonkeyPatch) -> PublicDataset:
    """The only data set there is: two files, the second without a checksum."""
    made = PublicDataset(
        name="captions",
        about="sentences on pictures",
        licence="CC0",
        page="http://example.com",
        files=(server.file("train.txt", TRAIN), server.file("test.txt", TEST, kind="")),
        data="{modality: text, source: download:captions, test: download:captions/test.txt, length: 8}",
        job="jobs/mle-coco.yaml -o data.source=download:captions",
        main="train.txt",
    )
    monkeypatch.setattr(downloads, "DATASETS", (made,))
    return made


def fetch(dataset: PublicDataset) -> None:
    downloads.download(dataset, lambda file, done, total: None)


def left(folder: Path) -> list[str]:
    """Every file below the downloads, but for the record of checksums."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"
    )


def test_a_data_set_is_listed_shown_fetched_and_read(captions: PublicDataset, server: Server, cli: Cli) -> None:
    code, out, _ = cli("download")
    assert code == 0 and out.splitlines()[1].split()[:6] == ["captions", "453", "B", "no", "CC0", "sentences"]
    code, out, complaint = cli("download", "captions")
    assert code == 2 and "say --yes" in complaint and not server.asked
    for word in (
        "licence    CC0",
        f"train.txt, 440 B (with its SHA-256), {server.url}/train.txt",
        str(captions.folder),
    ):
        assert word in out
    assert "test.txt, about 13 B (no checksum is published)" in out
    code, out, complaint = cli("download", "captions", "--yes")
    assert code == 0, complaint
    assert out.splitlines()[-3:] == [
        f"here       {captions.folder}",
        f"in a job   data: {captions.data}",
        "or now     gan-dist submit jobs/mle-coco.yaml -o data.source=download:captions",
    ]
    assert left(downloads.downloads()) == ["captions/test.txt", "captions/train.txt"]
    assert cli("download")[1].splitlines()[1].split()[3] == "yes"
    found = read("download:captions", test="download:captions/test.txt")
    assert len(set(texts(found))) == 1, "of two different ones, one is kept for validation"
    held = found.facts.held_out("test")
    assert held is not None and held.texts == ["a bird sings"]
    cli("download", "captions")
    assert server.asked == ["/train.txt", "/test.txt"], "nothing is fetched twice"
    assert json.loads(cli("download", "captions", "--json")[1])["here"] is True


def test_a_terminal_is_asked(
    captions: PublicDataset, server: Server, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, code in (("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr(sys.stdin, "readline", lambda answer=answer: answer, raising=False)
        ended, _, asked = cli("download", "captions")
        assert ended == code and "Fetch 453 B? [y/N]" in asked
    assert server.asked == ["/train.txt", "/test.txt"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("download:caption", r"^data.source: no data set 'caption' to download; did you mean 'captions'\?"),
        (
            "download:captions/tset.txt",
            r"^data.source: captions has no file 'tset.txt'; did you mean 'test.txt'\?",
        ),
    ],
)
def test_a_wrong_name_is_told(captions: PublicDataset, source: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        resolve_download(source)


def test_what_is_absent_is_told_with_the_command(captions: PublicDataset, tmp_path: Path) -> None:
    with pytest.raises(
        DataNotFound, match=r"^data.source: 'download:captions': train.txt is not in .*/downloads/captions on"
    ):
        read("download:captions")
    assert read("download:captions", stand_in_of=4).facts.stand_in, "a rehearsal goes on without"
    keys = {"modality": "text", "length": 8, "validation": str(tmp_path / "none.txt")}
    source, test, validation = missing_data(
        validate_data({"source": "download:captions", "test": "download:captions/test.txt", **keys})
    )
    assert source.startswith("data.source: 'download:captions': ") and source.endswith(": gan-dist download captions")
    assert test.startswith("data.test: ") and validation == f"data.validation: '{tmp_path}/none.txt' does not exist"
    assert missing_data(validate_data({"source": "digits", "size": 8})) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.csv", "setup,answer\nwhy?,so\n"), ("rows.jsonl", '{"setup": "why?", "answer": "so"}\n')],
)
def test_a_column_that_a_table_lacks_is_missing(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    job = {"source": str(tmp_path / name), "modality": "text", "length": 8}
    wrong = {
        "column": ({"column": "anwser"}, f"data.column: '{name}' has no column 'anwser'; did you mean 'answer'?"),
        "prompt": ({"column": "answer", "prompt": "setpu"}, "'setpu'"),
        "label": ({"column": "answer", "labels": "column", "label_column": "kind"}, "data.label_column: "),
    }
    for keys, told in wrong.values():
        (missing,) = missing_data(validate_data(job | keys))
        assert told in missing
    assert missing_data(validate_data(job | {"column": "answer", "prompt": "setup"})) == []


def test_a_job_file_with_a_wrong_name_is_told_with_its_line(cli: Cli, tmp_path: Path) -> None:
    job = (ROOT / "jobs" / "mle-coco.yaml").read_text().replace("download:coco-captions,", "download:coco-caption,")
    (tmp_path / "job.yaml").write_text(job)
    code, _, complaint = cli("validate", tmp_path / "job.yaml")
    assert (
        code == 2 and "data.source: no data set 'coco-caption' to download; did you mean 'coco-captions'?" in complaint
    )


def no_proxy_can_reach(server: Server) -> None:
    server.http.shutdown()
    server.http.server_close()


@pytest.mark.parametrize(
    ("breaks", "text"),
    [
        (no_proxy_can_reach, "cannot be fetched: the server cannot be reached"),
        (lambda server: server.files.update({"/train.txt": 503}), "cannot be fetched: the server answers 503"),
        (lambda server: server.cut.update({"/train.txt": 100}), "the connection ended too early|100 of 440 bytes came"),
        (lambda server: server.files.update({"/train.txt": b"other"}), "did not come as it was published"),
    ],
)
def test_nothing_half_done_stays(
    captions: PublicDataset, server: Server, cli: Cli, breaks: Callable[[Server], None], text: str
) -> None:
    breaks(server)
    code, _, complaint = cli("download", "captions", "--yes")
    error = complaint[complaint.index("error: ") :].splitlines()
    assert code == 2 and re.search(text, error[0]), complaint
    assert error[1:] == [
        "without a network, put by hand (it is checked then):",
        f"  {server.url}/train.txt as {captions.folder / 'train.txt'}",
    ]
    assert left(downloads.downloads()) == [] and captions.missing == captions.files


def test_a_page_in_place_of_a_file_is_refused(captions: PublicDataset, server: Server) -> None:
    server.files["/test.txt"] = b"\n<!DOCTYPE html><p>Log in first.</p>"
    with pytest.raises(DataError, match=r"/test.txt is a web page and no data"):
        fetch(captions)
    assert left(downloads.downloads()) == ["captions/train.txt"], "what is whole is kept"
    server.files["/test.txt"] = TEST
    fetch(captions)
    assert server.asked.count("/train.txt") == 1 and not captions.missing


def test_a_cut_archive_without_a_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "a" * 1000)
    whole = (tmp_path / "x.zip").read_bytes()
    dataset = PublicDataset(
        name="x",
        about="",
        licence="",
        page="",
        files=(server.file("x.zip", whole[:-30], kind=""),),
        data="",
        job="",
        main="x.zip",
    )
    with pytest.raises(DataError, match=r"/x.zip is not whole: it is no zip archive"):
        fetch(dataset)
    server.files["/x.zip"] = whole
    fetch(dataset)


def test_a_failure_that_passes_is_tried_again(
    captions: PublicDataset, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "RETRIES", 2)
    server.files["/train.txt"] = 503
    monkeypatch.setattr(time, "sleep", lambda seconds: server.files.update({"/train.txt": TRAIN}))
    fetch(captions)
    assert server.asked == ["/train.txt", "/train.txt", "/test.txt"]


def test_a_full_disk_is_told(captions: PublicDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    room = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room._replace(free=0))
    with pytest.raises(
        StorageError, match=r"^train.txt of captions has 0 MB, but .* has room for 0 MB; set GAN_DIST_HOME"
    ):
        fetch(captions)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloads._Downloader, "__call__", full)
    with pytest.raises(StorageError, match=r"/captions/train.txt cannot be written: No space left on device$"):
        fetch(captions)
    assert left(downloads.downloads()) == []


def test_an_interrupted_download_leaves_nothing(
    captions: PublicDataset, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, count: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloads._Downloader, "update", interrupt)
        code, _, told = cli("download", "captions", "--yes")
    assert code == 130 and "interrupted: files of captions that were whole are kept" in told
    assert left(downloads.downloads()) == []
    assert cli("download", "captions", "--yes")[0] == 0


def test_what_a_killed_download_left_is_removed_after_a_day(captions: PublicDataset) -> None:
    for name, age in (("old", 2), ("new", 0)):
        left_over = downloads.downloads() / "partial" / name
        left_over.mkdir(parents=True)
        (left_over / "half").write_bytes(b"half")
        for path in (left_over / "half", left_over):
            os.utime(path, (time.time() - age * 86400,) * 2)
    fetch(captions)
    assert left(downloads.downloads()) == ["captions/test.txt", "captions/train.txt", "partial/new/half"]


def test_a_file_put_by_hand_is_taken_and_checked(captions: PublicDataset, server: Server, cli: Cli) -> None:
    captions.folder.mkdir(parents=True)
    for name, content in (("train.txt", TRAIN), ("test.txt", TEST)):
        (captions.folder / name).write_bytes(content)
    assert "a dog runs" in texts(read("download:captions")) and not server.asked
    (captions.folder / "train.txt").write_bytes(TRAIN[:-3])
    with pytest.raises(
        DataError, match=r"train.txt is not the published file: its SHA-256 is .*; delete it, and run: gan-"
    ):
        read("download:captions")
    code, _, complaint = cli("download", "captions", "--yes")
    assert code == 2 and "is not the published file" in complaint and not server.asked, "nobody's file is replaced"


def test_what_has_no_checksum_is_remembered(captions: PublicDataset, server: Server) -> None:
    fetch(captions)
    (captions.folder / "test.txt").write_bytes(b"other words\n")
    with pytest.raises(DataError, match=r"test.txt is not the file that was here first: its SHA-256 is"):
        resolve_download("download:captions")
    (captions.folder / "test.txt").unlink()
    server.files["/test.txt"] = b"new words\n"
    with pytest.raises(DataError, match=r"/test.txt is not the file that was here first"):
        fetch(captions)
    assert left(downloads.downloads()) == ["captions/train.txt"]


def test_what_was_checked_is_not_read_again(captions: PublicDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(captions)
    monkeypatch.setattr(downloads, "_digest", lambda path, kind: pytest.fail("an archive of gigabytes, at each job"))
    assert resolve_download("download:captions") == str(captions.folder / "train.txt")


def test_digits_of_idx_files_are_read_by_their_folder(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (mnist,) = [dataset for dataset in DATASETS if dataset.name == "mnist"]
    contents = {
        "images": struct.pack(">IIII", 2051, 3, 28, 28) + bytes(range(256))[:196] * 12,
        "labels": struct.pack(">II", 2049, 3) + bytes([4, 0, 4]),
    }
    files = [
        server.file(
            file.name, gzip.compress(contents["images" if "images" in file.name else "labels"], mtime=0), kind="md5"
        )
        for file in mnist.files
    ]
    made = replace(mnist, files=tuple(files))
    monkeypatch.setattr(downloads, "DATASETS", (made,))
    fetch(made)
    from tests.data.corpus import ingest

    read_digits = ingest(validate_data({"source": "download:mnist", "size": 28, "labels": "source"}))
    assert read_digits.facts.count == 3 and read_digits.facts.classes == ("0", "1", "2", "3", "4")


def test_torchvision_finds_what_was_fetched_for_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    (cifar,) = [dataset for dataset in DATASETS if dataset.name == "cifar-10"]
    made = replace(cifar, files=(server.file("cifar-10-python.tar.gz", b"not really", kind="md5"),))
    monkeypatch.setattr(downloads, "DATASETS", (made,))
    fetch(made)
    assert made.path(made.files[0]) == Path(downloads.home()) / "torchvision" / "cifar-10-python.tar.gz"
    assert resolve_download("download:cifar-10") == "torchvision:CIFAR10"


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_what_the_list_says_of_a_data_set(dataset: PublicDataset) -> None:
    written = parse_value(dataset.data)
    data = validate_data(written)
    assert data.source == f"download:{dataset.name}"
    assert not dataset.main or dataset.main in [file.name for file in dataset.files]
    assert (ROOT / dataset.job.split()[0]).is_file()
    assert dataset.about and dataset.licence and dataset.page
    for file in dataset.files:
        kind, _, digest = file.checksum.partition(":")
        assert len(digest) == {"": 0, "md5": 32, "sha256": 64}[kind] and file.size > 0


@pytest.mark.parametrize("job", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.slow
def test_a_dry_run_says_what_a_shipped_job_lacks(
    job: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "source: pyjokes" in job.read_text():
        pytest.importorskip("pyjokes")
    monkeypatch.chdir(tmp_path)
    code, out, told = cli("submit", job, "--dry-run", "--local")
    missing = json.loads(out)["missing"]
    lines = told.splitlines()  # weights of networks that are not here are named behind what would be sent
    assert code == 0 and [f"missing: {text}" for text in missing] == lines[: len(missing)], told
    source = json.loads(out)["job"]["data"]["source"]
    if source in BUILT_IN:
        assert missing == []
    elif source.startswith("download:"):
        assert missing[0].endswith(f"gan-dist download {source.removeprefix('download:')}")
    else:
        assert missing == [f"data.source: {source!r} does not exist"] and source.startswith(str(tmp_path))


def weights_of(server: Server, monkeypatch: pytest.MonkeyPatch, digits: int = 8) -> tuple[PretrainedWeights, bytes]:
    """Weights of a ResNet-50, served, of whose checksum only so many digits are known; where torch would keep them."""
    from torchvision.models import resnet50

    stored = io.BytesIO()
    torch.save(resnet50().state_dict(), stored)
    content = stored.getvalue()
    known = server.file("resnet.pth", content)
    (real,) = [one for one in WEIGHTS if one.name == "resnet50"]
    made = replace(real, files=(replace(known, checksum=known.checksum[: len("sha256:") + digits]),))
    monkeypatch.setattr(downloads, "WEIGHTS", tuple(made if one is real else one for one in WEIGHTS))
    return made, content


@pytest.mark.slow
def test_weights_are_fetched_where_features_find_them(
    server: Server, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    made, content = weights_of(server, monkeypatch)
    monkeypatch.setattr(pretrained, "RESNET50_KNOWN", downloadable("resnet50"))
    with pytest.raises(ValueError, match=r"needs the weights resnet.pth, and .* get them: gan-dist download resnet50"):
        Resnet50()
    code, out, complaint = cli("download", "resnet50")
    assert code == 2 and "say --yes" in complaint and "(with the first digits of its SHA-256)" in out
    code, out, complaint = cli("download", "resnet50", "--yes")
    path = tmp_path / "torch" / "hub" / "checkpoints" / "resnet.pth"
    assert code == 0 and path.read_bytes() == content, complaint
    assert out.splitlines()[-2:] == [f"here       {path}", f"in a job   {made.use}"]
    assert Resnet50()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1, 2048)
    path.write_bytes(content[:-3])
    with pytest.raises(ValueError, match=r"is not resnet.pth: its SHA-256 does not begin with"):
        Resnet50()
    code, _, complaint = cli("download", "resnet50", "--yes")
    assert code == 2 and "is not the published file: its SHA-256 does not begin with" in complaint


@pytest.mark.slow
def test_other_weights_and_no_network_are_told(
    server: Server, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    made, content = weights_of(server, monkeypatch)
    server.files["/resnet.pth"] = content[:-1] + b"?"
    code, _, complaint = cli("download", "resnet50", "--yes")
    assert code == 2 and "/resnet.pth is not the published file" in complaint and made.missing
    server.http.shutdown()
    server.http.server_close()
    code, _, complaint = cli("download", "resnet50", "--yes")
    assert code == 2 and "cannot be reached" in complaint
    assert f"  {made.files[0].url} as {made.path(made.files[0])}" in complaint, "what to put there, and where"
    code, _, complaint = cli("download", "resnet5")
    assert code == 2 and "did you mean 'resnet50'?" in complaint
    with pytest.raises(DataError, match="'resnet50' are weights of a network, and no data set; in metrics they are"):
        resolve_download("download:resnet50")


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: weights.name)
def test_what_the_list_says_of_weights(weights: PretrainedWeights) -> None:
    """A checksum is the whole of one or as many digits as the name has; the metric that is named looks by them."""
    (file,) = weights.files
    digits = file.checksum.removeprefix("sha256:")
    assert file.checksum != digits and (file.exact or len(digits) == 8) and int(digits, 16)
    assert file.exact or Path(file.name).stem.endswith(f"-{digits}"), "as torch.hub has it"
    assert file.url.startswith("https://") and weights.about and weights.licence and weights.page
    (metric,) = parse_value(weights.use)["metrics"]
    assert metric["features"] == weights.name and metric_value_names(MetricSpec.model_validate(metric))

"""`hf://` by the hub's own client, against a server that speaks what the client asks of the hub."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.corpus import many

REPO, COMMIT = "datasets/somebody/fruit", "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """One public data set: facts about it, listings, and ranges of files."""

    root: Path

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith(tree := f"/api/{REPO}/tree/main"):
            folder = self.root / path.removeprefix(tree).strip("/")
            deep = parse_qs(parts.query).get("recursive", ["false"])[0].lower() == "true"
            if not folder.is_dir():
                self._answer({"error": "not found"}, 404)
            else:
                self._answer(self._entries(sorted(folder.rglob("*") if deep else folder.iterdir())))
        elif path.startswith(f"/api/{REPO}"):
            self._answer({"id": "somebody/fruit", "sha": COMMIT, "private": False, "siblings": [], "tags": []})
        elif (file := self.root / path.removeprefix(f"/{REPO}/resolve/main/")).is_file():
            self._send_file(file.read_bytes())
        else:
            self._answer({"error": "not found"}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        paths = json.loads(asked)["paths"] if asked.startswith("{") else parse_qs(asked)["paths"]
        self._answer(self._entries([self.root / path for path in paths]))

    def _entries(self, paths: list[Path]) -> list[dict[str, Any]]:
        def entry(path: Path) -> dict[str, Any]:
            kind = "directory" if path.is_dir() else "file"
            size = path.stat().st_size if path.is_file() else 0
            return {"type": kind, "path": path.relative_to(self.root).as_posix(), "oid": COMMIT, "size": size}

        return [entry(path) for path in paths if path.exists()]

    def _send_file(self, content: bytes) -> None:
        begin, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(begin) : int(end) + 1 if end else None]
        at = f"bytes {begin}-{int(begin) + len(part) - 1}/{len(content)}"
        self._send(part, 206 if "Range" in self.headers else 200, {"Content-Range": at, "ETag": '"x"'})

    def _answer(self, content: Any, code: int = 200) -> None:
        missing = {"X-Error-Code": "EntryNotFound"} if code == 404 else {}
        self._send(json.dumps(content).encode(), code, {"Content-Type": "application/json", **missing})

    def _send(self, content: bytes, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content)), "X-Repo-Commit": COMMIT}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        """Nothing is said."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """The data set's folder, and the environment in which it is found."""
    root = tmp_path / "repo"
    handler = type("Handler", (Hub,), {"root": root})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")}
    server.shutdown()


def prepare(source: str, target: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    script = "from gan_dist.cli import main; main()"
    command = [sys.executable, "-c", script, "prepare", source, str(target), "--json", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_folder_of_images(tmp_path: Path, hub: tuple[Path, dict[str, str]]) -> None:
    root, environment = hub
    many(root / "images", 12)
    asked = ("--size", "16", "--channels", "3")
    there = prepare(f"hf://{REPO}/images", tmp_path / "there", environment, *asked)
    here = prepare(str(root / "images"), tmp_path / "here", environment, *asked)
    assert there.returncode == here.returncode == 0, there.stderr
    found, other = json.loads(there.stdout), json.loads(here.stdout)
    assert found["count"] == 12 and found["checksum"] == other["checksum"]


@pytest.mark.slow
def test_parquet_as_the_hub_lays_it_out(tmp_path: Path, hub: tuple[Path, dict[str, str]]) -> None:
    root, environment = hub
    (root / "data").mkdir(parents=True)
    for shard in range(2):
        pictures = [{"bytes": png(shard * 5 + number), "path": f"{number}.png"} for number in range(5)]
        table = pa.table({"image": pictures, "label": [0, 1, 0, 1, 0]})
        pq.write_table(table, root / "data" / f"train-{shard:05d}-of-00002.parquet")
    made = prepare(f"hf://{REPO}/data", tmp_path / "out", environment, "--size", "8", "--labels", "source")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["class_counts"] == [6, 4]


@pytest.mark.slow
def test_what_is_not_there_is_said(tmp_path: Path, hub: tuple[Path, dict[str, str]]) -> None:
    root, environment = hub
    root.mkdir()
    made = prepare(f"hf://{REPO}/nothing", tmp_path / "out", environment)
    assert (
        made.returncode == 2 and f"'hf://{REPO}/nothing' does not exist" in json.loads(made.stdout)["error"]["message"]
    )
    assert "Traceback" not in made.stderr and not (tmp_path / "out").exists()


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), (seed * 20, 0, 255 - seed * 20)).save(stream, "PNG")
    return stream.getvalue()

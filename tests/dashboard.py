"""A stand-in for the dashboard of a cluster whose head is this machine: nodes, logs and jobs, as Ray serves them."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NODES = [
    {"node_id": "gone", "is_head_node": True, "state": "DEAD"},
    {"node_id": "other", "is_head_node": False, "state": "ALIVE"},
    {"node_id": "head", "is_head_node": True, "state": "ALIVE"},
]


class Dashboard(ThreadingHTTPServer):
    """Serves what is in `logs`; a job runs here, and prints into a file there.

    Attributes:
        asked: path of each request, without its query.
        jobs: the record of each job that was not deleted.
        packages: the archives of code that were sent, by their names.
        sent: the requests for jobs that are drivers of runs, which are not run.
    """

    daemon_threads = True

    def __init__(self, logs: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.logs, self.asked, self.jobs = logs, list[str](), dict[str, dict[str, Any]]()
        self.packages: dict[str, bytes] = {}
        self.sent: list[dict[str, Any]] = []
        logs.mkdir(parents=True)

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def run(self, body: dict[str, Any]) -> None:
        name, code = body["submission_id"], 0
        with (self.logs / f"job-driver-{name}.log").open("w") as log:
            if "metadata" in body:
                self.sent.append(body)
            else:
                code = subprocess.run(body["entrypoint"], shell=True, stdout=log, stderr=log).returncode
        facts = {"submission_id": name, "metadata": body.get("metadata"), "driver_exit_code": code}
        self.jobs[name] = {"status": "FAILED" if code else "SUCCEEDED", **facts}


class Handler(BaseHTTPRequestHandler):
    server: Dashboard
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.asked.append(parts.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        logs, (*_, last) = self.server.logs, parts.path.rstrip("/").split("/")
        match parts.path.strip("/").split("/"):
            case ["api", "v0", "nodes"]:
                self.answer({"data": {"result": {"result": NODES}}})
            case ["api", "v0", "logs"]:
                assert given["node_id"] == "head"
                found = [f"{path.relative_to(logs)}{'/' * path.is_dir()}" for path in logs.glob(given["glob"])]
                self.answer({"data": {"result": {"internal": found[::2], "driver": found[1::2]}}})
            case ["api", "v0", "logs", "file"]:
                assert (given["node_id"], given["lines"]) == ("head", "-1")
                path = logs / given["filename"]
                known = path.is_file()
                self.send(200 if known else 500, path.read_bytes() if known else b"A file is not found at: it")
            case ["api", "packages", "gcs", _]:
                known = last in self.server.packages
                self.send(200 if known else 404, b"" if known else f"Package {last} does not exist".encode())
            case ["api", "jobs"]:
                self.answer(list(self.server.jobs.values()))
            case ["api", "jobs", name, "logs"]:
                self.answer({"logs": (logs / f"job-driver-{name}.log").read_text()})
            case ["api", "jobs", _] if last in self.server.jobs:
                self.answer(self.server.jobs[last])
            case ["api", "jobs", _]:
                self.send(404, f"Job {last} does not exist".encode())
            case _:
                self.answer({"ray_version": "2.60.0"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.run(body)
        self.answer({"submission_id": body["submission_id"]})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.packages[self.path.rpartition("/")[2]] = content
        self.send(200, b"")

    def do_DELETE(self) -> None:
        del self.server.jobs[self.path.rpartition("/")[2]]
        self.answer({"deleted": True})

    def answer(self, told: Any) -> None:
        self.send(200, json.dumps(told).encode())

    def send(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def dashboard(logs: Path) -> Iterator[Dashboard]:
    """One that answers until the block ends."""
    running = Dashboard(logs)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()

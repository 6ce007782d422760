"""A model hub on loopback, as far as huggingface_hub asks one: repositories, commits, large files, states."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

TOKEN = "hf_of-the-owner"


class StandInHub:
    """What it holds, and what it was asked.

    Attributes:
        states: of each repository its commits in order, files by name.
        private: repositories that only the token's owner sees.
        large: contents by their SHA-256, that came apart from their commit.
        asked: methods and paths.
        cards: every model card that it was asked to check.
    """

    def __init__(self) -> None:
        self.states: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cards: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.asked.append(f"{self.command} {unquote(self.path)}")
                code, headers, content = hub.answer(self.command, unquote(self.path), body, self._is_owner())
                self.send_response(code)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def _is_owner(self) -> bool:
                return self.headers.get("Authorization") == f"Bearer {TOKEN}"

            do_GET = do_HEAD = do_POST = do_PUT = _any

            def log_message(self, *words: Any) -> None:
                """Nobody reads it."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def answer(self, method: str, path: str, body: bytes, owner: bool) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        path = path.partition("?")[0]
        for pattern, reply in (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._check_card),
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self._before),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._where),
            (r"/upload/(\w+)", self._take),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._describe),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            if match := re.fullmatch(pattern, path):
                needs_owner = reply in (self._create, self._before, self._where, self._commit)
                if needs_owner and not owner:
                    return 401, {}, b'{"error": "Invalid username or password."}'
                if match.groups() and match[1] in self.private and not owner:
                    return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
                found = reply(body, *match.groups())
                return found if isinstance(found, tuple) else (200, {"Content-Type": "application/json"}, _json(found))
        return 404, {}, b"{}"

    def _create(self, body: bytes) -> Any:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"me/{asked['name']}"
        url = {"url": f"{self.url}/{name}", "name": name, "id": name}
        if name in self.states:
            return 409, {"Content-Type": "application/json"}, _json(url)
        self.states[name] = [{}]
        if asked.get("private") or asked.get("visibility") == "private":
            self.private.add(name)
        return url

    def _check_card(self, body: bytes) -> Any:
        self.cards.append(json.loads(body)["content"])
        return {"errors": [], "warnings": []}

    def _before(self, body: bytes, name: str) -> Any:
        """Weights come apart from the commit, all else within it."""
        files = [one["path"] for one in json.loads(body)["files"]]
        large = {True: "lfs", False: "regular"}
        return {
            "files": [{"path": one, "uploadMode": large[one.endswith("s")], "shouldIgnore": False} for one in files]
        }

    def _where(self, body: bytes, name: str) -> Any:
        asked = json.loads(body)
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/upload/{one['oid']}"}}} for one in asked["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def _take(self, body: bytes, digest: str) -> Any:
        assert hashlib.sha256(body).hexdigest() == digest
        self.large[digest] = body
        return {}

    def _commit(self, body: bytes, name: str) -> Any:
        state = dict(self.states[name][-1])
        for line in map(json.loads, body.splitlines()):
            what = line["value"]
            if line["key"] == "file":
                state[what["path"]] = base64.b64decode(what["content"])
            elif line["key"] == "lfsFile":
                state[what["path"]] = self.large[what["oid"]]
        self.states[name].append(state)
        commit = _commit_id(name, len(self.states[name]) - 1)
        return {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit, "hookOutput": ""}

    def _state(self, name: str, revision: str | None) -> tuple[str, dict[str, bytes]] | None:
        """A commit's name and its files; those of `main` are the newest."""
        states = self.states.get(name, [])
        known = {_commit_id(name, place): state for place, state in enumerate(states)}
        if states and revision in (None, "main"):
            return list(known.items())[-1]
        return next(
            ((commit, state) for commit, state in known.items() if revision and commit.startswith(revision)), None
        )

    def _missing(self, name: str) -> tuple[int, dict[str, str], bytes]:
        return 404, {"X-Error-Code": "RevisionNotFound" if name in self.states else "RepoNotFound"}, b"{}"

    def _describe(self, body: bytes, name: str, revision: str | None) -> Any:
        if (found := self._state(name, revision)) is None:
            return self._missing(name)
        commit, state = found
        return {
            "id": name,
            "sha": commit,
            "private": name in self.private,
            "tags": [],
            "siblings": [{"rfilename": file} for file in state],
        }

    def _tree(self, body: bytes, name: str, revision: str) -> Any:
        if (found := self._state(name, revision)) is None:
            return self._missing(name)
        return [
            {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for file, content in found[1].items()
        ]

    def _file(self, body: bytes, name: str, revision: str, file: str) -> Any:
        found = self._state(name, revision)
        if found is None:
            return self._missing(name)
        if file not in found[1]:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        content = found[1][file]
        etag = hashlib.sha256(content).hexdigest()
        return (
            200,
            {"ETag": f'"{etag}"', "X-Repo-Commit": found[0], "Content-Type": "application/octet-stream"},
            content,
        )


def _commit_id(name: str, place: int) -> str:
    return hashlib.sha1(f"{name} {place}".encode()).hexdigest()


def _json(found: Any) -> bytes:
    return json.dumps(found).encode()


@contextmanager
def stand_in_hub(monkeypatch: pytest.MonkeyPatch, cache: str) -> Iterator[StandInHub]:
    """The hub that huggingface_hub asks meanwhile, for its owner; what it fetched before is in `cache`."""
    from huggingface_hub import constants

    made = StandInHub()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}", raising=False
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    try:
        yield made
    finally:
        made.close()

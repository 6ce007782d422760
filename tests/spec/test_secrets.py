"""Secrets: one rule hides them wherever something is shown, and a job that holds one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError, StorageError
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.local import run_attempt_here
from gan_dist.launch.load_job import load_job
from gan_dist.runs.storage import Folder
from gan_dist.spec.secrets import HIDDEN, holds_credentials, redact
from tests.helpers import SMALL, request_of, small

SECRET = "kJ8s0-hidden-Zq31"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://AKIA:{SECRET}@bucket/x", f"s3://{HIDDEN}@bucket/x"),
        (f"cannot reach https://{SECRET}@github.com/a now", f"cannot reach https://{HIDDEN}@github.com/a now"),
        (f"s3://b/x?access_key=AKIA&secret_key={SECRET}&scheme=http", f"s3://b/x?access_key={HIDDEN}&secret_key={HIDDEN}&scheme=http"),
        (f"https://b/x?X-Amz-Signature={SECRET}", f"https://b/x?X-Amz-Signature={HIDDEN}"),
        (f"Bearer {SECRET}", f"Bearer {HIDDEN}"),
        ("abfs://container@account.dfs.core.windows.net/x", None),
        ("s3://bucket/a@b", None),
        ("a:b@c, http://host:8265/x", None),
    ],
)  # fmt: skip
def test_one_rule_hides_them(text: str, shown: str | None) -> None:
    assert redact(text, {"RAY_AUTH_TOKEN": SECRET, "RAY_AUTH_TOKEN_PATH": "/a/path/of/it", "HF_TOKEN": "x"}) == (
        shown or text
    )
    if shown is None:
        assert not holds_credentials(text)


@pytest.mark.parametrize(
    "change",
    [
        {"storage": f"s3://AKIA:{SECRET}@bucket/runs"},
        {"data": {**SMALL["data"], "source": f"s3://AKIA:{SECRET}@bucket/x"}},
        {"environment": {"pip": [f"git+https://{SECRET}@github.com/a/b"]}},
    ],
)
def test_a_job_that_holds_one_is_refused_and_does_not_tell_it(change: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="holds a password or token") as found:
        load_job({**SMALL, **change})
    assert SECRET not in str(found.value)
    with pytest.raises(StorageError, match="leave queries and passwords out") as refused:
        Folder.at(f"s3://AKIA:{SECRET}@bucket/runs")
    assert SECRET not in str(refused.value)


def test_no_file_and_no_event_of_a_run_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    events: list[dict[str, Any]] = []
    attempt = Attempt(request_of(small(), tmp_path / "run"), events.append)

    def train(attempt: Attempt) -> dict[str, Any]:
        print(f"my key is {SECRET}")
        attempt.emit({"event": "warning", "text": f"no answer of https://me:{SECRET}@host"})
        raise RuntimeError(f"the key {SECRET} is wrong")

    assert run_attempt_here(attempt, train) == 1
    assert SECRET not in json.dumps(events) and HIDDEN in json.dumps(events)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "crash-1.txt" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_an_error_of_a_command_does_not_tell_one(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    code, out, err = cli("status", SECRET)
    assert code == 4 and SECRET not in out + err and HIDDEN in err

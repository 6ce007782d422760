"""Commands that messages name: each is run as it stands, from a folder whose name has blanks and letters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., tuple[Any, str, str]]
NET = "{use: mlp, hidden: 8, layers: 1}"
JOB = f"""
version: 1
name: hinted
data: {{source: digits, size: 8}}
generator: {{use: mlp, hidden: 8, layers: 1, z: 4}}
discriminator: {NET}
batch: 8
"""
LENGTHS = {
    "until": "objective: hinge\nuntil: 16\n",
    "epochs": "objective: hinge\nbatch: 256\nuntil: 1 epoch\n",
    "stages": "stages:\n- {objective: hinge, for: 8}\n- {objective: non_saturating, for: 2 steps}\n",
}
RUNS_UNTIL_ENDED = ("tensorboard", "dashboard")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "my läufe #1"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def hinted(said: str) -> list[list[str]]:
    """The commands in what was printed, each from `gan-dist` to the end of its line."""
    return [shlex.split(line)[1:] for line in re.findall(r"gan-dist [a-z]+ .*", said)]


def works(cli: Cli, words: list[str]) -> None:
    if words[0] in RUNS_UNTIL_ENDED:
        words = [*words, "--help"]
    elif words[0] == "submit":
        words = [*words, "--dry-run"]
    code, _, err = cli(*words)
    assert code == 0, (words, err)


@pytest.mark.parametrize("kind", LENGTHS)
def test_every_command_that_a_run_names_works(kind: str, place: Path, cli: Cli) -> None:
    job = JOB.replace("batch: 8\n", "") if kind == "epochs" else JOB
    (place / "job.yaml").write_text(job + LENGTHS[kind])
    code, said, _ = cli("submit", "job.yaml", "--local")
    hints = hinted(said)
    assert code == 0 and {"tensorboard", "sample", "submit"} == {words[0] for words in hints}
    _, results, _ = cli("results", "last")
    (repeat,) = hinted(results)
    assert repeat[0] == "submit" and repeat[1].endswith("/job.json")
    _, _, refused = cli("submit", "--resume", "last")
    (longer,) = hinted(refused)
    for words in (*hints, repeat, longer):
        works(cli, words)
    go_on = next(words for words in hints if words[0] == "submit")
    assert cli(*go_on, "--local")[0] == 0


@pytest.mark.slow
def test_what_cannot_go_on_names_what_can_be_done(place: Path, cli: Cli) -> None:
    """A rehearsal is followed by the run itself, and a run whose checkpoints are all damaged is begun anew."""
    (place / "job.yaml").write_text(JOB + LENGTHS["until"])
    _, said, _ = cli("submit", "job.yaml", "--local", "--smoke", "--name", "tried")
    (train,) = hinted(said)
    assert train[0] == "submit" and train[1].endswith("/tried/job.json") and train[2:] == ["--local"]
    code, _, refused = cli("submit", "--resume", "tried", "--local")
    assert code == 2 and "run tried is a rehearsal; train its job: " in refused and hinted(refused) == [train[:2]]
    works(cli, train)

    cli("submit", "job.yaml", "--local", "--name", "worn")
    for file in (place / "runs" / "worn" / "checkpoints").glob("*/*.safetensors"):
        file.write_bytes(b"x")
    code, said, told = cli("submit", "--resume", "worn", "--local", "-o", "until=32")
    assert code == 1 and "no other checkpoint is stored" in told
    (repeat,) = hinted(said)
    assert repeat[0] == "submit" and repeat[1].endswith("/worn/job.json")
    works(cli, repeat)


def test_what_no_run_is_there_for_is_said_with_a_command_that_works(place: Path, cli: Cli) -> None:
    _, said, _ = cli("list")
    (words,) = hinted(said)
    assert words == ["submit", "jobs/dcgan.yaml"]

"""Every command block of the manual is run as it stands, small, or says on its page what it needs that is not here.

`submit` runs without Ray (`tests/ray/test_readme.py` runs the first hour with it), for a step or as a dry run.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import gan_dist
from tests.helpers import ROOT, Cli
from tests.integration.test_docs import DOCS

pytestmark = pytest.mark.slow

# What is not here; the section of the command must speak of it.
NEEDS = {
    r"^ray ": "cluster",
    r"--address|--workers \d": "cluster",
    r"s3://": "bucket|cluster",
    r"head://": "cluster",
    r"download:|^gan-dist download": "download|fetches",
    r"^python3? |^pip |^pipx |^uvx ": "Install|install|measured",
    r"import ffhq|--from ffhq": "pickle",
    r"nll_oracle": "oracle",
    r"--seeds": "twin",
    r"--ema-grid": "sigma",
    r"psnr": "pairs",
    r"^gan-dist explore": "Gradio",
    r"--encode": "autoencoder",
    r"hf://": "hub",
    r"fid_": "download",
    r"--trust-code": "somebody's own",
    r"^gan-dist (stop|down)\b": "Ray",
    r"jobs/NAME|pairs/train|FILE.npz|train.txt|checkpoints/0000|SEQGAN|LIKELIHOOD": "seed|pairs|oracle|sentences",
}


@dataclass
class Command:
    """A command of a page, and the section that it stands in."""

    page: str
    line: str
    section: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)

    @property
    def need(self) -> str | None:
        """Why it is not run, in the words that its page must have; None where it is."""
        return next((told for pattern, told in NEEDS.items() if re.search(pattern, self.line)), None)


def commands() -> list[Command]:
    """Every line of a block that begins a command, with its continuations."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        lines = r"^(?: {4,}|\$ )((?:gan-dist|ray|pip|pipx|python3?|uvx) (?:.*\\\n)*.*)$"
        for match in re.finditer(lines, text, re.MULTILINE):
            end = text.find("\n## ", match.end())
            section = text[max(text.rfind("\n## ", 0, match.start()), 0) : None if end < 0 else end]
            line = re.sub(r"\\\n\s*", "", match[1])
            found += [Command(page.name, one, section) for one in re.split(r"; (?=gan-dist )", line)]
    return found


COMMANDS = commands()


def test_what_is_not_run_says_what_it_needs() -> None:
    lacking = [c for c in COMMANDS if c.need is not None and not re.search(c.need, c.section)]
    assert not [(c.page, c.line, c.need) for c in lacking]


TRAINING = {"version": 1, "objective": "hinge", "batch": 8, "until": "2 steps", "metrics": []}
IMAGES = {
    **TRAINING,
    "data": {"source": "photos", "size": 16, "labels": "folders"},
    "generator": {"use": "stylegan2", "capacity": 64, "most": 4, "z": 4, "w": 4, "mapping": 1},
    "discriminator": {"use": "mlp", "hidden": 8},
}
WORDS: dict[str, Any] = {
    **TRAINING,
    "data": {"modality": "text", "source": "stories.txt", "test": "test.txt", "tokens": "blanks", "length": 10},
    "generator": {"use": "lstm", "embedding": 8, "hidden": 8},
    "discriminator": {"use": "textcnn", "embedding": 8},
    "objective": None,
    "until": None,
    "stages": [
        {"name": "likelihood", "objective": "mle", "for": "2 steps"},
        {"name": "adversarial", "objective": {"use": "seqgan", "rollouts": 1}, "for": "1 steps"},
    ],
}
SWEEP = {
    **TRAINING,
    "data": {"source": "digits", "size": 8},
    "generator": {"use": "mlp", "hidden": 4},
    "discriminator": {"use": "mlp", "hidden": 4},
    "sweep": {"metric": "loss/D", "trials": 2, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}},
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the manual's commands speak of."""
    here = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("GAN_DIST_HOME", str(here / "home"))
        shutil.copytree(ROOT / "jobs", here / "jobs")
        for folder in ("photos", "samples"):
            for number in range(80):
                place = here / folder / str(number % 8)  # the names of the classes
                place.mkdir(parents=True, exist_ok=True)
                picture = Image.linear_gradient("L").resize((16, 16)).rotate(number)
                picture.save(place / f"{number}.png")
        lines = [f"{name} met {other} once upon a time" for name in "abcdefghij" for other in "klmnopqrst"]
        lines += [f"Why did the programmer quit? because of {name}" for name in "abcdefghij"]
        for name in ("stories.txt", "test.txt", "SAMPLES.txt", "FILE.txt", "lines.txt", "questions.txt"):
            (here / name).write_text("\n".join(lines) + "\n")
        (here / "faces").mkdir()
        for name in ("photo.jpg", "faces/one.png"):  # by content they are what they are
            shutil.copy(here / "photos" / "0" / "0.png", here / name)
        asked = {**WORDS, "data": {**WORDS["data"], "prompt": {"first": "1 words"}, "prompt_length": 8}}
        asked["data"] |= {"test": None, "validation": None}
        jobs = {"asked": asked, "words": WORDS, "twin": WORDS, "swept": SWEEP, "other": IMAGES, "images": IMAGES}
        for name, job in jobs.items():
            run = gan_dist.train({**job, "name": name})
        gan_dist.export(run, here / "exported")
        for name, job in {"job.yaml": IMAGES, "JOB.yaml": WORDS}.items():
            (here / name).write_text(json.dumps({**job, "name": "again"}))
        yield here


def staged(command: Command) -> tuple[list[str], str | None]:
    """The words of a command with the stage's things in place of the manual's, smaller; the file that it writes to."""
    words, target = command.words[1:], None
    if ">" in words:
        words, target = words[: words.index(">")], words[-1]
    text = command.page == "text.md" or {"--temperature", "--prefix"} & set(words)
    run = (
        "asked"
        if {"--prompt", "--prompts"} & set(words)
        else "words"
        if text
        else "swept"
        if command.page == "sweeps.md"
        else "images"
    )
    known = {"RUN": run, "last": run, "OTHER": "other", "TWIN": "twin", "50000": "8", "5000": "50", "2000": "16"}
    words = [known.get(word, word) for word in words]
    words = [word.replace("RUN-directions", "directions").replace("size=128", "size=16") for word in words]
    if words[:2] == ["latents", "directions"]:
        words += ["--out", "directions.safetensors"] if "--out" not in words else []
    if words[:2] == ["latents", "project"]:
        words += ["--steps", "4"]
    if "--out" in words:  # `samples/` is a folder of pictures by now
        words[words.index("--out") + 1] = words[words.index("--out") + 1].replace("samples/", "drawn/")
    if "--resume" in words and "-o" not in words:  # those of the stage have ended
        words += ["-o", "sweep.trials=3" if run == "swept" else "until=1k"]
    if words[0] == "submit":
        words += ["--local"] if "--smoke" in words else ["--dry-run"]
    if words[0] == "evaluate" and "--n" not in words:
        words += ["--n", "50"]
    if words[0] in ("tensorboard", "dashboard"):  # they run until Ctrl-C
        words += ["--help"]
    return words, target


@pytest.mark.parametrize("page", sorted({one.page for one in COMMANDS if one.need is None}))
def test_every_command_runs(page: str, stage: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    here = shutil.copytree(stage, tmp_path / "here")
    monkeypatch.chdir(here)
    monkeypatch.setenv("GAN_DIST_HOME", str(stage / "home"))
    failed = []
    for command in (one for one in COMMANDS if one.page == page and one.need is None):
        words, target = staged(command)
        code, said, complained = cli(*words)
        failed += [f"{command.line}\n  as {words}: {code} {complained}"] if code else []
        if target is not None:
            (here / target).write_text(said)
    assert not failed, "\n".join(failed)

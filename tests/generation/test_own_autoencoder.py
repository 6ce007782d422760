"""An autoencoder of a person's own makes a job's latents; nothing runs its code that does not name it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gan_dist
from gan_dist.data.facts import LatentFacts, check_codec
from gan_dist.data.prepare import open_prepared
from gan_dist.errors import DataError, JobError, UsageError
from gan_dist.generation.exported_model import CONFIG, OWN_CHECKSUM, checksum_of
from gan_dist.registry.trust import foreign_code
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import CodecSpec, ImageData
from gan_dist.spec.job import JobSpec
from gan_dist.testing.checks import problems
from tests.helpers import Cli
from tests.integration.test_docs import DOCS, fenced

SQUARES = fenced((DOCS / "own.md").read_text(), "python")[3]
FAULTY = """
class Half(Squares):
    def decode(self, z):
        return z


class Flat(Squares):
    def encode(self, x):
        return super().encode(x).flatten(1)


class Broken(Squares):
    def encode(self, x):
        raise KeyError("pixels")


class Drawn(Squares):
    def encode(self, x):
        return super().encode(x + torch.rand_like(x))


class Deaf(nn.Module):
    def encode(self, x):
        return x


class Unmade(Squares):
    def __init__(self):
        open("weights.pt")
"""
MARKS = """
from pathlib import Path

(Path(__file__).parent / "RAN").touch()
"""
ENCODE: dict[str, Any] = {"use": "my_vae:Squares"}
JOB: dict[str, Any] = {
    "version": 1,
    "name": "own-latents",
    "data": {"source": "digits", "size": 8, "encode": ENCODE},
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "mlp", "hidden": 8, "layers": 1},
    "objective": "hinge",
    "batch": 16,
    "until": 32,
    "every": {"report": 16, "grid": "1k", "checkpoint": 16},
    "resources": {"device": "cpu"},
}


def with_data(**changes: Any) -> dict[str, Any]:
    return {**JOB, "data": {**JOB["data"], **changes}}


def forget() -> None:
    sys.modules.pop("my_vae", None)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an autoencoder of one's own, in which the person works."""
    place = tmp_path / "work"
    place.mkdir()
    (place / "my_vae.py").write_text(SQUARES + FAULTY)
    monkeypatch.chdir(place)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    forget()
    yield place
    forget()


def test_a_run_learns_what_it_makes_and_shows_pictures(work: Path) -> None:
    events: list[Any] = []
    run = gan_dist.train(JOB, on_event=events.append)
    told = [event["text"] for event in events if event["event"] == "stage"]
    assert "encoding data: 0 of 1,797 images" in told, "which may take minutes"
    model = gan_dist.load(run)
    assert model.facts.described == "images of 8x8 grey as latents of 4x4x4"
    made: Any = model.sample(5, seed=1)
    assert made.shape == (5, 1, 8, 8) and made.dtype == torch.uint8
    (work / "my_vae.py").write_text("raise SystemExit('another one')")  # the run has a copy of its own
    forget()
    assert torch.equal(gan_dist.load(run).sample(5, seed=1), made)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="has changed since run"):
        assert gan_dist.load(gan_dist.train(resume=run, until=48)).seen == 48


def test_other_arguments_and_other_code_make_other_latents(work: Path) -> None:
    found = [gan_dist.load(gan_dist.train(job)).facts for job in (JOB, with_data(encode={**ENCODE, "side": 4}))]
    assert [facts.shape for facts in found] == [(4, 4, 4), (16, 2, 2)]
    (work / "my_vae.py").write_text(SQUARES.replace("F.pixel_un", "-F.pixel_un").replace("F.pixel_sh", "-F.pixel_sh"))
    forget()
    assert gan_dist.load(gan_dist.train(JOB)).facts.checksum != found[0].checksum


def test_a_folder_remembers_who_made_it_and_runs_nothing_by_itself(work: Path, cli: Cli) -> None:
    words = ("prepare", "digits", "ready", "--size", 8, "--encode", "my_vae:Squares", "-o", "encode.side=4")
    code, out, err = cli(*words)
    assert not code and "as latents of 16x2x2" in out and "size: 8, encode: {use: my_vae:Squares}}" in out, err
    for wrong, said in (("nowhere:Squares", "nowhere"), ("my_vae:Squres", "did you mean 'Squares'")):
        code, out, err = cli("prepare", "digits", "never", "--size", 8, "--encode", wrong)
        assert code == 2 and "data.encode.use: " in err and said in err
    code, out, err = cli(*words[:-2], "-o", "encode.sde=4")
    assert code == 2 and "data.encode.sde: unknown key; did you mean 'side'?" in err
    found = open_prepared(Folder.at(work / "ready"))
    assert found is not None and isinstance(found.facts, LatentFacts)
    assert found.facts.codec_record["use"] == "my_vae:Squares"
    (work / "my_vae.py").write_text(SQUARES + MARKS)
    forget()
    with pytest.raises(DataError, match=r"holds latents of somebody's own code.*encode: {use: my_vae:Squares}"):
        gan_dist.train(with_data(source=str(work / "ready"), encode=None))
    code, out, err = cli("prepare", "--inspect", "ready")
    assert code == 2 and "if that is yours, or you trust it: --encode my_vae:Squares" in err
    assert "my_vae" not in sys.modules and not (work / "RAN").exists()
    code, out, err = cli("prepare", "--inspect", "ready", "--encode", "my_vae:Squares")
    assert not code and (work / "RAN").exists(), err
    made: Any = gan_dist.load(gan_dist.train(with_data(source=str(work / "ready")))).sample(2)
    assert made.shape == (2, 1, 8, 8)
    with pytest.raises(DataError, match="keeps its arguments; remove side"):
        gan_dist.train(with_data(source=str(work / "ready"), encode={**ENCODE, "side": 4}))


def test_what_others_made_runs_nothing(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gan_dist.train(JOB)
    made: Any = gan_dist.load(run).sample(2, seed=1)
    given = str(tmp_path / "given")
    gan_dist.export(run, given)
    (work / "my_vae.py").write_text(SQUARES + MARKS)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "other-home"))
    forget()
    for where in (run.path, given):
        with pytest.raises(UsageError, match=r"data\.encode\.use: my_vae:Squares.*--trust-code"):
            gan_dist.load(where)
    assert "my_vae" not in sys.modules and not (work / "RAN").exists()
    assert torch.equal(gan_dist.load(given, trust_code=True).sample(2, seed=1), made)  # type: ignore[arg-type]
    assert "my_vae" in sys.modules


def test_a_record_names_no_code_that_the_job_does_not(work: Path) -> None:
    """Else whoever is asked to trust one name would run another."""
    run = gan_dist.train(JOB)
    gan_dist.export(run, "given")
    config = json.loads((work / "given" / CONFIG).read_text())
    config["data"]["codec_record"]["use"] = "my_vae:Broken"
    del config[OWN_CHECKSUM]
    (work / "given" / CONFIG).write_text(json.dumps({**config, OWN_CHECKSUM: checksum_of(config)}))
    with pytest.raises(DataError, match="holds latents of somebody's own code"):
        gan_dist.load("given", trust_code=True)
    facts = gan_dist.load(run).facts
    assert isinstance(facts, LatentFacts)
    other = replace(facts, codec_record={**facts.codec_record, "use": "my_vae:Broken"})
    for encode in (CodecSpec(use="my_vae:Squares"), "last", None):
        with pytest.raises(DataError, match="my_vae:Broken"):
            check_codec(ImageData(source="x", size=8, encode=encode), other)
    check_codec(ImageData(source="x", size=8, encode=CodecSpec(use="my_vae:Broken")), other)


def test_which_code_of_a_job_a_model_runs() -> None:
    spec = JobSpec.model_validate({**JOB, "networks": {"inverse": "my_vae:Half"}})
    assert foreign_code(spec, ["generator", "data.encode"]) == ["data.encode.use: my_vae:Squares"]
    assert foreign_code(spec, ["networks.inverse"]) == ["networks.inverse.use: my_vae:Half"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Half", r"makes \[4, 4, 4\] of images of \[1, 8, 8\]"),
        ("Flat", r"makes \[64, 128\] of 64 images; \[64, 2c, h, w\] is wanted"),
        ("Broken", r"does not take images of \[1, 8, 8\]: .*my_vae\.py:\d+: KeyError: 'pixels'"),
        ("Deaf", "is no autoencoder: it has no method decode"),
        ("Unmade", r"cannot be made: .*my_vae\.py:\d+: FileNotFoundError"),
    ],
)
def test_what_is_no_autoencoder_is_told(work: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        gan_dist.train(with_data(encode={"use": f"my_vae:{name}"}))


def test_it_is_checked_alone(work: Path, cli: Cli) -> None:
    code, said, err = cli("check", "my_vae:Squares", "-o", "side=4")
    assert code == 0 and "autoencoder, ok" in said, err
    told = {
        "Half": "decode: makes [4, 12, 16, 16] of the map of images [4, 3, 32, 32]",
        "Flat": "encode: makes [4, 6144] of 4 images; [4, 2c, h, w] is wanted",
        "Drawn": "encode: two calls with the same images differ",
        "Unmade": "cannot be made:",
    }
    for name, text in told.items():
        assert any(text in problem for problem in problems(f"my_vae:{name}")), name


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        ({**ENCODE, "sde": 4}, r"data\.encode\.sde: unknown key; did you mean 'side'\?"),
        ({**ENCODE, "side": "two"}, r"data\.encode\.side: 'two'"),
        ({"use": "my_vae:Squres"}, r"data\.encode\.use: .*Squares"),
        ({"use": "autoencoder"}, r"data\.encode\.use: 'autoencoder' is no class of your own"),
        ({"side": 4}, r"data\.encode\.use: required, but missing"),
        ([], r"data\.encode: \[\] must be text"),
    ],
)
def test_what_a_job_says_wrong_is_told_at_its_key(work: Path, encode: Any, said: str) -> None:
    with pytest.raises(JobError, match=said):
        gan_dist.train(with_data(encode=encode))

"""Exported generators on a model hub, a stand-in on loopback: pushed, loaded, pinned, refused in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import gan_dist
from gan_dist.errors import UsageError
from gan_dist.generation.hub import is_on_hub, parse_hub
from gan_dist.runs.run_folder import RunFolder
from tests.generation.test_export import IMAGES
from tests.helpers import Cli
from tests.hub import StandInHub, stand_in_hub


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    root = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        (root / "job.yaml").write_text(IMAGES)
        yield gan_dist.train(root / "job.yaml", storage=str(root / "runs")).folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    with stand_in_hub(monkeypatch, str(tmp_path / "cache")) as made:
        yield made


def test_a_pushed_generator_comes_back(
    run: RunFolder, hub: StandInHub, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--push", "hf://me/digits", "--license", "cc0-1.0", "--json")
    code, out, err = cli("export", run.uri, "--out", tmp_path / "out", *options)
    assert code == 0, err
    assert json.loads(out)["page"] == f"{hub.url}/me/digits" and "me/digits" in hub.private
    pushed = hub.states["me/digits"][-1]
    assert pushed == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(hub.large) == 1 and hub.cards == [pushed["README.md"].decode()]
    card = ModelCard(pushed["README.md"].decode()).data
    (result,) = card.eval_results or ()
    assert (card.library_name, card.license, card.pipeline_tag) == (
        "gan-dist",
        "cc0-1.0",
        "unconditional-image-generation",
    )
    assert (result.metric_type, result.dataset_name) == ("fd_random_100", "digits")

    ours, theirs = gan_dist.load(run), gan_dist.load("hf://me/digits")
    assert torch.equal(ours.sample(5, seed=1), theirs.sample(5, seed=1)) and theirs.name == ours.name
    fetched = {one.rpartition("/")[2] for one in hub.asked if one.startswith("GET /me/digits/resolve/")}
    assert fetched == {"config.json", "model.safetensors"}, "nothing that could be run"
    code, out, err = cli("evaluate", "hf://me/digits", "--json")
    assert code == 0 and list(json.loads(out)["metrics"]) == ["fd_random_100"], err
    hub.close()
    assert torch.equal(gan_dist.load("hf://me/digits").sample(2), ours.sample(2)), "what is there needs no hub"


def test_runs_start_from_what_was_exported(run: RunFolder, hub: StandInHub, cli: Cli, tmp_path: Path) -> None:
    exported = tmp_path / "out"
    gan_dist.export(run.uri, exported, push="hf://me/digits")
    given = load_file(exported / "model.safetensors")
    (tmp_path / "job.yaml").write_text(IMAGES)
    still = ("-o", "optimizer.lr=0", "-o", "until=1 steps", "-o", "ema=null", "-o", "seed=5")
    submit = ("submit", tmp_path / "job.yaml", "--local", "--storage", tmp_path / "runs", *still)
    for name, ref in (("here", str(exported)), ("there", "hf://me/digits")):
        code, _, err = cli(*submit, "--name", name, "--from", ref)
        assert code == 0, err
        (begun,) = (tmp_path / "runs" / name / "checkpoints").glob("*/generator.safetensors")
        torch.testing.assert_close(load_file(begun), given, rtol=0, atol=0)
    code, _, err = cli(*submit, "--from", "hf://me/digits", "--only", "discriminator")
    assert code == 2 and "has no discriminator" in err, err
    code, _, err = cli(*submit, "--from", "hf://me/none")
    assert code == 2 and "there is no hf://me/none" in err, err
    (exported / "model.safetensors").write_bytes(b"other")
    code, _, err = cli(*submit, "--from", str(exported))
    assert code == 2 and "is missing or damaged (its checksum differs)" in err, err


def test_a_state_can_be_pinned(run: RunFolder, hub: StandInHub, tmp_path: Path) -> None:
    gan_dist.export(run.uri, tmp_path / "ema", push="hf://me/digits")
    first = gan_dist.load("hf://me/digits").sample(3)
    sha = next(one.split("/")[4] for one in hub.asked if one.startswith("GET /me/digits/resolve/"))
    gan_dist.export(run.uri, tmp_path / "raw", weights="raw", push="hf://me/digits")
    assert torch.equal(gan_dist.load(f"hf://me/digits@{sha}").sample(3), first)
    assert torch.equal(gan_dist.load("hf://me/digits").sample(3), gan_dist.load(run, weights="raw").sample(3))
    with pytest.raises(UsageError, match=r"hf://me/digits@nowhere: me/digits has no revision 'nowhere'"):
        gan_dist.load("hf://me/digits@nowhere")
    with pytest.raises(UsageError, match=r"a push makes a new state of me/digits; name no revision"):
        gan_dist.export(run.uri, tmp_path / "other", push="hf://me/digits@main")


def test_what_a_hub_holds_of_others_runs_nothing(
    run: RunFolder, hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator class of somebody's is refused by its name, and its file is not even fetched."""
    gan_dist.export(run.uri, tmp_path / "out", push="hf://them/evil")
    state = hub.states["them/evil"][-1]
    config = json.loads(state["config.json"])
    from gan_dist.generation.exported_model import OWN_CHECKSUM, checksum_of

    config["job"]["generator"] = {"use": "evil_module:Generator"}
    del config[OWN_CHECKSUM]
    state["config.json"] = json.dumps({**config, OWN_CHECKSUM: checksum_of(config)}).encode()
    ran = tmp_path / "ran"
    state["evil_module.py"] = f"open({str(ran)!r}, 'w')".encode()
    with pytest.raises(UsageError, match=r"evil_module:Generator"):
        gan_dist.load("hf://them/evil")
    assert not ran.exists() and not any("evil_module" in one for one in hub.asked)


def test_what_goes_wrong_is_told(
    run: RunFolder, hub: StandInHub, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.states["them/other"] = [{"config.json": b"{}", "pytorch_model.bin": b"pickle"}]
    with pytest.raises(UsageError, match=r"hf://them/other holds no generator that `gan-dist export` wrote"):
        gan_dist.load("hf://them/other")
    with pytest.raises(UsageError, match=r"there is no hf://them/none, or it is private; log in: hf auth login"):
        gan_dist.load("hf://them/none")
    monkeypatch.setenv("HF_TOKEN", "hf_of-somebody-else")
    code, _, err = cli("export", run.uri, "--out", tmp_path / "out", "--push", "hf://me/digits")
    assert code == 2 and "log in: hf auth login, or set HF_TOKEN" in err, err
    hub.close()
    with pytest.raises(UsageError, match=r"hf://them/far: the hub cannot be reached"):
        gan_dist.load("hf://them/far")


def test_names_of_models() -> None:
    assert parse_hub("hf://me/a.b-c@v1.0") == ("me/a.b-c", "v1.0") and str(parse_hub("hf://me/x")) == "hf://me/x"
    assert is_on_hub("hf://me/x") and not is_on_hub("hf://datasets/me/x") and not is_on_hub("/me/x")
    for wrong in ("me/x", "hf://me", "hf://me/x/y", "hf://me/x@", "hf://me/ x"):
        with pytest.raises(UsageError, match=r"names no model of a hub; write hf://USER/MODEL"):
            parse_hub(wrong)

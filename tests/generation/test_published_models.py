"""Published pickles of StyleGAN2 and R3GAN become our networks: names, samples, exports, and runs that start from them.

Where `GAN_DIST_CHECKOUTS` names a folder with the authors' repositories, their own outputs are compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gan_dist
from gan_dist.generation.published_models import imported_model, read_published
from gan_dist.networks.image import r3gan, stylegan2
from gan_dist.runs.checkpoint import Checkpoint
from gan_dist.runs.storage import Folder
from tests.helpers import Cli
from tests.published import (
    PERSISTENT,
    R3GAN_D,
    R3GAN_G,
    STYLEGAN2_D,
    STYLEGAN2_G,
    nvidia_module,
    plain_module,
    shaken,
    stand_in,
    their_names,
    write,
)

STYLE = {"mapping": 2, "capacity": 64, "most": 8}
SMALL_R3 = {"width": 8, "wide": 8, "group": 4, "blocks": 1}
FILTER = torch.ones(4, 4)


def networks(family: str, classes: int, channels: int = 3) -> dict[str, nn.Module]:
    """Ours, with random weights: what the file holds, under its keys."""
    given = {"size": 16, "channels": channels, "classes": classes}
    if family == "stylegan2":
        generators = [stylegan2.Generator(**given, **STYLE, z=6, w=5) for _ in range(2)]
        judge: nn.Module = stylegan2.Discriminator(**given, **{**STYLE, "mapping": 2}, group=2)
    else:
        generators = [r3gan.Generator(**given, **SMALL_R3, z=8) for _ in range(2)]
        judge = r3gan.Discriminator(**given, **SMALL_R3)
    made = dict(zip(("G", "G_ema", "D"), (*generators, judge), strict=True))
    return {name: shaken(network, seed) for seed, (name, network) in enumerate(made.items())}


def published(
    path: Path, monkeypatch: pytest.MonkeyPatch, family: str, ours: Mapping[str, nn.Module], **more: Any
) -> Path:
    """The file that the authors' code would write of these networks."""
    if family == "stylegan2":
        stand_in(monkeypatch, PERSISTENT, "_reconstruct_persistent_obj")
        names = {"G": STYLEGAN2_G, "G_ema": STYLEGAN2_G, "D": STYLEGAN2_D}
        judge = {"_init_kwargs": {"epilogue_kwargs": {"mbstd_group_size": 2}}}
        holds: dict[str, Any] = {
            key: nvidia_module(
                {**their_names(network, names[key]), "b8.resample_filter": FILTER}, key, **(judge if key == "D" else {})
            )
            for key, network in ours.items()
        }
    else:
        theirs = stand_in(monkeypatch, "BaselineGAN.Networks", "Layer")
        of = {"G": R3GAN_G, "G_ema": R3GAN_G, "D": R3GAN_D}
        holds = {key: plain_module(their_names(one, of[key], "Model."), theirs.Layer) for key, one in ours.items()}
    return write(path, {**holds, **more})


@pytest.mark.parametrize("family", ["stylegan2", "r3gan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_weight_is_where_it_was(
    family: str, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = networks(family, classes)
    found = read_published(published(tmp_path / "a b.pkl", monkeypatch, family, ours, cur_nimg=640))
    assert (found.use, found.seen, found.left_out, found.facts.shape) == (family, 640, [], (3, 16, 16))
    assert len(found.facts.classes) == classes and found.job.name == "a-b"
    for key, name in (("G", "generator"), ("G_ema", "generator_ema"), ("D", "discriminator")):
        wanted = ours[key].state_dict()
        assert found.weights[name].keys() == wanted.keys()
        assert all(torch.equal(found.weights[name][one], tensor) for one, tensor in wanted.items())
    expected = {**STYLE, "z": 6, "w": 5} if family == "stylegan2" else {**SMALL_R3, "z": 8}
    assert found.arguments["generator"] == expected
    if family == "stylegan2":
        assert found.arguments["discriminator"]["group"] == 2


@pytest.mark.parametrize("family", ["stylegan2", "r3gan"])
def test_import_makes_an_ordinary_export(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    ours = networks(family, 3)
    file = published(tmp_path / "faces.pkl", monkeypatch, family, ours)
    code, out, _ = cli("import", file, tmp_path / "out", "--json", "--license", "cc0-1.0")
    assert code == 0 and json.loads(out)["networks"]["generator"]["use"] == family
    model, direct = gan_dist.load(tmp_path / "out"), imported_model(read_published(file))
    samples = model.sample(3, seed=1)
    assert isinstance(samples, Tensor) and torch.equal(samples, direct.sample(3, seed=1))
    for key, tensor in ours["G_ema"].state_dict().items():
        assert torch.equal(model.generator.state_dict()[key], tensor)
    raw = imported_model(read_published(file), "raw").generator.state_dict()
    assert all(torch.equal(raw[key], tensor) for key, tensor in ours["G"].state_dict().items())
    card = (tmp_path / "out" / "README.md").read_text()
    assert "published weights of `faces.pkl`" in card and "cc0-1.0" in card
    code, _, err = cli("import", file, tmp_path / "out")
    assert code == 2 and "is not empty" in err
    code, out, _ = cli("import", file, tmp_path / "out", "--force")
    assert code == 0 and f"generator: {{use: {family}" in out


JOB = """
name: onwards
data: {source: digits, size: 16, channels: 3, labels: source}
generator: {use: stylegan2, z: 6, w: 5, mapping: 2, capacity: 64, most: 8}
discriminator: {use: stylegan2, mapping: 2, capacity: 64, most: 8, group: 2}
objective: non_saturating
optimizer: {lr: 0}
ema: {half_life: 1G}
batch: 8
until: 16
every: {report: 8, grid: 1M, checkpoint: 16}
"""


@pytest.mark.slow
def test_a_run_starts_from_a_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """With a learning rate of 0 it stores what it began with."""
    monkeypatch.chdir(tmp_path)
    ours = networks("stylegan2", 10)
    file = published(tmp_path / "faces.pkl", monkeypatch, "stylegan2", ours)
    (tmp_path / "job.yaml").write_text(JOB)
    for name in ("one", "two"):
        code, out, err = cli("submit", "job.yaml", "--local", "--from", file, "--name", name)
        assert code == 0, out + err
    assert len(list((tmp_path / "runs" / ".imported").iterdir())) == 1  # made once
    (stored,) = (tmp_path / "runs" / "two" / "checkpoints").iterdir()
    for name, key in (("generator", "G"), ("generator_ema", "G_ema"), ("discriminator", "D")):
        found = Checkpoint(Folder.at(stored)).tensors(name)
        assert all(torch.allclose(found[one], tensor, atol=1e-6) for one, tensor in ours[key].state_dict().items()), (
            name
        )
    code, out, err = cli(
        "submit", "job.yaml", "--local", "--from", file, "-o", "data.size=32", "-o", "freeze.discriminator=1"
    )
    assert code == 0 and "warning: --from: generator: " in out + err and "begin anew: layers.5" in out + err
    code, out, err = cli("submit", "job.yaml", "--local", "--from", file, "-o", "generator={use: dcgan, width: 4}")
    assert code != 0 and "generator: the stored weights are of another network" in out + err


def test_what_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, PERSISTENT, "_reconstruct_persistent_obj")
    ours = networks("stylegan2", 0)
    third = nvidia_module({"synthesis.input.weight": torch.ones(2, 2)}, "G")
    judge = nvidia_module(their_names(ours["D"], STYLEGAN2_D), "D")
    found = read_published(write(tmp_path / "sg3.pkl", {"G": third, "G_ema": third, "D": judge}))
    assert list(found.weights) == ["discriminator"] and "StyleGAN3's" in found.left_out[0]
    with pytest.raises(ValueError, match="StyleGAN3's, which there is no network for"):
        imported_model(found)
    with pytest.raises(ValueError, match=r"sg3.pkl': generator is StyleGAN3's"):
        read_published(write(tmp_path / "sg3.pkl", {"G": third}))
    plain = {key: one for key, one in their_names(ours["D"], STYLEGAN2_D).items() if ".skip." not in key}
    with pytest.raises(ValueError, match="StyleGAN2's `orig` form"):
        read_published(write(tmp_path / "orig.pkl", {"D": nvidia_module(plain, "D")}))
    with pytest.raises(ValueError, match="holds no networks G, G_ema or D"):
        read_published(write(tmp_path / "none.pkl", {"a": 1}))
    weights = their_names(ours["G"], STYLEGAN2_G)
    with pytest.raises(ValueError, match=r"is not of a form that is known: .*synthesis\.b16\.more: absent here"):
        more = {**weights, "synthesis.b16.more": torch.ones(1)}
        read_published(write(tmp_path / "more.pkl", {"G": nvidia_module(more, "G")}))
    with pytest.raises(ValueError, match=r"lacks the weight map\.layers\.0\.weight"):
        less = {key: one for key, one in weights.items() if "fc0" not in key}
        read_published(write(tmp_path / "less.pkl", {"G": nvidia_module(less, "G")}))


CHECKOUTS = {
    "stylegan2-ada-pytorch": "networks.Generator(z_dim=16, c_dim=C, w_dim=16, img_resolution=32, img_channels=3, "
    "mapping_kwargs=dict(num_layers=2), synthesis_kwargs=dict(channel_base=256, channel_max=32))",
    "stylegan3": "networks_stylegan2.Generator(z_dim=16, c_dim=C, w_dim=16, img_resolution=32, img_channels=3, "
    "mapping_kwargs=dict(num_layers=2), channel_base=256, channel_max=32)",
    "R3GAN": "networks.Generator(NoiseDimension=16, WidthPerStage=[32, 32, 32, 16], "
    "CardinalityPerStage=[4, 4, 4, 2], BlocksPerStage=[2] * 4, ExpansionFactor=2, FP16Stages=[], img_resolution=32, "
    "c_dim=C, ConditionEmbeddingDimension=16 * (C > 0))",
}
SCRIPT = """
import pickle, sys, torch
from training import MODULE
torch.manual_seed(0)
C = CLASSES
G = MAKE.eval().requires_grad_(False)
for one in G.parameters():
    if not one.any():
        one.normal_(0, 0.3)
z, c = torch.randn(4, 16), torch.eye(max(C, 1))[[0, -1, 0, -1]][:, :C]
made = G(z, c) if PLAIN else G(z, c, noise_mode="none")
pickle.dump({"G_ema": G}, open(sys.argv[1], "wb"))
torch.save({"z": z, "made": made}, sys.argv[2])
"""


@pytest.mark.parametrize("repository", CHECKOUTS)
@pytest.mark.parametrize("classes", [0, 3])
def test_outputs_are_those_of_the_authors_code(repository: str, classes: int, tmp_path: Path) -> None:
    root = Path(os.environ.get("GAN_DIST_CHECKOUTS", "")) / repository
    if "GAN_DIST_CHECKOUTS" not in os.environ or not root.is_dir():
        pytest.skip(f"GAN_DIST_CHECKOUTS names no folder with a checkout {repository}")
    make = CHECKOUTS[repository]
    script = SCRIPT.replace("MODULE", make.partition(".")[0]).replace("CLASSES", str(classes)).replace("MAKE", make)
    script = script.replace("PLAIN", str(repository == "R3GAN"))
    outside = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", script, str(tmp_path / "a.pkl"), str(tmp_path / "a.pt")]
    done = subprocess.run(command, env=outside, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"the checkout wants what is not installed: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    wanted = torch.load(tmp_path / "a.pt", weights_only=True)
    generator: Any = imported_model(read_published(tmp_path / "a.pkl")).generator
    noise: Any = wanted["z"]
    if repository != "R3GAN":
        sides = [4] + [side for side in (8, 16, 32) for _ in range(2)]
        noise = {"z": noise, "pixels": [torch.zeros(4, 1, side, side) for side in sides]}
    made = generator(noise, torch.tensor([0, 2, 0, 2]) if classes else None)
    assert (made - wanted["made"]).abs().max() < 1e-5 * max(1, wanted["made"].abs().max())

"""Latents as data: prepared by a codec, drawn anew, decoded for people and metrics; refused where nothing returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gan_dist import api
from gan_dist.data.encoding import image
from gan_dist.data.facts import ImageFacts, LatentFacts, facts_from_record
from gan_dist.data.ingest import load_into_memory
from gan_dist.data.prepare import Prepared, open_prepared
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError, UsageError
from gan_dist.generation.codec_source import encode_into, read_codec
from gan_dist.generation.latent_codec import LatentCodec, check_inverts, encoder_of
from gan_dist.generation.modality import LatentModality, modality_of
from gan_dist.generation.model import load, load_generator, training_data
from gan_dist.launch.plan import plan_new
from gan_dist.networks.image.autoencoder import KlAutoencoder
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData
from tests.helpers import CPU, Cli

ARGUMENTS: dict[str, Any] = {"channels": 1, "latent": 2, "widths": [4, 8], "layers": 1, "groups": 2, "attention": True}
CONFIG = {
    "_class_name": "AutoencoderKL",
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 2,
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "act_fn": "silu",
    "scaling_factor": 0.18,
}
COUNT, SIDE = 70, 8
PICTURES = ImageFacts(count=COUNT, checksum="", size=SIDE, channels=1)


def pictures() -> np.ndarray[Any, Any]:
    """Smooth ones, which little training brings back."""
    random = np.random.default_rng(0)
    corners = torch.from_numpy(random.integers(0, 256, (COUNT, 1, 2, 2))).float()
    grown = torch.nn.functional.interpolate(corners, SIDE, mode="bilinear", align_corners=True)
    return grown.round().to(torch.uint8).numpy()


def trained(steps: int = 120) -> KlAutoencoder:
    torch.manual_seed(0)
    network = KlAutoencoder(**ARGUMENTS)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    x = image.encode(torch.from_numpy(pictures()), CPU, torch.float32)
    for _ in range(steps):
        loss = (network.decode(network.encode(x).chunk(2, 1)[0]) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def silent(done: int, total: int) -> None:
    assert 0 <= done <= total


def encoded(source: Path, codec: Path, target: Path, **changes: Any) -> Prepared:
    data = ImageData(source=str(source), size=SIDE, encode=str(codec), **changes)
    return encode_into(data, str(target), load_generator, progress=silent, encoding=silent)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Prepared]:
    """A folder of diffusers' form, pictures, and their latents."""
    root = tmp_path_factory.mktemp("latents")
    (root / "codec").mkdir()
    (root / "codec" / "config.json").write_text(json.dumps(CONFIG))
    save_file(dict(trained().state_dict()), root / "codec" / "diffusion_pytorch_model.safetensors")
    (root / "in").mkdir()
    for number, one in enumerate(pictures()):
        Image.fromarray(one[0]).save(root / "in" / f"{number:02d}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        return root, encoded(root / "in", root / "codec", root / "ready")


@pytest.fixture
def gan_dist(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scene: Any) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_DIST_HOME", str(scene[0] / "home"))

    def call(*words: object) -> tuple[int, str]:
        code, out, err = cli(*words)
        return code or 0, out + err

    return call


def facts_of(found: Prepared) -> LatentFacts:
    assert isinstance(found.facts, LatentFacts)
    return found.facts


@pytest.mark.slow
def test_what_is_stored_is_mean_and_deviation(scene: Any) -> None:
    root, found = scene
    facts = facts_of(found)
    assert (facts.size, facts.channels, facts.picture_size, facts.picture_channels) == (4, 2, SIDE, 1)
    assert facts.provided == {"size": 4, "channels": 2, "classes": 0} and facts.shape == (2, 4, 4)
    assert facts.described == "images of 8x8 grey as latents of 2x4x4"
    assert facts_from_record(json.loads(json.dumps(facts.as_dict()))) == facts
    network, _ = read_codec(str(root / "codec"), load_generator, PICTURES)
    stored, _ = load_into_memory(found, 0, 1).rows(np.arange(COUNT))
    mean, log_variance = network.encode(image.encode(torch.from_numpy(pictures()), CPU, torch.float32)).chunk(2, 1)
    expected = torch.cat([mean, (log_variance / 2).exp()], 1)
    torch.testing.assert_close(stored.float(), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_each_draw_is_another_and_each_channel_is_normalised(scene: Any) -> None:
    facts = facts_of(scene[1])
    codec = LatentCodec.of(facts, CPU)
    stored, _ = load_into_memory(scene[1], 0, 1).rows(np.arange(COUNT).repeat(20))
    stored = stored.float()
    one, other = (codec.draw(stored, single_lane_rng((key,), len(stored), CPU)) for key in ("a", "b"))
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, codec.draw(stored, single_lane_rng(("a",), len(stored), CPU)))
    torch.testing.assert_close(one.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=0.01)
    torch.testing.assert_close(one.std((0, 2, 3)), torch.full((2,), 0.5), rtol=0.02, atol=0)
    # Noise of the deviation that is stored: what is drawn twice differs by it, scaled as all is.
    _, deviation = stored.chunk(2, 1)
    apart = ((one - other) / codec.scale).square().mean()
    assert float(apart) == pytest.approx(float(2 * deviation.square().mean()), rel=0.05)


def test_pictures_come_back(scene: Any) -> None:
    found = scene[1]
    rows = load_into_memory(found, 0, 1)
    modality = modality_of(found.facts)
    assert isinstance(modality, LatentModality)
    back, _ = modality.real_rows(rows).rows(np.arange(COUNT))
    assert back.shape == (COUNT, 1, SIDE, SIDE) and back.dtype == torch.uint8
    apart = (back.float() - torch.from_numpy(pictures()).float()).square().mean().item()
    network, _ = read_codec(str(scene[0] / "codec"), load_generator, PICTURES)
    assert 10 * np.log10(255**2 / apart) == pytest.approx(check_inverts(network, pictures(), "x"), abs=0.5)


def test_preparing_goes_on_and_refuses_another_folder(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, found = scene
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    again = encoded(root / "in", root / "codec", root / "ready")
    assert again.facts == found.facts
    (root / "full").mkdir(exist_ok=True)
    (root / "full" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty, and holds other data; choose another folder, or delete it"):
        encoded(root / "in", root / "codec", root / "full")


JOB = """
name: latent
data: {{source: {ready}, size: 8}}
generator: {{use: mlp, hidden: 8, layers: 1, z: 4}}
discriminator: {{use: mlp, hidden: 8, layers: 1}}
objective: hinge
batch: 8
until: 4 steps
metrics: [{{use: kid, samples: 40}}, {{use: ppl, space: z, epsilon: 0.1, samples: 40}}]
every: {{report: 2 steps, grid: 2 steps, checkpoint: 2 steps, metrics: 4 steps}}
"""


def test_a_run_on_latents_shows_and_measures_pictures(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    root, found = scene
    (tmp_path / "job.yaml").write_text(JOB.format(ready=root / "ready"))
    run = api.train(tmp_path / "job.yaml", storage=str(tmp_path / "runs"))
    model = load(run.folder)
    made = model.sample(5, seed=1)
    assert isinstance(made, torch.Tensor) and made.shape == (5, 1, SIDE, SIDE) and made.dtype == torch.uint8
    noise: Any = model.generator
    maps = noise.generator(noise.draw(8, single_lane_rng((1, "sample"), 8, CPU)))
    codec = LatentCodec.of(facts_of(found), CPU)
    assert maps.shape[1:] == (2, 4, 4) and torch.equal(made, image.decode(codec.decode(maps))[:5])
    grid = max((Path(run.folder.uri) / "grids").glob("0*.png"))
    assert Image.open(grid).width % (8 * SIDE + 14) == 0  # eight pictures and the lines between them
    code, said = gan_dist("evaluate", run.folder.uri, "--json")
    assert code == 0, said
    values = json.loads(said[: said.rindex("}") + 1])["metrics"]
    last = run.folder.reports()[-1]
    assert values == pytest.approx({name: last[f"metric/{name}"] for name in values}, rel=1e-5)
    assert training_data(model).facts.described == "images of 8x8 grey"  # type: ignore[union-attr]
    code, said = gan_dist("sample", run.folder.uri, "--n", 3, "--out", "made")
    assert code == 0 and Image.open(sorted((tmp_path / "made").glob("*.png"))[0]).size == (SIDE, SIDE), said
    assert gan_dist("export", run.folder.uri, "--out", "exported")[0] == 0
    again = load(tmp_path / "exported").sample(5, seed=1)
    assert isinstance(again, torch.Tensor) and torch.equal(again, made)


@pytest.mark.slow
def test_a_job_may_name_the_codec_itself(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    """The same data, so that the same run comes of it, exactly resumed."""
    root, _ = scene
    text = JOB.format(ready=root / "ready")
    named = text.replace(f"source: {root / 'ready'}", f"source: {root / 'in'}, encode: {root / 'codec'}")
    weights = []
    for number, content in enumerate((text, named)):
        (tmp_path / f"{number}.yaml").write_text(content)
        run = api.train(tmp_path / f"{number}.yaml", storage=str(tmp_path / f"runs{number}"))
        weights.append(load(run.folder).network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    short = api.train(tmp_path / "1.yaml", until="2 steps", storage=str(tmp_path / "runs2"))
    resumed = api.train(resume=short, until="4 steps")
    assert all(torch.equal(weights[0][name], one) for name, one in load(resumed.folder).network.state_dict().items())
    (tmp_path / "wrong.yaml").write_text(named.replace("size: 8}", "size: 8, xflip: true}"))
    code, said = gan_dist("validate", "wrong.yaml")
    assert code == 2 and "xflip: latents cannot be mirrored; leave it or `encode` out" in said


def test_the_command(scene: Any, gan_dist: Any, tmp_path: Path) -> None:
    root, found = scene
    code, said = gan_dist("prepare", root / "in", "out", "--size", SIDE, "--encode", root / "codec")
    assert code == 0 and "images of 8x8 grey as latents of 2x4x4" in said and "size: 8}" in said, said
    made = open_prepared(Folder.at(tmp_path / "out"))
    assert made is not None and made.facts.checksum == found.facts.checksum
    code, said = gan_dist("prepare", "--inspect", "out")
    assert code == 0, said
    code, said = gan_dist("prepare", root / "in", "x", "--encode", root / "codec", "--workers", 2)
    assert code == 2 and "--encode runs in this process; leave out --workers" in said


def test_a_codec_that_does_not_invert_is_refused(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = scene
    monkeypatch.setenv("GAN_DIST_HOME", str(root / "home"))
    torch.manual_seed(1)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "config.json").write_text(json.dumps(CONFIG))
    save_file(dict(KlAutoencoder(**ARGUMENTS).state_dict()), fresh / "diffusion_pytorch_model.safetensors")
    with pytest.raises(DataError, match=r"does not bring these images back: \d+\.\d dB, at least 12 are wanted"):
        encoded(root / "in", fresh, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"does not take images of \[3, 8, 8\]"):
        encoded(root / "in", root / "codec", tmp_path / "out", channels=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "VQModel"}, "holds a VQModel; only AutoencoderKL is read"),
        ({"act_fn": "gelu"}, "act_fn: 'gelu' in .* only 'silu' is read"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"]}, "down_block_types: 'AttnDownEncoderBlock2D' in"),
        ({"latent_channels": 3}, "are of another network"),
        ({"norm_num_groups": 3}, "describes no AutoencoderKL: groups: 3 does not divide 4 channels"),
    ],
)
def test_folders_of_other_forms_are_refused(scene: Any, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    weights = scene[0] / "codec" / "diffusion_pytorch_model.safetensors"
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    with pytest.raises(UsageError, match=said):
        read_codec(str(tmp_path), load_generator, PICTURES)


def test_a_job_is_refused_before_anything_is_made(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    (tmp_path / "job.yaml").write_text(JOB.format(ready="digits").replace("size: 8", "size: 8, encode: codec"))
    (tmp_path / "codec").mkdir()
    told = {
        '{"_class_name": "VQModel"}': "holds a VQModel; only AutoencoderKL is read",
        "{}": "holds no autoencoder; name",
    }
    for config, said in told.items():
        (tmp_path / "codec" / "config.json").write_text(config)
        with pytest.raises(UsageError, match=said):
            plan_new(tmp_path / "job.yaml")
    assert not (tmp_path / "home").exists()


def test_what_is_gone_or_does_not_fit_is_said(scene: Any, tmp_path: Path) -> None:
    root, found = scene
    facts = facts_of(found)
    record = {**facts.codec_record, "where": str(tmp_path)}
    moved = LatentFacts(
        **{name: getattr(facts, name) for name in facts.__dataclass_fields__} | {"codec_record": record}
    )
    with pytest.raises(DataError, match="the codec of these latents is no longer in"):
        LatentCodec.of(moved, CPU)
    for name in ("codec.safetensors", "codec.json"):
        (tmp_path / name).write_bytes((root / "ready" / name).read_bytes())
    (tmp_path / "codec.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="holds another codec than that of these latents"):
        LatentCodec.of(moved, CPU)


@pytest.mark.slow
def test_the_encoder_is_that_of_a_run(scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(
        "name: ae\ndata: {modality: pair, source: digits, inputs: same, size: 8}\n"
        "generator: {use: autoencoder, width: 8, halvings: 1}\ndiscriminator: {use: cyclegan, width: 4, layers: 1}\n"
        "objective: autoencoder\nbatch: 8\nuntil: 2 steps\n"
    )
    run = api.train(tmp_path / "job.yaml", storage=str(tmp_path / "runs"))
    network, config = read_codec(run.folder.uri, load_generator, PICTURES)
    own = KlAutoencoder(**config["arguments"])
    own.load_state_dict(network.state_dict())
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), np.uint8)
    assert np.array_equal(encoder_of(network)(x), encoder_of(own)(x)) and encoder_of(network)(x).shape == (2, 8, 4, 4)
    # A job names the run as a person does, and keeps its checkpoint: `last` is another run before long.
    latent = tmp_path / "latent.yaml"
    latent.write_text(JOB.format(ready="digits").replace("size: 8", "size: 8, encode: last"))
    (checkpoint,) = run.folder.checkpoints().names()
    assert plan_new(latent).spec.data.model_dump()["encode"] == f"{run.folder.uri}/checkpoints/{checkpoint}"
    assert plan_new(latent, [f"data.encode={scene[0] / 'codec'}"]).spec.data.model_dump()["encode"].endswith("codec")
    with pytest.raises(UsageError, match=r"data\.encode: no run 'ae-not-there'"):
        plan_new(latent, ["data.encode=ae-not-there"])
    (tmp_path / "other.yaml").write_text(JOB.format(ready="digits"))
    other = api.train(tmp_path / "other.yaml", until="1 steps", metrics=[], storage=str(tmp_path / "runs"))
    with pytest.raises(UsageError, match=r"has no encoder and decoder; name a run of jobs/autoencoder\.yaml"):
        read_codec(other.folder.uri, load_generator, PICTURES)
    api.export(other, tmp_path / "exported")
    for named in (other.folder.uri, "exported"):
        with pytest.raises(
            UsageError, match=r"data\.encode: '.*' trained 'mlp', which has no encoder and decoder; name a"
        ):
            plan_new(latent, [f"data.encode={named}"])

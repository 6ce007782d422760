"""Latents as files, directions in closed form, photographs projected, and films."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan_dist.cli.pictures import parse_strengths
from gan_dist.data.facts import ImageFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError, UsageError
from gan_dist.generation import projection
from gan_dist.generation.directions import (
    Directions,
    direction_between,
    find_directions,
    principal,
    read_directions,
    sefa,
)
from gan_dist.generation.films import check_film, encode_film
from gan_dist.generation.interpolation import Keyframe, film_frames, interpolate, spline
from gan_dist.generation.latents import encode_latents, latents_of, pictures, read_latents
from gan_dist.generation.model import Model
from gan_dist.generation.projection import ProjectionPlan, Search, patterns, pixel_distance, project_all
from gan_dist.generation.samples import generate
from gan_dist.networks.image import dcgan, fastgan, r3gan2, stylegan2
from gan_dist.registry.slots import those_with
from tests.helpers import CPU, ROOT, small

Cli = Callable[..., tuple[Any, str, str]]
WIDE = torch.float64


def model_of(generator: nn.Module, use: str, name: str = "own", classes: tuple[str, ...] = ()) -> Model:
    facts = ImageFacts(count=9, size=16, channels=1, checksum="none", classes=classes)
    return Model(
        generator=generator.eval().requires_grad_(False),
        spec=small(generator={"use": use}),
        facts=facts,
        seen=9,
        uri="nowhere",
        name=name,
    )


def styled(**args: Any) -> Model:
    torch.manual_seed(0)
    net = stylegan2.Generator(size=16, channels=1, z=6, w=5, mapping=2, capacity=64, most=4, **args)
    for layer in net.layers:
        layer.strength.data.fill_(0.1)
    return model_of(net, "stylegan2", classes=tuple("abc") if args.get("classes") else ())


def plain() -> Model:
    torch.manual_seed(0)
    net = dcgan.Generator(size=16, channels=1, z=6, width=2)
    for part in net.body:
        if isinstance(part, nn.ConvTranspose2d):
            part.weight.data *= 20  # its first weights make nothing but grey
    return model_of(net, "dcgan")


def noisy() -> Model:
    torch.manual_seed(0)
    return model_of(r3gan2.Generator(size=16, channels=1, z=6, width=8, group=4, blocks=1), "r3gan2")


MODELS = {"stylegan2": styled, "dcgan": plain, "r3gan2": noisy}


# --- latents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_pictures_of_latents_are_the_samples(name: str) -> None:
    model = MODELS[name]()
    found = latents_of(model, [3, 5])
    assert found.space == ("w" if name == "stylegan2" else "z")
    wanted = torch.cat([generate(model.generator, 1, seed, None, CPU) for seed in (3, 5)])
    assert torch.equal(pictures(model, found), wanted)


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_the_pictures_back(name: str, ending: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    found, path = latents_of(model, [3, 5, 6]), tmp_path / f"latents{ending}"
    path.write_bytes(encode_latents(found, model, ending))
    again = read_latents(path, model)
    assert torch.equal(pictures(model, again), pictures(model, found))
    assert torch.equal(again.vectors, found.vectors)


def test_others_files_have_w_or_z_alone(tmp_path: Path) -> None:
    """As NVIDIA's projector writes w, [1, layers, d]; maps of noise are then those of the seeds."""
    model = styled(classes=3)
    own = latents_of(model, [0, 1], "b")
    np.savez(tmp_path / "projected_w.npz", w=own.vectors.numpy())
    assert torch.equal(pictures(model, read_latents(tmp_path / "projected_w.npz", model)), pictures(model, own))
    save_file({"z": own.noise["z"]}, tmp_path / "z.safetensors")
    made = read_latents(tmp_path / "z.safetensors", model, "b")
    assert made.space == "w" and torch.equal(made.vectors, own.vectors)
    save_file({"w": own.vectors[:, 0]}, tmp_path / "one.safetensors")
    assert torch.equal(read_latents(tmp_path / "one.safetensors", model).vectors, own.vectors)


@pytest.mark.parametrize(
    ("tensors", "model", "text"),
    [
        ({"w": torch.zeros(1, 2, 5)}, styled, "latents of another network: w of 2 x 5 numbers, here 6 x 5"),
        ({"w": torch.zeros(1, 6, 7)}, styled, "w of 6 x 7 numbers, here 6 x 5"),
        ({"w": torch.zeros(1, 6, 5)}, plain, "holds styles .w., but the generator 'dcgan' of own has none"),
        ({"z": torch.zeros(1, 9)}, plain, "z of 1 x 9 numbers, here 1 x 6"),
        ({"x": torch.zeros(1, 9)}, plain, "holds no latents: neither w nor z, but x"),
        ({"z": torch.zeros(1, 6), "noise.pixels.0": torch.zeros(1, 1, 4, 4)}, noisy, "noise.pixels.0 has other sizes"),
    ],
)
def test_latents_of_another_network_are_refused(
    tensors: dict[str, Tensor], model: Callable[[], Model], text: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=text):
        read_latents(tmp_path / "other.safetensors", model())


def test_what_is_no_file_of_latents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="cannot be read as latents"):
        read_latents(tmp_path / "broken.safetensors", plain())
    with pytest.raises(UsageError, match=r"\.safetensors or \.npz"):
        read_latents(tmp_path / "w.pt", plain())


# --- directions ------------------------------------------------------------------------------------------------------


def test_sefa_is_its_closed_form() -> None:
    """Eigenvalues add up to the number of outputs; orthogonal outputs have all of 1."""
    first, second = torch.randn(7, 4, dtype=WIDE), torch.randn(3, 4, dtype=WIDE)
    vectors, values = sefa([first, second])
    rows = torch.cat([first, second])
    rows = rows / rows.norm(dim=1, keepdim=True)
    assert values.sum().item() == pytest.approx(10) and torch.equal(values, values.sort(descending=True)[0])
    for vector, value in zip(vectors, values, strict=True):
        torch.testing.assert_close(rows.T @ (rows @ vector), value * vector)
    orthogonal = torch.linalg.qr(torch.randn(4, 4, dtype=WIDE))[0]
    torch.testing.assert_close(sefa([3 * orthogonal])[1], torch.ones(4, dtype=WIDE))


def test_principal_components_are_those_of_the_singular_values() -> None:
    rows = torch.randn(50, 4, dtype=WIDE) @ torch.diag(torch.tensor([3.0, 0.1, 1.0, 2.0], dtype=WIDE))
    vectors, values = principal(rows)
    _, singular, wanted = torch.linalg.svd(rows - rows.mean(0))
    torch.testing.assert_close(values, singular / 49**0.5)
    torch.testing.assert_close((vectors * wanted).sum(1).abs(), torch.ones(4, dtype=WIDE))
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(4, dtype=WIDE))


@pytest.mark.parametrize(
    ("name", "method"), [("stylegan2", "sefa"), ("stylegan2", "pca"), ("dcgan", "sefa"), ("r3gan2", "sefa")]
)
def test_directions_are_gone_along_in_their_layers(name: str, method: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    layers = range(1, 3) if name == "stylegan2" else None
    found = find_directions(model, method, layers, count=2)
    assert found.vectors.shape == (2, 5 if name == "stylegan2" else 6)
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(2))
    path = tmp_path / "directions.safetensors"
    path.write_bytes(found.content())
    again = read_directions(path, model)
    start = latents_of(model, [0, 1])
    moved = again.move(start, 1, torch.tensor([-2.0, 0.0, 3.0]))
    assert len(moved) == 6 and torch.equal(moved.vectors[[1, 4]], start.vectors)
    difference = moved.vectors[2] - start.vectors[0]
    for layer in range(start.vectors.shape[1]):
        wanted = 3 * found.scales[1] * found.vectors[1] if layer in found.layers else torch.zeros(1)
        torch.testing.assert_close(difference[layer], wanted.expand(difference.shape[1]), rtol=1e-4, atol=1e-5)


def test_a_direction_between_two_sets_leads_from_one_to_the_other(tmp_path: Path) -> None:
    model = styled()
    for name, seeds in (("with", [0, 1, 2]), ("without", [3, 4])):
        (tmp_path / f"{name}.npz").write_bytes(encode_latents(latents_of(model, seeds), model, ".npz"))
    found = direction_between(model, tmp_path / "with.npz", tmp_path / "without.npz")
    moved = found.move(latents_of(model, [3, 4]), 0, torch.ones(1))
    torch.testing.assert_close(moved.vectors.mean(0), latents_of(model, [0, 1, 2]).vectors.mean(0))


def test_directions_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    path.write_bytes(find_directions(model_of(plain().generator, "dcgan", "other"), "sefa").content())
    with pytest.raises(
        UsageError, match="holds directions of other, which mean nothing to own; make its own: gan-dist"
    ):
        read_directions(path, plain())
    ones = torch.ones(1)
    path.write_bytes(Directions(torch.ones(1, 9), ones, ones, (0,), "sefa", "own").content())
    with pytest.raises(UsageError, match="of another network than own's"):
        read_directions(path, plain())
    for make, text in (
        (
            lambda: find_directions(plain(), "pca"),
            "--method pca is of styles, and the generator 'dcgan' of own has none",
        ),
        (
            lambda: find_directions(model_of(fastgan.Generator(size=16, channels=1, z=6, width=2), "fastgan"), "sefa"),
            r"'fastgan' has no latent_weights\(\); mlp, dcgan, r3gan, r3gan2, stylegan2 and gat have",
        ),
        (lambda: find_directions(styled(), "sofa"), "--method 'sofa'; did you mean 'sefa'?"),
        (lambda: find_directions(styled(), "sefa", range(9)), "the generator has layers 0 to 5, not 8"),
    ):
        with pytest.raises(UsageError, match=text):
            make()


# --- projection ------------------------------------------------------------------------------------------------------


def test_patterns_are_told_from_noise() -> None:
    rng = single_lane_rng(("patterns",), 1, CPU, WIDE)
    noise = rng.normal(1, 16, 16)
    stripes = torch.ones(1, 1, 16, 16, dtype=WIDE)
    stripes[..., ::2] = -1
    assert patterns(noise).item() < 0.1
    # Of stripes each is the opposite of its left neighbour and equal to the one below; their 2x2 means are 0.
    assert patterns(stripes).item() == pytest.approx(2)


def test_pixels_are_compared_at_four_sizes() -> None:
    one, other = torch.zeros(1, 1, 16, 16, dtype=WIDE), torch.ones(1, 1, 16, 16, dtype=WIDE)
    assert pixel_distance(one, other).item() == pytest.approx(4)
    assert pixel_distance(one[..., :4, :4], other[..., :4, :4]).item() == pytest.approx(2)


def own_picture(model: Model, path: Path, seed: int = 5) -> Path:
    Image.fromarray(pictures(model, latents_of(model, [seed]))[0, 0].numpy()).save(path)
    return path


@pytest.mark.parametrize(("name", "space"), [("stylegan2", "w"), ("stylegan2", "w+"), ("dcgan", "z"), ("r3gan2", "z")])
def test_its_own_picture_comes_nearer(name: str, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MEAN_OF", 1000)
    model = MODELS[name]()
    picture = own_picture(model, tmp_path / "own.png")
    plan = ProjectionPlan(space=space, steps=40, features="none")
    ((_, target),) = projection._targets(model, str(picture), pytest.fail)
    search = Search(model, target, plan)
    search.advance()
    begun = search.distance
    (found,) = project_all(model, [str(picture)], plan, tmp_path / "out", lambda *told: None)
    assert found.distance < 0.9 * begun
    again = read_latents(found.latents, model)
    assert again.vectors.shape[1] == (6 if name == "stylegan2" else 1)
    same = bool((again.vectors == again.vectors[:, :1]).all())
    assert same == (space != "w+")
    shown = np.asarray(Image.open(found.picture).convert("L"))
    assert shown.shape[1] > shown.shape[0]


def test_results_of_another_search_stay(tmp_path: Path) -> None:
    """Of another picture of that name, of other weights, or with other options; --force replaces them."""
    model, plan, out = plain(), ProjectionPlan(steps=2, features="none"), tmp_path / "out"
    picture = own_picture(model, tmp_path / "one.png")
    (tmp_path / "other").mkdir()
    other = own_picture(model, tmp_path / "other" / "one.png", seed=6)
    project_all(model, [str(picture)], plan, out, lambda *told: None)
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError, match=r"one is there, of another search \(another picture\); choose another folder"):
        project_all(model, [str(other)], plan, out, lambda *told: None)
    with pytest.raises(UsageError, match=r"\(steps: 2, not 3\)"):
        project_all(model, [str(picture)], replace(plan, steps=3), out, lambda *told: None)
    with torch.no_grad():
        next(model.generator.parameters()).add_(1e-3)
    with pytest.raises(UsageError, match=r"\(other weights\)"):
        project_all(model, [str(picture)], plan, out, lambda *told: None)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept
    project_all(model, [str(other)], plan, out, lambda *told: None, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} != kept


def test_latents_of_nothing_and_of_no_numbers_are_refused(tmp_path: Path) -> None:
    model, path = plain(), tmp_path / "latents.npz"
    own = latents_of(model, [0, 1]).vectors.numpy()
    np.savez(path, z=own[:0])
    with pytest.raises(UsageError, match="holds latents of no picture: z has no rows"):
        read_latents(path, model)
    own[1, 0, 0] = np.nan
    np.savez(path, z=own)
    with pytest.raises(UsageError, match="z holds numbers that are not finite"):
        read_latents(path, model)


@pytest.mark.parametrize("written", ["nan", "-inf..3", "0..nan"])
def test_strengths_are_finite(written: str) -> None:
    with pytest.raises(UsageError, match=r"--strength .* must be of finite numbers"):
        parse_strengths(written)


def test_a_direction_between_folders_of_latents(tmp_path: Path) -> None:
    model = plain()
    for name, seeds in (("with", [1, 2, 3]), ("without", [4, 5])):
        (tmp_path / name).mkdir()
        for seed in seeds:
            content = encode_latents(latents_of(model, [seed]), model, ".npz")
            (tmp_path / name / f"{seed}.npz").write_bytes(content)
    found = direction_between(model, tmp_path / "with", tmp_path / "without")
    wanted = latents_of(model, [1, 2, 3]).vectors.mean((0, 1)) - latents_of(model, [4, 5]).vectors.mean((0, 1))
    torch.testing.assert_close(found.vectors[0] * found.scales[0], wanted)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files of latents"):
        direction_between(model, tmp_path / "with", tmp_path / "empty")


def test_a_projection_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MEAN_OF", 1000)
    monkeypatch.setattr(projection, "KEEP_EVERY", 3)
    model, plan = styled(), ProjectionPlan(space="w", steps=8, features="none", film="gif")
    picture = str(own_picture(model, tmp_path / "own.png"))
    (whole,) = project_all(model, [picture], plan, tmp_path / "whole", lambda *told: None)

    class Stop(Exception):
        pass

    def until_five(name: str, done: int, total: int) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        project_all(model, [picture], plan, tmp_path / "parts", until_five)
    steps: list[int] = []
    (parts,) = project_all(model, [picture], plan, tmp_path / "parts", lambda name, done, total: steps.append(done))
    assert steps == [4, 5, 6, 7, 8]
    one, other = (load_file(found.latents) for found in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in (*one, *other)) and whole.distance == parts.distance
    assert whole.film is not None and parts.film is not None
    assert whole.film.read_bytes() == parts.film.read_bytes() and not list((tmp_path / "parts").glob(".*"))
    project_all(model, [picture], plan, tmp_path / "parts", lambda *told: pytest.fail("it is there already"))


def test_a_broken_photograph_of_a_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MEAN_OF", 100)
    model, plan, told = plain(), ProjectionPlan(steps=1, features="none"), list[str]()
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.png").write_bytes(own_picture(model, photos / "whole.png").read_bytes()[:60])
    found = project_all(model, [str(photos)], plan, tmp_path / "out", lambda *so_far: None, warn=told.append)
    assert [one.name for one in found] == ["whole"] and len(told) == 1
    assert told[0].startswith(f"{str(photos / 'broken.png')!r} is left out: ")
    with pytest.raises(DataError, match=r"broken\.png' cannot be used: "):
        project_all(model, [str(photos / "broken.png")], plan, tmp_path / "one", lambda *so_far: None)
    (photos / "whole.png").unlink()
    with pytest.raises(DataError, match="holds no pictures that can be read"):
        project_all(model, [str(photos)], plan, tmp_path / "none", lambda *so_far: None, warn=told.append)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"space": "w"}, "--space w: the generator 'dcgan' of own has no styles; take --space z"),
        ({"space": "w+"}, "has no styles"),
        ({"space": "v"}, "--space 'v'"),
        ({"noise": "of"}, "--noise 'of'; did you mean 'off'?"),
        ({"film": "avi"}, "--film 'avi'"),
        ({"features": "vgg16"}, "--features vgg16 looks at pictures from 32 pixels on; take --features none"),
    ],
)
def test_what_cannot_be_projected_is_refused(changes: dict[str, str], text: str, tmp_path: Path) -> None:
    picture = str(own_picture(plain(), tmp_path / "own.png"))
    with pytest.raises(UsageError, match=text):
        plan = ProjectionPlan(**changes)
        plan.check()
        project_all(plain(), [picture], plan, tmp_path / "out", lambda *told: None)


def test_the_page_names_all_that_have_them() -> None:
    lines = (ROOT / "gan_dist" / "docs" / "latents.md").read_text().splitlines()
    for start, name in (("| `sefa` |", "latent_weights"), ("| `pca` |", "styles")):
        (row,) = [line for line in lines if line.startswith(start)]
        for one in those_with("generator", name).removesuffix(" have").replace(" and ", ", ").split(", "):
            assert f"`{one}`" in row


# --- films -----------------------------------------------------------------------------------------------------------


def test_a_closed_spline_has_no_bend_where_it_begins_anew() -> None:
    points = torch.randn(5, 3, dtype=WIDE)
    curve = spline(torch.cat([points, points[:1]]), closed=True)
    for leg in range(5):
        torch.testing.assert_close(curve(leg, torch.zeros(1, dtype=WIDE))[0], points[leg])
    step = torch.tensor([1e-4], dtype=WIDE)
    after = (curve(0, step) - points[0]) / 1e-4
    before = (points[0] - curve(4, 1 - step)) / 1e-4
    torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("way", ["line", "sphere", "spline"])
def test_a_film_shows_each_place_once(way: str) -> None:
    model = styled()
    places = [Keyframe(0), Keyframe(1), Keyframe(2)]
    stills = interpolate(model, places, 2, way)
    film = film_frames(model, places, 4, way)
    assert len(film) == 9
    assert torch.equal(film[0], stills[0]) and torch.equal(film[4], stills[2]) and torch.equal(film[8], stills[3])
    loop = film_frames(model, places, 4, way, loop=True, ease=True)
    assert len(loop) == 12 and torch.equal(loop[0], film[0]) and torch.equal(loop[8], film[8])
    near, far = (float((loop[at].float() - loop[at + 1].float()).abs().mean()) for at in (0, 1))
    assert near < far, "slow at each place"


def test_films_are_what_their_ending_says() -> None:
    frames = torch.randint(0, 255, (5, 3, 16, 16), dtype=torch.uint8)
    gif = Image.open(io.BytesIO(encode_film(frames, ".gif", 10)))
    assert (gif.n_frames, gif.info["duration"]) == (5, 100)


@pytest.mark.parametrize(("ending", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_films_by_pyav(ending: str, codec: str) -> None:
    av = pytest.importorskip("av", reason="the extra video is not installed")
    frames = torch.zeros(5, 1, 15, 21, dtype=torch.uint8)
    frames[3:] = 200
    content = encode_film(frames, ending, 12.5)
    with av.open(io.BytesIO(content)) as file:
        stream = file.streams.video[0]
        shown = [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]
        assert stream.codec_context.name in (codec, f"lib{codec}") and float(stream.average_rate) == 12.5
    assert len(shown) == 5 and shown[0].shape[0] % 2 == 0 == shown[0].shape[1] % 2
    assert shown[0].mean() < 30 and shown[4].mean() > 150


def test_a_film_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.generation.films.find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"--out 'walk.mp4': a film of .mp4 wants PyAV: pip install 'gan-dist\[video\]'"
    ):
        check_film(Path("walk.mp4"))
    check_film(Path("walk.gif"))


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.test_averages import stored_run

    spec = small(
        generator={"use": "stylegan2", "z": 6, "w": 5, "mapping": 2, "capacity": 64, "most": 4},
        data={"source": "digits", "size": 16},
        until="1 steps",
    )
    return stored_run(spec, tmp_path_factory.mktemp("latents") / "styled-run")


def ok(cli: Cli, *words: object) -> str:
    code, out, err = cli(*map(str, words))
    assert code == 0, out + err
    return out


@pytest.mark.slow
def test_the_commands_go_hand_in_hand(run: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "MEAN_OF", 1000)
    at = tmp_path / "found.safetensors"
    told = json.loads(ok(cli, "latents", "directions", run, "--count", 3, "--layers", "0-2", "--out", at, "--json"))
    assert len(told["values"]) == 3 and told["layers"] == [0, 1, 2] and Image.open(told["files"][1]).width > 600
    ok(
        cli,
        "sample",
        run,
        "--direction",
        f"{at}:3",
        "--seed",
        "0-1",
        "--out",
        tmp_path / "d.png",
        "--strength",
        "-2..2",
    )
    ok(cli, "sample", run, "--direction", f"{at}:1", "--out", tmp_path / "d.gif", "--steps", 3)
    assert Image.open(tmp_path / "d.gif").n_frames == 4, "there and back"
    ok(cli, "sample", run, "--latents-out", tmp_path / "w.npz", "--seed", "4-5", "--out", tmp_path / "seeds.png")
    ok(cli, "sample", run, "--latents", tmp_path / "w.npz", "--out", tmp_path / "again.png")
    assert (tmp_path / "seeds.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    picture = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(picture)
    told = json.loads(ok(cli, "latents", "project", run, picture, "--steps", 2, "--out", tmp_path / "p", "--json"))
    latents = told["projected"][0]["latents"]
    ok(cli, "sample", run, "--latents", latents, "--direction", f"{at}:2", "--out", tmp_path / "moved.png")
    walk = ("--interpolate", "spline", "--loop", "--ease", "--steps", 3, "--grid", "1x2", "--seed", "0-5")
    ok(cli, "sample", run, *walk, "--out", tmp_path / "walk.gif")
    assert Image.open(tmp_path / "walk.gif").n_frames == 9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--direction", "d.safetensors:1"), "'d.safetensors' cannot be read as directions"),
        (("--direction", "d.safetensors"), "must be FILE:NUMBER"),
        (("--direction", "d:1", "--mix", "2"), "--mix and --direction are two pictures"),
        (("--loop",), "--loop, --ease and --grid are for films"),
        (("--latents", "w.npz", "--interpolate", "line"), "--latents is shown as it is"),
        (("--interpolate", "line", "--seed", "0-4", "--grid", "2x1", "--out", "w.gif"), "5 seeds are not two or more"),
        (("--interpolate", "lines", "--seed", "0-1"), "--interpolate 'lines'; did you mean 'line'?"),
    ],
)
def test_options_that_do_not_fit_are_refused(run: Path, words: tuple[str, ...], text: str, cli: Cli) -> None:
    code, _, err = cli("sample", str(run), *words)
    assert code == 2 and text in err

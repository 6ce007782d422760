"""What is done with styles, directions and photographs works on generators of latents: networks see maps, people
pictures."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_dist.data.encoding import image
from gan_dist.data.facts import LatentFacts
from gan_dist.errors import UsageError
from gan_dist.generation import directions, export, projection
from gan_dist.generation.directions import direction_sheet, find_directions
from gan_dist.generation.interpolation import Keyframe, interpolate, style_mix
from gan_dist.generation.latent_codec import LatentCodec, codec_files
from gan_dist.generation.latents import encode_latents, has_styles, latents_of, pictures, read_latents
from gan_dist.generation.model import Model
from gan_dist.generation.projection import ProjectionPlan, Search, project_all
from gan_dist.generation.samples import first_noise, generate
from gan_dist.networks.image import gat, r3gan2, stylegan2
from gan_dist.networks.image.autoencoder import KlAutoencoder
from tests.helpers import CPU, small

SIDE, MAPS = 16, {"size": 8, "channels": 2}
CODEC: dict[str, Any] = {"channels": 1, "latent": 2, "widths": [4, 8], "layers": 1, "groups": 2, "attention": False}
STYLED: dict[str, Any] = {"z": 6, "w": 5, "mapping": 2, "capacity": 64, "most": 4}
GENERATORS: dict[str, Callable[[], nn.Module]] = {
    "stylegan2": lambda: stylegan2.Generator(**MAPS, **STYLED),
    "gat": lambda: gat.Generator(**MAPS, z=6, hidden=8, depth=4, heads=2),
    "r3gan2": lambda: r3gan2.Generator(**MAPS, z=6, width=8, group=4, blocks=1),
}
STYLES = ("stylegan2", "gat")


@pytest.fixture
def codec(tmp_path: Path) -> LatentFacts:
    """Facts of latents whose codec, with fresh weights, lies in a folder."""
    torch.manual_seed(1)
    known, files = codec_files(KlAutoencoder(**CODEC), {"arguments": CODEC}, "here")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    record = known | {"where": str(tmp_path), "mean": [0.1, -0.2], "deviation": [0.5, 2.0]}
    return LatentFacts(**MAPS, count=9, checksum="", codec_record=record, picture_size=SIDE, picture_channels=1)


@pytest.fixture
def make(codec: LatentFacts) -> Callable[[str], Model]:
    def made(name: str) -> Model:
        torch.manual_seed(0)
        net = GENERATORS[name]().eval().requires_grad_(False)
        return Model(generator=net, spec=small(generator={"use": name}), facts=codec, seen=9, uri="nowhere", name="own")

    return made


def shown(model: Model, maps: Tensor) -> Tensor:
    return image.decode(LatentCodec.of(model.facts, CPU).decode(maps))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", GENERATORS)
def test_a_decoded_generator_has_what_its_generator_has(name: str, make: Callable[[str], Model]) -> None:
    model = make(name)
    for word in ("styles", "synthesis", "latent_weights", "truncation", "truncation_layers", "drawing", "nothing"):
        assert hasattr(model.generator, word) == hasattr(model.network, word), word
    assert has_styles(model.generator) == (name in STYLES)
    with pytest.raises(AttributeError, match="nothing"):
        model.generator.nothing  # noqa: B018
    for other in (copy.deepcopy(model.generator), pickle.loads(pickle.dumps(model.generator))):
        assert torch.equal(generate(other, 2, 0, None, CPU), generate(model.generator, 2, 0, None, CPU))


@pytest.mark.parametrize("name", GENERATORS)
def test_pictures_of_latents_are_the_samples(name: str, make: Callable[[str], Model], tmp_path: Path) -> None:
    model = make(name)
    found, path = latents_of(model, [3, 5]), tmp_path / "latents.npz"
    assert found.space == ("w" if name in STYLES else "z")
    made = pictures(model, found)
    assert made.shape == (2, 1, SIDE, SIDE)
    noise = first_noise(model.generator, [3, 5], CPU)
    assert torch.equal(made, shown(model, model.network(noise)))
    path.write_bytes(encode_latents(found, model, ".npz"))
    assert torch.equal(pictures(model, read_latents(path, model)), made)


def test_truncation_is_set_on_the_generator_and_taken_back(make: Callable[[str], Model]) -> None:
    model = make("stylegan2")
    styles: Any = model.network
    before = model.sample(3)
    with model.drawing(truncation=0.0):
        found = latents_of(model, [0, 1]).vectors
    torch.testing.assert_close(found[0], found[1])
    with model.drawing(truncation=0.0, truncation_layers=[1]):
        bounded = latents_of(model, [0, 1]).vectors
    assert torch.equal(bounded[:, 1], found[:, 1]) and not torch.equal(bounded[0, 0], bounded[1, 0])
    assert styles.truncation == 1 and styles.truncation_layers is None
    assert torch.equal(model.sample(3), before)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'r3gan2' has none"):
        make("r3gan2").sample(1, truncation=0.5)


@pytest.mark.parametrize("name", STYLES)
def test_styles_are_travelled_between_and_mixed(name: str, make: Callable[[str], Model]) -> None:
    model = make(name)
    ends = pictures(model, latents_of(model, [1, 2]))
    for way in ("line", "spline"):
        made = interpolate(model, [Keyframe(1), Keyframe(2)], 3, way)
        assert made.shape == (3, 1, SIDE, SIDE)
        assert (made[0].int() - ends[0].int()).abs().max() <= 1
    mixed = style_mix(model, [1], [2], range(1), None)
    assert mixed.shape == (4, 1, SIDE, SIDE) and torch.equal(mixed[2], ends[0])


@pytest.mark.parametrize(("name", "method"), [(one, "sefa") for one in GENERATORS] + [(one, "pca") for one in STYLES])
def test_directions(name: str, method: str, make: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "DRAWN", 500)
    model = make(name)
    found = find_directions(model, method, count=2)
    start = latents_of(model, [0])
    moved = pictures(model, found.move(start, 0, torch.tensor([-3.0, 0.0, 3.0])))
    assert torch.equal(moved[1], pictures(model, start)[0]) and not torch.equal(moved[0], moved[2])
    assert direction_sheet(model, found, 0, 2.0, None).width > 600


@pytest.mark.parametrize(("name", "space"), [("stylegan2", "w"), ("stylegan2", "w+"), ("gat", "w"), ("r3gan2", "z")])
def test_its_own_picture_comes_nearer(
    name: str, space: str, make: Callable[[str], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MEAN_OF", 500)
    model = make(name)
    picture = tmp_path / "own.png"
    Image.fromarray(pictures(model, latents_of(model, [5]))[0, 0].numpy()).save(picture)
    plan = ProjectionPlan(space=space, steps=30, features="none")
    ((_, target),) = projection._targets(model, str(picture), pytest.fail)
    assert target.shape == (1, SIDE, SIDE)
    search = Search(model, target, plan)
    search.advance()
    (found,) = project_all(model, [str(picture)], plan, tmp_path / "out", lambda *told: None)
    assert found.distance < 0.9 * search.distance
    again = pictures(model, read_latents(found.latents, model))
    assert again.shape == (1, 1, SIDE, SIDE)


@pytest.mark.slow
def test_its_program_makes_any_number_of_pictures(make: Callable[[str], Model], tmp_path: Path) -> None:
    """More than are decoded at a time, too."""
    model = make("stylegan2")
    export.write_torch(model, tmp_path / "model.pt2")
    given = export.example_inputs(model, 70)
    made = torch.export.load(tmp_path / "model.pt2").module()(**given)
    torch.testing.assert_close(made, model.generator(given["noise"]), rtol=1e-4, atol=1e-4)

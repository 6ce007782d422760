"""Ways between samples begin and end at samples, arcs keep lengths, and mixed styles are those of two samples."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_dist
from gan_dist.data.encoding.image import encode_gif
from gan_dist.generation.interpolation import EMPTY, Keyframe, interpolate, lerp, parse_keyframes, slerp, style_mix
from gan_dist.generation.model import Model
from gan_dist.generation.samples import first_noise
from tests.helpers import CPU

JOB = """
name: ways
data: {{source: digits, size: 8, labels: source}}
generator: {generator}
discriminator: {{use: mlp, hidden: 8, layers: 1}}
objective: hinge
batch: 8
until: 2 steps
"""
GENERATORS = {
    "mlp": "{use: mlp, hidden: 8, layers: 1, z: 4}",
    "stylegan2": "{use: stylegan2, z: 8, w: 8, mapping: 1, capacity: 64, most: 8}",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Model]]:
    root, found = tmp_path_factory.mktemp("ways"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        for name, generator in GENERATORS.items():
            (root / f"{name}.yaml").write_text(JOB.format(generator=generator))
            found[name] = gan_dist.load(gan_dist.train(root / f"{name}.yaml", storage=str(root / "runs")))
        yield found


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for how a number was rounded to a whole grey value."""
    return one.shape == other.shape and bool((one.int() - other.int()).abs().max() <= 1)


def test_an_arc_keeps_lengths_and_has_equal_angles() -> None:
    start, end = torch.tensor([2.0, 0, 0]).double(), torch.tensor([0, 2.0, 0]).double()
    found = slerp(start, end, torch.linspace(0, 1, 4).double())
    angles = torch.arange(4).double() * math.pi / 6
    wanted = 2 * torch.stack([angles.cos(), angles.sin(), torch.zeros(4).double()], 1)
    assert torch.allclose(found, wanted, atol=1e-12)
    assert torch.equal(slerp(start, start, torch.tensor([0.0, 0.5]).double()), start.expand(2, -1))
    assert torch.allclose(lerp(start, end, torch.tensor([0.5]).double()), torch.tensor([[1.0, 1, 0]]).double())


@pytest.mark.parametrize("way", ["line", "sphere"])
def test_a_way_begins_and_ends_at_samples(models: dict[str, Model], way: str) -> None:
    model = models["mlp"]
    found = interpolate(model, [Keyframe(3), Keyframe(9), Keyframe(4, "7")], 5, way)
    assert found.shape == (10, 1, 8, 8) and found.dtype == torch.uint8
    for place, seed, cls in ((0, 3, 0), (4, 9, 0), (5, 9, 0), (9, 4, 7)):
        assert near(found[place : place + 1], model.sample(1, seed=seed, class_label=cls))
    assert not near(found[2], found[0]) and not near(found[2], found[4])


def test_classes_blend(models: dict[str, Model]) -> None:
    """Half way between two classes the network gets half of each one's code."""
    model = models["mlp"]
    found = interpolate(model, parse_keyframes([3], ["2", "5"]), 3, "line")
    code = torch.zeros(1, 10)
    code[0, [2, 5]] = 0.5
    noise = first_noise(model.generator, [3], CPU)
    half = (model.generator(noise, code) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    assert near(found[1:2], half) and near(found[2:], model.sample(1, seed=3, class_label=5))


def test_a_line_between_styles_starts_at_a_sample_and_keeps_its_pixels_noise(models: dict[str, Model]) -> None:
    model = models["stylegan2"]
    found = interpolate(model, [Keyframe(3), Keyframe(9)], 3, "line")
    assert near(found[:1], model.sample(1, seed=3))
    generator, noise = model.generator, first_noise(model.generator, [3, 9], CPU)
    styles = generator.styles(noise, torch.zeros(2, dtype=torch.int64))
    first = {**noise, "pixels": [one[:1] for one in noise["pixels"]]}
    half = generator.synthesis(styles.mean(0, keepdim=True), first)
    assert near(found[1:2], (half * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8))


def test_places_are_seeds_and_classes_side_by_side() -> None:
    assert parse_keyframes([1, 2], []) == [Keyframe(1), Keyframe(2)] and parse_keyframes([1], ["a", "b"]) == [
        Keyframe(1, "a"),
        Keyframe(1, "b"),
    ]
    assert parse_keyframes([1, 2], ["a"]) == [Keyframe(1, "a"), Keyframe(2, "a")]
    with pytest.raises(ValueError, match="as many classes as seeds, or one; not 3 and 2"):
        parse_keyframes([1, 2], ["a", "b", "c"])


def test_mixed_styles(models: dict[str, Model]) -> None:
    model = models["stylegan2"]
    rows, columns = [1, 2], [5, 6, 7]
    found = style_mix(model, rows, columns, None, "4").view(3, 4, 1, 8, 8)
    assert (found[0, 0] == EMPTY).all()
    for place, seed in enumerate(columns):
        assert near(found[0, place + 1], model.sample(1, seed=seed, class_label=4)[0])
    for place, seed in enumerate(rows):
        assert near(found[place + 1, 0], model.sample(1, seed=seed, class_label=4)[0])
    noise = first_noise(model.generator, [2, 7], CPU)
    styles = model.generator.styles(noise, torch.full((2,), 4))
    layers = styles.shape[1]
    both = torch.cat([styles[1:, : layers // 2], styles[:1, layers // 2 :]], 1)
    own = {**noise, "pixels": [one[:1] for one in noise["pixels"]]}
    made = (model.generator.synthesis(both, own) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    assert near(found[2, 3], made[0])
    with pytest.raises(ValueError, match=f"the generator has layers 0 to {layers - 1}, not 2-{layers}"):
        style_mix(model, rows, columns, range(2, layers + 1), "4")


def test_what_has_no_way(models: dict[str, Model]) -> None:
    with pytest.raises(ValueError, match="has no styles; stylegan2 and gat have"):
        style_mix(models["mlp"], [1], [2], None, None)
    with pytest.raises(ValueError, match="class 'ten': the model has no such class"):
        interpolate(models["mlp"], parse_keyframes([1], ["1", "ten"]), 3, "line")


def test_a_gif_holds_every_picture(tmp_path: Path) -> None:
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).mul(40).expand(-1, 1, 8, 8)
    with Image.open(io.BytesIO(encode_gif(pixels))) as opened:
        assert opened.n_frames == 5 and opened.size == (240, 240)
        for number in range(5):
            opened.seek(number)
            assert (np.asarray(opened.convert("L")) == 40 * number).all()


def test_of_one_class_any_network_makes_a_way(models: dict[str, Model]) -> None:
    """A person's own may take numbers of classes only, as an embedding does."""
    model = models["mlp"]
    seen: list[torch.Tensor] = []
    with model.generator.register_forward_pre_hook(lambda module, given: seen.append(given[1])):
        interpolate(model, [Keyframe(1, "3"), Keyframe(2, "3")], 3, "line")
        interpolate(model, [Keyframe(1, "3"), Keyframe(2, "4")], 3, "line")
    assert seen[0].tolist() == [3, 3, 3] and seen[0].dtype == torch.int64
    assert seen[1].shape == (3, 10) and seen[1][1, 3] == seen[1][1, 4] == 0.5

"""`gan-dist validate` knows which sizes of images a component takes, from the source of its class alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gan_dist.registry.build import build_networks
from gan_dist.registry.lookup import ALIASES, check_job
from gan_dist.registry.signatures import read_constant, read_signature
from gan_dist.spec.job import JobSpec
from tests.helpers import ROOT, rows_of, small

OWN = """
import torch
from torch import nn
from gan_dist.networks.image import mlp
from gan_dist.networks.image.dcgan import Generator as Dcgan

class Square(nn.Module):
    def __init__(self, *, size: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, size, size))

class Steps(Square):
    sizes = {"least": 8, "multiple": 8}

class Inherits(Dcgan):
    pass

class Wrong(Square):
    sizes = "any"
"""
DOUBLED = "both sides multiples of a power of two, the shorter one 4 to 7 times it"


def told(
    size: Any, generator: str = "mlp", discriminator: str = "mlp", roots: tuple[Path, ...] = (), **more: Any
) -> list[str]:
    tree = {
        "data": {"source": "digits", "size": size, **more.pop("data", {})},
        "generator": {"use": generator},
        "discriminator": {"use": discriminator},
        **more,
    }
    return [f"{problem.key}: {problem.message}" for problem in check_job(tree, roots=roots)]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own_sizes.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize("size", [48, [32, 48], [48, 32], [30, 50]], ids=str)
def test_what_can_be_made_is_let_through(size: Any) -> None:
    assert told(size) == []
    if size != [30, 50]:
        names = [name for name in ALIASES["generator"] if name in ALIASES["discriminator"] and name != "vae"]
        pictures = [
            name for name in names if "size" in {one.name for one in read_signature(ALIASES["generator"][name]).params}
        ]
        assert len(pictures) == 12
        modalities = {"pix2pix": "pair", "cyclegan": "unpaired"}
        for name in pictures:
            assert told(size, name, name, data={"modality": modalities.get(name, "image")}) == []


def test_what_cannot_be_made_is_named_with_the_nearest_size_and_who_makes_it() -> None:
    assert told([30, 50], "dcgan") == [
        f"data.size: [30, 50], but generator 'dcgan' takes 16 to 256 pixels, {DOUBLED}; [32, 48] is nearest; or use mlp"
    ]
    (found,) = told(600, discriminator="r3gan")
    assert found.startswith("data.size: 600, but discriminator 'r3gan' takes 8 to 256 pixels, ")
    assert found.endswith("; 256 is nearest; or use mlp, projected, cyclegan")
    (found,) = told([40, 64], "pix2pix", "pix2pix", data={"modality": "pair"})
    assert found.endswith(
        " takes 16 to 1024 pixels, both sides multiples of 16; [32, 64] is nearest; or use cyclegan, autoencoder"
    )
    metrics = [{"use": "kid", "features": {"use": "lpips"}}]
    (found,) = told([16, 48], metrics=metrics)
    assert found.startswith("data.size: [16, 48], but extractor 'lpips' takes 32 to 2048 pixels; [32, 48] is nearest")


def test_own_networks_take_what_their_classes_say(own: Path) -> None:
    roots = (own,)
    assert told(48, "own_sizes:Square", roots=roots) == told([24, 32], "own_sizes:Steps", roots=roots) == []
    (square,) = told([24, 32], "own_sizes:Square", roots=roots)
    assert square.startswith(
        "data.size: [24, 32] is no square, and generator 'own_sizes:Square' takes squares alone, as its class says no "
        "`sizes`; 24 is one; or use mlp, dcgan,"
    )
    (steps,) = told(30, "own_sizes:Steps", roots=roots)
    assert "generator 'own_sizes:Steps' takes 8 to 2048 pixels, both sides multiples of 8; 32 is nearest" in steps
    (inherited,) = told([30, 50], "own_sizes:Inherits", roots=roots)
    assert "'own_sizes:Inherits' takes 16 to 256 pixels" in inherited
    (wrong,) = told(32, "own_sizes:Wrong", roots=roots)
    assert wrong.startswith("generator.use: sizes = 'any' must be a mapping of whole numbers by some of least, most")


def test_whoever_does_not_ask_validate_is_told_when_it_is_built(own: Path) -> None:
    spec = small(data={"source": "digits", "size": [8, 12]})
    facts = rows_of(spec).facts
    assert build_networks(spec, facts).keys() == {"generator", "discriminator"}
    squares = JobSpec.model_validate(
        {**spec.model_dump(), "generator": {"use": "own_sizes:Square"}, "environment": {"code": str(own)}}
    )
    sys.path.insert(0, str(own))
    try:
        with pytest.raises(
            ValueError, match=r"^data.size: \[8, 12\] is no square, and generator 'own_sizes:Square' takes"
        ):
            build_networks(squares, facts)
    finally:
        sys.path.remove(str(own))


def test_attributes_are_inherited_as_python_does(own: Path) -> None:
    assert read_constant("own_sizes:Inherits", "sizes", [own]) == {"least": 16, "most": 256, "base": 4}
    assert read_constant("own_sizes:Inherits", "channels_last", [own]) is True
    assert read_constant("own_sizes:Square", "sizes", [own]) is None


def test_asking_costs_no_torch(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: a\ndata: {source: digits, size: [30, 50]}\ngenerator: dcgan\ndiscriminator: dcgan\n"
                   "objective: hinge\nbatch: 8\nuntil: 1 steps\n")  # fmt: skip
    code = (
        "import sys\nfrom gan_dist.launch.load_job import load_job\n"
        f"try:\n    load_job({str(job)!r})\nexcept ValueError as error:\n    print(str(error).count('is nearest'))\n"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "False"]


def test_the_page_of_networks_says_what_their_classes_say() -> None:
    page = (ROOT / "gan_dist" / "docs" / "networks.md").read_text()
    for kind, aliases in ALIASES.items():
        for alias, target in aliases.items() if kind in ("generator", "discriminator", "network") else ():
            if not (says := read_constant(target, "sizes")):
                continue
            row = next(
                line for line in page.splitlines() if line.startswith(f"| `{alias}` | ") and "pixels" not in line
            )
            assert f"{says['least']} to {says['most']}" in row if "most" in says else f"from {says['least']}" in row
            assert ("doubled" in row) == ("base" in says) or alias == "pix2pix"

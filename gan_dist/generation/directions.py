"""Directions in a generator's latents along which its pictures change in one way: found, stored, and gone along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gan_dist.data.encoding import image
from gan_dist.errors import UsageError
from gan_dist.generation.latents import (
    Latents,
    has_styles,
    in_layers,
    latent_files,
    latents_of,
    many_styles,
    pictures,
    read_latents,
)
from gan_dist.generation.model import Model
from gan_dist.registry.slots import those_with
from gan_dist.spec.problems import suggestion

METHODS = ("sefa", "pca")
DRAWN = 10_000  # styles that PCA is of
COLUMNS = 7
LABEL = 90  # pixels of a sheet beside each row


@dataclass(frozen=True)
class Directions:
    """Directions in the latents of one generator, the strongest first.

    Attributes:
        vectors: unit vectors [K, d].
        scales: [K], what a strength of 1 is along each.
        values: [K], how strong each is: an eigenvalue of SeFa, a standard deviation of PCA, a distance.
        layers: where they are added.
        method: how they were found.
        run: whose they are.
    """

    vectors: Tensor
    scales: Tensor
    values: Tensor
    layers: tuple[int, ...]
    method: str
    run: str

    def content(self) -> bytes:
        """As a file's."""
        tensors = {"directions": self.vectors, "scales": self.scales, "values": self.values}
        tensors["layers"] = torch.tensor(self.layers)
        # Copies, as two of them may be one.
        return save({name: one.clone() for name, one in tensors.items()}, {"method": self.method, "run": self.run})

    def move(self, latents: Latents, number: int, strengths: Tensor) -> Latents:
        """Each picture at each strength, one picture after the other: [N * S].

        Args:
            number: of the direction, from 0.
        """
        step = (self.scales[number] * self.vectors[number]).to(latents.vectors)
        count = len(strengths)
        rows = [row for row in range(len(latents)) for _ in range(count)]
        moved = latents.take(rows)
        by = strengths.to(latents.vectors).repeat(len(latents))[:, None, None]
        return replace(moved, vectors=in_layers(moved.vectors, self.layers, lambda part: part + by * step))


def find_directions(
    model: Model, method: str, layers: Sequence[int] | None = None, count: int = 8, cls: str | None = None
) -> Directions:
    """The strongest directions of a generator.

    `sefa`: those that change most what layers make of the latent, in closed form (Shen and Zhou 2021, arXiv 2007.06600,
    equation 7). `pca`: those along which styles differ most (Harkonen et al. 2020, arXiv 2004.02546, section 2.1).

    Args:
        layers: which layers are looked at and changed; None for all.
        count: how many.
        cls: the class of the styles that PCA is of; None for all.

    Raises:
        UsageError: the generator has none of them, or not so many layers.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method!r}{suggestion(method, METHODS)}")
    shape = latents_of(model, [0], cls).vectors.shape
    chosen = tuple(range(shape[1]) if layers is None else layers)
    if chosen and chosen[-1] >= shape[1]:
        raise UsageError(f"--layers: the generator has layers 0 to {shape[1] - 1}, not {chosen[-1]}")
    if method == "sefa":
        vectors, values = sefa([matrix.to(model.device) for matrix in _matrices(model, chosen)])
        scales = torch.ones_like(values)
    else:
        vectors, values = principal(_styles(model, cls))
        scales = values
    vectors, scales, values = (one[:count].float().cpu() for one in (vectors, scales, values))
    return Directions(vectors, scales, values, chosen, method, model.name)


def direction_between(model: Model, having: Path, lacking: Path) -> Directions:
    """The one direction from the mean of some latents to that of others, whose pictures have what the first lack.

    Args:
        having, lacking: a file of latents each, or a folder of them, as `project` writes.
    """
    there, here = (
        torch.cat([read_latents(file, model).vectors for file in latent_files(path)]) for path in (having, lacking)
    )
    way = (there.mean((0, 1)) - here.mean((0, 1))).float().cpu()
    if not (length := way.norm()):
        raise UsageError(f"{str(having)!r} and {str(lacking)!r} hold the same latents on average")
    layers = tuple(range(there.shape[1]))
    return Directions((way / length)[None], length[None], length[None], layers, "difference", model.name)


def read_directions(path: Path, model: Model) -> Directions:
    """Those of a file.

    Raises:
        UsageError: it is no file of directions, or they are those of another network.
    """
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
            names = ("directions", "scales", "values", "layers")
            vectors, scales, values, layers = (file.get_tensor(name) for name in names)
    except Exception as error:
        raise UsageError(f"{str(path)!r} cannot be read as directions: {error}") from error
    if told.get("run") != model.name:
        raise UsageError(
            f"{str(path)!r} holds directions of {told.get('run')}, which mean nothing to {model.name}; make its own: "
            f"gan-dist latents directions {model.name}"
        )
    size = latents_of(model, [0]).vectors.shape[1:]
    if vectors.shape[1] != size[1] or int(layers.max()) >= size[0]:
        raise UsageError(f"{str(path)!r} holds directions of another network than {model.name}'s")
    return Directions(vectors, scales, values, tuple(layers.tolist()), told["method"], told["run"])


def sefa(matrices: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Eigenvectors [d, d] by rows, and eigenvalues [d], the largest first, of the outputs' unit columns.

    Args:
        matrices: [outputs, d] each, by which layers take a latent.
    """
    rows = torch.cat([matrix.double() for matrix in matrices])
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    return vectors.flip(1).T, values.flip(0)


def principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components [d, d] by rows, and standard deviations [d], the largest first, of rows [N, d]."""
    centred = rows.double() - rows.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    return vectors.flip(1).T, values.flip(0).clamp_min(0).sqrt()


def direction_sheet(model: Model, directions: Directions, seed: int, reach: float, cls: str | None) -> Image.Image:
    """One row for each direction: the first sample of a seed at strengths from -reach to reach, with their numbers."""
    start, strengths = latents_of(model, [seed], cls), torch.linspace(-reach, reach, COLUMNS)
    count = len(directions.vectors)
    made = torch.cat([pictures(model, directions.move(start, number, strengths)) for number in range(count)])
    sheet = image.enlarge(image.make_grid(made, COLUMNS), 640).convert("RGB")
    framed = Image.new("RGB", (sheet.width + LABEL, sheet.height + 20), (245, 245, 245))
    framed.paste(sheet, (LABEL, 20))
    draw = ImageDraw.Draw(framed)
    for column, strength in enumerate(strengths.tolist()):
        draw.text(
            (LABEL + (column + 0.5) * sheet.width / COLUMNS, 4), f"{round(strength, 2) or 0.0:+g}", "black", anchor="ma"
        )
    for row, value in enumerate(directions.values.tolist()):
        draw.text((4, 20 + (row + 0.5) * sheet.height / count), f"{row + 1}  ({value:.3g})", "black", anchor="lm")
    return framed


def _matrices(model: Model, layers: Sequence[int]) -> list[Tensor]:
    generator: Any = model.generator
    if not hasattr(generator, "latent_weights"):
        use = model.spec.generator.use
        other = "--method pca" if has_styles(generator) else those_with("generator", "latent_weights")
        raise UsageError(f"--method sefa: the generator {use!r} has no latent_weights(); {other}")
    found: list[Tensor] = generator.latent_weights()
    return [found[layer].detach() for layer in layers]


def _styles(model: Model, cls: str | None) -> Tensor:
    """Styles of many draws, [N, d]."""
    generator: Any = model.generator
    if not has_styles(generator):
        use = model.spec.generator.use
        raise UsageError(f"--method pca is of styles, and the generator {use!r} of {model.name} has none; take sefa")
    return many_styles(model, DRAWN, "directions", cls)

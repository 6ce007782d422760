"""The latents of a generator: what its pictures are made of, as files, and moved along directions.

A generator with styles has w, one vector for each layer; others have z, the vector of their noise. Beside it stands the
rest of the noise, such as maps of one number for each pixel.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gan_dist.data.encoding import image
from gan_dist.data.facts import ImageFacts, PairFacts
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import UsageError
from gan_dist.generation.model import ClassLabel, Model
from gan_dist.generation.samples import CHUNK, first_noise, map_tensors
from gan_dist.metrics.image.perceptual_path import with_z
from gan_dist.registry.slots import those_with

Space = Literal["w", "z"]
ENDINGS = (".safetensors", ".npz")
NOISE, CLASSES = "noise", "classes"
DRAWN_AT_ONCE = 1000


@dataclass(frozen=True)
class Latents:
    """The latents of N pictures.

    Attributes:
        space: w or z.
        vectors: [N, layers, d]; of z there is one layer.
        noise: all of the generator's noise, with a row for each picture; its own z does not count.
        codes: classes [N] or codes [N, K]; None without conditions.
    """

    space: Space
    vectors: Tensor
    noise: Any
    codes: Tensor | None

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Sequence[int] | slice) -> Latents:
        """Those of some of the pictures, in this order."""
        chosen = rows if isinstance(rows, slice) else list(rows)
        return replace(
            self,
            vectors=self.vectors[chosen],
            noise=map_tensors(lambda leaf: leaf[chosen], self.noise),
            codes=None if self.codes is None else self.codes[chosen],
        )


def has_styles(generator: Any) -> bool:
    """Whether pictures are made of styles, one for each layer."""
    return hasattr(generator, "styles") and hasattr(generator, "synthesis")


def latents_of(model: Model, seeds: Sequence[int], cls: ClassLabel = None) -> Latents:
    """The latents of the first sample of each seed.

    Raises:
        UsageError: the model makes no pictures of noise, its noise has no vector, or it has no such class.
    """
    check_pictures(model)
    generator: Any = model.generator
    with torch.no_grad():
        noise = first_noise(generator, seeds, model.device)
        codes = model.conditions_of(len(seeds), cls)
        codes = None if codes is None else codes.to(model.device)
        if has_styles(generator):
            return Latents("w", generator.styles(noise, codes), noise, codes)
        return Latents("z", vector_of(noise, model)[:, None], noise, codes)


def many_styles(model: Model, count: int, purpose: str, cls: ClassLabel = None) -> Tensor:
    """The first layer's styles of so many draws, [count, d], by a generator with styles; classes go round unless one is
    given."""
    generator: Any = model.generator
    dtype = next(model.generator.parameters()).dtype
    found = []
    with torch.no_grad():
        for start in range(0, count, DRAWN_AT_ONCE):
            rng = single_lane_rng((purpose, start), min(DRAWN_AT_ONCE, count - start), model.device, dtype)
            codes = model.conditions_of(rng.n, cls)
            found.append(
                generator.styles(generator.draw(rng.n, rng), None if codes is None else codes.to(model.device))[:, 0]
            )
    return torch.cat(found)


def check_pictures(model: Model) -> None:
    """Raises UsageError where the model's samples are no pictures made of noise."""
    if isinstance(model.facts, PairFacts) or not isinstance(model.facts, ImageFacts):
        raise UsageError(f"{model.name} makes {model.facts.described}; latents are of generators of images from noise")


def vector_of(noise: Any, model: Model) -> Tensor:
    """The one vector of a generator's noise, [N, d]. Raises UsageError where it has none."""
    found = noise.get("z") if isinstance(noise, dict) else noise
    if not (isinstance(found, Tensor) and found.ndim == 2):
        raise UsageError(f"the noise of {model.name}'s generator {model.spec.generator.use!r} is no vector")
    return found


def synthesize(model: Model, latents: Latents) -> Tensor:
    """Their pictures as the generator makes them, [N, C, H, W] in [-1, 1], differentiable by vectors and noise."""
    generator: Any = model.generator
    if latents.space == "w":
        made: Tensor = generator.synthesis(latents.vectors, latents.noise)
        return made
    found: Tensor = generator(with_z(latents.noise, latents.vectors[:, 0]), latents.codes)
    return found


def pictures(model: Model, latents: Latents) -> Tensor:
    """Their pictures, uint8 [N, C, H, W]."""
    with torch.no_grad():
        parts = [
            image.decode(synthesize(model, latents.take(slice(at, at + CHUNK)))) for at in range(0, len(latents), CHUNK)
        ]
    return torch.cat(parts)


def encode_latents(latents: Latents, model: Model, ending: str) -> bytes:
    """The content of a file of latents.

    Raises:
        UsageError: its ending is neither .safetensors nor .npz.
    """
    tensors = {latents.space: latents.vectors, **dict(_leaves(latents.noise))}
    tensors |= {} if latents.codes is None else {CLASSES: latents.codes}
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    if ending == ".safetensors":
        return save(plain, {"run": model.name, "generator": model.spec.generator.use})
    if ending != ".npz":
        raise UsageError(f"latents are written into a file of {' or '.join(ENDINGS)}, not {ending or 'none'!r}")
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in plain.items()}
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_latents(path: Path, model: Model, cls: ClassLabel = None) -> Latents:
    """Latents of a file: ours, or one that holds `w` [N, layers, d] or [N, d], or `z` [N, d]. What else of the noise it
    does not hold is that of seeds 0, 1, 2 and so on.

    Raises:
        UsageError: it is no such file, or its latents are those of another network.
    """
    tensors = _tensors(path)
    own = latents_of(model, [0], cls)
    if "w" in tensors and own.space == "z":
        raise UsageError(
            f"{str(path)!r} holds styles (w), but the generator {model.spec.generator.use!r} of {model.name} has none; "
            f"{those_with('generator', 'styles')}"
        )
    space: Space = "w" if "w" in tensors else "z"
    if space not in tensors:
        raise UsageError(f"{str(path)!r} holds no latents: neither w nor z, but {', '.join(tensors) or 'nothing'}")
    if not len(tensors[space]):
        raise UsageError(f"{str(path)!r} holds latents of no picture: {space} has no rows")
    if strange := [name for name, tensor in tensors.items() if not tensor.double().isfinite().all()]:
        raise UsageError(f"{str(path)!r}: {strange[0]} holds numbers that are not finite")
    vectors = tensors[space].to(own.vectors)
    base = latents_of(model, range(len(vectors)), cls)
    noise = _filled(base.noise, {name: tensor.to(model.device) for name, tensor in tensors.items()}, path)
    codes = tensors[CLASSES].to(model.device) if CLASSES in tensors and cls is None else base.codes
    found = Latents(space, vectors[:, None] if vectors.ndim == 2 else vectors, noise, codes)
    if space == "z" and own.space == "w":
        generator: Any = model.generator
        with torch.no_grad():
            noise = with_z(noise, found.vectors[:, 0])
            found = Latents("w", generator.styles(noise, codes), noise, codes)
    return _of_shape(found, own, path)


def _of_shape(found: Latents, own: Latents, path: Path) -> Latents:
    """Latents of as many layers as the model has; one style is for all of them."""
    layers, size = own.vectors.shape[1:]
    if found.vectors.ndim != 3 or found.vectors.shape[2] != size or found.vectors.shape[1] not in (1, layers):
        held = " x ".join(map(str, found.vectors.shape[1:]))
        raise UsageError(
            f"{str(path)!r} holds latents of another network: {found.space} of {held} numbers, here {layers} x {size}"
        )
    return replace(found, vectors=found.vectors.expand(-1, layers, -1))


def latent_files(path: Path) -> list[Path]:
    """A file of latents, or those of a folder by their names. Raises UsageError where a folder has none."""
    if not path.is_dir():
        return [path]
    if not (found := sorted(one for one in path.iterdir() if one.suffix in ENDINGS)):
        raise UsageError(f"{str(path)!r} holds no files of latents ({' or '.join(ENDINGS)})")
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return {name: torch.from_numpy(stored[name]) for name in stored.files}
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UsageError(f"{str(path)!r} cannot be read as latents: {error}") from error
    raise UsageError(f"{str(path)!r}: latents are read from a file of {' or '.join(ENDINGS)}")


def _leaves(noise: Any, name: str = NOISE) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a noise by name, `noise.pixels.0`."""
    if isinstance(noise, Tensor):
        yield name, noise
        return
    inner: Mapping[Any, Any] = noise if isinstance(noise, dict) else dict(enumerate(noise))
    for key, part in inner.items():
        yield from _leaves(part, f"{name}.{key}")


def _filled(noise: Any, tensors: Mapping[str, Tensor], path: Path) -> Any:
    """A noise with the tensors that a file has in place of its own."""
    names = iter([name for name, _ in _leaves(noise)])

    def chosen(leaf: Tensor) -> Tensor:
        name = next(names)
        there = tensors.get(name)
        if there is None:
            return leaf
        if there.shape != leaf.shape:
            shapes = " and ".join("x".join(map(str, one.shape)) for one in (there, leaf))
            raise UsageError(f"{str(path)!r} holds latents of another network: {name} has other sizes ({shapes})")
        return there.to(leaf.dtype)

    return map_tensors(chosen, noise)


def in_layers(vectors: Tensor, layers: Sequence[int], change: Callable[[Tensor], Tensor]) -> Tensor:
    """Vectors [N, L, d], those of some layers changed."""
    made = vectors.clone()
    chosen = list(layers)
    made[:, chosen] = change(made[:, chosen])
    return made

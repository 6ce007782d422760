"""What `gan-dist sample` makes one file of: a grid, a way, a film, a table of mixed styles, or a direction."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_dist.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gan_dist.generation.latents import Latents
    from gan_dist.generation.model import Model

ROW, REACH = 8, 7


@dataclass(kw_only=True, frozen=True)
class PictureOptions:
    """The options of `sample` that ask for one picture or film, as they are written."""

    interpolate: str | None = None
    steps: int | None = None
    mix: str | None = None
    layers: str | None = None
    direction: str | None = None
    strength: str = "-3..3"
    latents: Path | None = None
    latents_out: Path | None = None
    loop: bool = False
    ease: bool = False
    fps: float = 30.0
    grid: str | None = None
    prompts: Sequence[str] = ()

    @property
    def alone(self) -> bool:
        """Whether a picture is asked for that is no grid of samples."""
        shown = (self.interpolate, self.mix, self.direction, self.latents, self.latents_out)
        return any(one is not None for one in shown)

    def checked(self, out: Path | None) -> PictureOptions:
        """These options. Raises UsageError where they contradict each other, or a film cannot be written."""
        from gan_dist.generation.films import check_film

        asked = {"--interpolate": self.interpolate, "--mix": self.mix, "--direction": self.direction}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are two pictures; ask for one of them")
        if self.layers is not None and self.mix is None:
            raise UsageError("--layers says which styles --mix takes; add --mix")
        if (self.loop or self.ease or self.grid) and self.interpolate is None:
            raise UsageError("--loop, --ease and --grid are for films: add --interpolate WAY")
        if self.latents is not None and (self.interpolate or self.mix):
            raise UsageError("--latents is shown as it is, or along a --direction; leave out --interpolate and --mix")
        if out is not None:
            check_film(out)
        return self


def make_picture(
    model: Model, asked: PictureOptions, *, seeds: list[int], n: int, cls: str | None, out: Path | None, stem: str
) -> tuple[bytes, Path]:
    """The content of the file that is asked for, and its path."""
    if asked.direction is not None or asked.latents is not None or asked.latents_out is not None:
        return _of_latents(model, asked, seeds=seeds, cls=cls, out=out, stem=stem)
    if asked.interpolate is not None:
        return _way(model, asked, seeds=seeds, cls=cls, out=out, stem=stem)
    if asked.mix is not None:
        return _mixed(model, asked, seeds=seeds, cls=cls, out=out, stem=stem)
    content, ending = _grid(model, seeds, n, cls, asked.prompts)
    path = out or Path(f"{stem}{ending}")
    if path.suffix.lower() != ending:
        raise UsageError(f"--out {str(path)!r}: {model.facts.described} are written into a folder, or a file of .txt")
    return content, path


def _grid(model: Model, seeds: list[int], n: int, cls: str | None, prompts: Sequence[str]) -> tuple[bytes, str]:
    """Samples as people look at them, a row for each seed if there are several; and the file's ending."""
    import torch

    from gan_dist.data.encoding import image
    from gan_dist.generation.samples import render_sheet

    asked: Any = {"class_label": cls, "prompt": prompts or None}
    samples = torch.cat([chunk for seed in seeds for chunk in model.sample_chunks(n, seed=seed, **asked)])
    given = model.conditions_of(n, **asked) if cls is None else None
    shown: Any = render_sheet(samples, model.facts, None if given is None else torch.cat([given] * len(seeds)))
    if isinstance(shown, list):
        return "".join(f"{line}\n" for line in shown).encode(), ".txt"
    return image.encode_png(image.enlarge(image.make_grid(samples, n)) if len(seeds) > 1 else shown), ".png"


def _way(
    model: Model, asked: PictureOptions, *, seeds: list[int], cls: str | None, out: Path | None, stem: str
) -> tuple[bytes, Path]:
    """A way between seeds or classes as a strip, or as a film."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.films import FILMS, is_film
    from gan_dist.generation.interpolation import interpolate, parse_keyframes

    way = str(asked.interpolate)
    path = out or Path(f"{stem}-{way}.png")
    check_ending(path, "--interpolate", (".png", *FILMS))
    if is_film(path):
        return _film(model, asked, way=way, seeds=seeds, cls=cls, path=path), path
    if asked.loop or asked.ease or asked.grid:
        raise UsageError("--loop, --ease and --grid are for films; --out walk.mp4, .webm or .gif")
    steps = asked.steps or ROW
    frames = interpolate(model, parse_keyframes(seeds, _classes(model, cls)), steps, way)
    return image.encode_png(image.enlarge(image.make_grid(frames, steps))), path


def _film(model: Model, asked: PictureOptions, *, way: str, seeds: list[int], cls: str | None, path: Path) -> bytes:
    """A film of one walk, or of several side by side, each of as many of the seeds."""
    import torch

    from gan_dist.data.encoding import image
    from gan_dist.generation.films import encode_film
    from gan_dist.generation.interpolation import film_frames, parse_keyframes

    rows, columns = _grid_of(asked.grid)
    walks, left = divmod(len(seeds), rows * columns)
    if left or (rows * columns > 1 and walks < 2):
        raise UsageError(
            f"--grid {rows}x{columns}: {len(seeds)} seeds are not two or more for each of {rows * columns} walks"
        )
    parts = [seeds[at : at + walks] for at in range(0, len(seeds), walks)]
    places = [parse_keyframes(part, _classes(model, cls)) for part in parts]
    made = [film_frames(model, one, asked.steps or ROW, way, loop=asked.loop, ease=asked.ease) for one in places]
    frames = [image.make_grid(shown, columns) for shown in torch.stack(made, 1)]
    return encode_film(frames, path.suffix.lower(), asked.fps)


def _mixed(
    model: Model, asked: PictureOptions, *, seeds: list[int], cls: str | None, out: Path | None, stem: str
) -> tuple[bytes, Path]:
    """A table of mixed styles."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.interpolation import style_mix
    from gan_dist.generation.sampling import parse_seeds

    path, columns = out or Path(f"{stem}-mix{asked.mix}.png"), parse_seeds(str(asked.mix))
    check_ending(path, "--mix", (".png",))
    table = style_mix(model, seeds, columns, parse_layers(asked.layers), cls)
    return image.encode_png(image.enlarge(image.make_grid(table, len(columns) + 1))), path


def _of_latents(
    model: Model, asked: PictureOptions, *, seeds: list[int], cls: str | None, out: Path | None, stem: str
) -> tuple[bytes, Path]:
    """Pictures of latents of a file, or of the first sample of each seed; along a direction if one is asked for."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.films import FILMS
    from gan_dist.generation.latents import encode_latents, latents_of, pictures, read_latents
    from gan_dist.runs.storage import Folder

    path = out or Path(f"{stem}-{'direction' if asked.direction else 'latents'}.png")
    check_ending(
        path, "--direction" if asked.direction else "--latents", (".png", *FILMS) if asked.direction else (".png",)
    )
    start = latents_of(model, seeds, cls) if asked.latents is None else read_latents(asked.latents, model, cls)
    shown, columns = _moved(model, start, asked)
    if asked.latents_out is not None:
        content = encode_latents(shown, model, asked.latents_out.suffix)
        Folder.at(asked.latents_out.parent).write(asked.latents_out.name, content)
    made = pictures(model, shown)
    if path.suffix.lower() in FILMS:
        return _swing(made, len(start), path, asked.fps), path
    return image.encode_png(image.enlarge(image.make_grid(made, columns))), path


def _moved(model: Model, start: Latents, asked: PictureOptions) -> tuple[Latents, int]:
    """Latents along the direction that is asked for, and how many there are of each picture."""
    import torch

    from gan_dist.generation.directions import read_directions

    if asked.direction is None:
        return start, min(ROW, len(start))
    file, _, number = asked.direction.rpartition(":")
    if not file or not number.isdecimal():
        raise UsageError(f"--direction {asked.direction!r} must be FILE:NUMBER, such as directions.safetensors:3")
    found = read_directions(Path(file), model)
    if not 1 <= int(number) <= len(found.vectors):
        raise UsageError(f"--direction {asked.direction!r}: the file has directions 1 to {len(found.vectors)}")
    low, high = parse_strengths(asked.strength)
    strengths = torch.linspace(low, high, 1 if low == high else asked.steps or REACH)
    return found.move(start, int(number) - 1, strengths), len(strengths)


def _swing(made: Tensor, count: int, path: Path, fps: float) -> bytes:
    """A film of pictures along a direction, there and back, all of them side by side."""
    from gan_dist.data.encoding import image
    from gan_dist.generation.films import encode_film

    steps = len(made) // count
    order = [*range(steps), *range(steps - 2, 0, -1)]
    by_step = made.view(count, steps, *made.shape[1:]).transpose(0, 1)
    return encode_film([image.make_grid(by_step[at], min(ROW, count)) for at in order], path.suffix.lower(), fps)


def parse_strengths(written: str) -> tuple[float, float]:
    """The ends of a range, `-3..3`; of a number both are that number. Raises UsageError."""
    first, dots, last = written.partition("..")
    try:
        ends = float(first), float(last if dots else first)
    except ValueError as error:
        raise UsageError(f"--strength {written!r} must be a number or a range, such as -3..3") from error
    if not all(map(math.isfinite, ends)):
        raise UsageError(f"--strength {written!r} must be of finite numbers, such as -3..3")
    return ends


def parse_layers(written: str | None, option: str = "--layers") -> range | None:
    """A number or a range of layers. Raises UsageError."""
    if written is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", written)
    if match is None:
        raise UsageError(f"{option} {written!r} must be a number or a range, such as 0-3")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def check_ending(path: Path, option: str, endings: tuple[str, ...]) -> None:
    """Raises UsageError where an option makes no file of this ending."""
    if path.suffix.lower() not in endings:
        raise UsageError(f"--out {str(path)!r}: {option} makes a file of {' or '.join(endings)}")


def _grid_of(written: str | None) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", written or "1x1")
    if match is None:
        raise UsageError(f"--grid {written!r} must be rows and columns, such as 2x3")
    return int(match[1]), int(match[2])


def _classes(model: Model, cls: str | None) -> list[str]:
    return [] if cls is None else [one.strip() for one in cls.split(";" if model.facts.vectors else ",")]

"""Photographs brought into a generator's latents by optimisation (Karras et al. 2020, arXiv 1912.04958, appendix D)."""

from __future__ import annotations

import hashlib
import io
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_dist.data.encoding import image
from gan_dist.data.facts import ImageFacts
from gan_dist.data.image_decoding import ImageForm, open_image, to_pixels
from gan_dist.data.picture_formats import is_picture_name
from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.errors import DataError, UnreadableSample, UsageError
from gan_dist.generation.films import FILMS, check_film, encode_film
from gan_dist.generation.latents import (
    Latents,
    check_pictures,
    encode_latents,
    has_styles,
    latents_of,
    many_styles,
    pictures,
    synthesize,
)
from gan_dist.generation.model import Model
from gan_dist.networks.layers.pretrained_backbone import LITE0_PACKAGE
from gan_dist.objectives.reconstruction import LEAST, Distance
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData
from gan_dist.spec.problems import suggestion

SPACES = ("auto", "w", "w+", "z")
FEATURES = ("auto", "efficientnet_lite0", "vgg16", "resnet50", "none")
RATE, RAMP_UP, RAMP_DOWN = 0.1, 0.05, 0.25
JITTER, JITTER_UNTIL = 0.05, 0.75
NOISE_WEIGHT, PRIOR_WEIGHT = 1e5, 1e-3
SMALLEST = 8  # pixels of a map of noise, down to which it shall be without a pattern
MEAN_OF = 10_000
KEEP_EVERY, FRAMES = 100, 100
Progress = Callable[[str, int, int], None]


@dataclass(kw_only=True, frozen=True)
class ProjectionPlan:
    """How latents are sought.

    Attributes:
        space: w, one style for all layers; w+, one for each; z; or auto, w where there are styles.
        steps: of the optimiser.
        noise: on or off: whether maps of noise are sought too.
        features: what pictures are compared by beside their pixels, or auto (as `project_all` chooses) or none.
        film: the ending of a film of the way, without its dot; None for none.
        seed: of the noise.
        cls: the class, by name or number.
    """

    space: str = "auto"
    steps: int = 1000
    noise: str = "on"
    features: str = "auto"
    film: str | None = None
    seed: int = 0
    cls: str | None = None

    def check(self) -> None:
        """Raises UsageError where something is none of what is allowed, or a film cannot be written."""
        endings = tuple(one.removeprefix(".") for one in FILMS)
        allowed = {"space": SPACES, "noise": ("on", "off"), "features": FEATURES, "film": (None, *endings)}
        for name, known in allowed.items():
            value, words = getattr(self, name), [one for one in known if one is not None]
            if value not in known:
                raise UsageError(f"--{name} {value!r}{suggestion(value, words)}")
        if self.film is not None:
            check_film(Path(f"film.{self.film}"))


@dataclass(frozen=True)
class Projected:
    """A picture that was projected: how far its picture is off, and where its files are."""

    name: str
    distance: float
    latents: Path
    picture: Path
    film: Path | None

    def plain(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


def project_all(
    model: Model,
    sources: Sequence[str],
    plan: ProjectionPlan,
    out: Path,
    progress: Progress,
    *,
    force: bool = False,
    warn: Callable[[str], None] = warnings.warn,
) -> list[Projected]:
    """Project pictures one after the other into a folder; those that are there already are passed over.

    Args:
        force: whether results of another search, picture or generator may be replaced.
        warn: told of each picture of a folder that cannot be read; the others are projected.

    Raises:
        UsageError: the model makes no pictures of noise, or has no such space; results of another search are there.
        DataError: a picture that is named cannot be read, or none of a folder's.
    """
    check_pictures(model)
    plan = replace(plan, space=_space(model, plan.space), features=_features(model, plan.features))
    targets = [one for source in sources for one in _targets(model, source, warn)]
    names = [Path(name).stem for name, _ in targets]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two pictures would both be called {min(repeated)!r}; rename one")
    known = {"run": model.name, "seen": model.seen, "weights": _digest(model.generator.state_dict().values())}
    tasks = [
        _Task(name, target, plan, out, {**known, "picture": _digest([target]), **asdict(plan)})
        for name, (_, target) in zip(names, targets, strict=True)
    ]
    for task in () if force else tasks:
        task.check_free()
    return [_project_into(model, task, progress) for task in tasks]


def _space(model: Model, asked: str) -> str:
    styled = has_styles(model.generator)
    if asked in ("w", "w+") and not styled:
        use = model.spec.generator.use
        raise UsageError(f"--space {asked}: the generator {use!r} of {model.name} has no styles; take --space z")
    return asked if asked != "auto" else "w" if styled else "z"


def _targets(model: Model, source: str, warn: Callable[[str], None]) -> Iterator[tuple[str, Tensor]]:
    """Names and pixels, uint8 [C, H, W], of a picture or a folder of them, in the form that the model learnt from."""
    facts, data = model.modality.real_facts, model.spec.data
    assert isinstance(facts, ImageFacts) and isinstance(data, ImageData)
    form = ImageForm(size=facts.size, channels=facts.channels, fit=data.fit, background=data.background)
    here = Path(source)
    found = sorted(one for one in here.iterdir() if is_picture_name(one.name)) if here.is_dir() else [here]
    readable = 0
    for path in found:
        try:
            yield path.name, torch.from_numpy(np.array(to_pixels(open_image(path.read_bytes()), form)))
            readable += 1
        except (OSError, UnreadableSample) as error:
            if not here.is_dir():
                raise DataError(f"{source!r} cannot be used: {error}") from error
            warn(f"{str(path)!r} is left out: {error}")
    if not readable:
        raise DataError(f"{source!r} holds no pictures that can be read")


@dataclass(frozen=True)
class _Task:
    """A picture to be projected, and what tells its search from others.

    Attributes:
        told: of the search: its plan, the generator and the picture by checksums; `NAME.json` holds it.
    """

    name: str
    target: Tensor
    plan: ProjectionPlan
    out: Path
    told: dict[str, Any]

    @property
    def stored(self) -> dict[str, Any]:
        """What is told of a finished search of this name."""
        return Folder.at(self.out).read_json(f"{self.name}.json") or {}

    def check_free(self) -> None:
        """Raises UsageError where the results of another search have this name."""
        if not (there := self.stored.get("plan")) or there == self.told:
            return
        other = [name for name, value in self.told.items() if there.get(name) != value]
        shown = {"picture": "another picture", "weights": "other weights"}
        words = [shown.get(name, f"{name}: {there.get(name)}, not {self.told[name]}") for name in other]
        raise UsageError(
            f"--out {str(self.out)!r}: {self.name} is there, of another search ({'; '.join(words)}); choose another "
            "folder, or --force"
        )


def _digest(tensors: Iterable[Tensor]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _project_into(model: Model, task: _Task, progress: Progress) -> Projected:
    """Project one picture and write its files; `NAME.json`, written last, says that all are there."""
    name, plan, out, told = task.name, task.plan, task.out, task.told
    folder, record = Folder.at(out), f"{name}.json"
    film = None if plan.film is None else out / f"{name}.{plan.film}"
    files = Projected(name, 0.0, out / f"{name}.safetensors", out / f"{name}.png", film)
    if (stored := task.stored).get("plan") == told:
        return replace(files, distance=float(stored["distance"]))
    search = Search(model, task.target, plan)
    part = out / f".{name}.part"
    search.load(part, told)
    while search.step < plan.steps:
        search.advance()
        if search.step % KEEP_EVERY == 0 and search.step < plan.steps:
            folder.write(part.name, search.content(told))
        progress(name, search.step, plan.steps)
    found = search.latents()
    folder.write(files.latents.name, encode_latents(found, model, ".safetensors"))
    made = pictures(model, found)
    side_by_side = torch.stack([task.target, made[0]])
    folder.write(files.picture.name, image.encode_png(image.enlarge(image.make_grid(side_by_side, 2))))
    if film is not None:
        frames = torch.stack([torch.cat([task.target, one], 2) for one in [*search.frames, made[0]]])
        folder.write(film.name, encode_film(frames, film.suffix, 20))
    folder.write_json(record, {"plan": told, "distance": search.distance})
    folder.delete(part.name)
    return replace(files, distance=search.distance)


class Search:
    """The search for the latent of one picture.

    Attributes:
        step: steps made.
        distance: of the last step's picture.
        frames: pictures on the way, uint8 [C, H, W].
    """

    def __init__(self, model: Model, target: Tensor, plan: ProjectionPlan) -> None:
        self.model, self.plan, self.step, self.distance = model, plan, 0, math.inf
        self.start = latents_of(model, [plan.seed], plan.cls)
        self.target = image.encode(target[None], model.device, self.start.vectors.dtype)
        self.measure = _distance(plan.features)
        centre, self.spread = _centre(model, self.start, plan.cls)
        layers = self.start.vectors.shape[1] if plan.space == "w+" else 1
        self.vectors = centre.expand(1, layers, -1).clone().requires_grad_()
        self.maps = [leaf.clone().requires_grad_() for leaf in _maps(self.start.noise)] if plan.noise == "on" else []
        self.frames: list[Tensor] = []
        self.optimizer = torch.optim.Adam([self.vectors, *self.maps], lr=RATE)

    def latents(self, jitter: Tensor | None = None) -> Latents:
        """What has been found so far, or some of `jitter` away from it."""
        vectors = self.vectors if jitter is None else self.vectors + jitter
        noise = _with_maps(self.start.noise, iter(self.maps)) if self.maps else self.start.noise
        space = "z" if self.plan.space == "z" else "w"
        vectors = vectors.expand(-1, self.start.vectors.shape[1], -1)
        return Latents(space, vectors, noise, self.start.codes)  # type: ignore[arg-type]

    def advance(self) -> None:
        """Make a step."""
        share = self.step / self.plan.steps
        rate = RATE * min(1.0, share / RAMP_UP if self.step else 1 / (RAMP_UP * self.plan.steps))
        rate *= 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / RAMP_DOWN))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        strength = self.spread * JITTER * max(0.0, 1 - share / JITTER_UNTIL) ** 2
        rng = single_lane_rng(("projection", self.plan.seed, self.step), 1, self.vectors.device, self.vectors.dtype)
        made = synthesize(self.model, self.latents(strength * rng.normal(*self.vectors.shape[1:])))
        apart = self.measure(made, self.target)
        loss = apart + NOISE_WEIGHT * sum(patterns(one) for one in self.maps)
        if self.plan.space == "z":
            loss = loss + PRIOR_WEIGHT * (self.vectors.square().mean() - 1).square()
        gradients = torch.autograd.grad(loss, [self.vectors, *self.maps])
        for leaf, gradient in zip([self.vectors, *self.maps], gradients, strict=True):
            leaf.grad = gradient
        self.optimizer.step()
        with torch.no_grad():
            for one in self.maps:
                one -= one.mean()
                one *= one.square().mean().rsqrt()
        if self.step % max(1, self.plan.steps // FRAMES) == 0:
            self.frames.append(image.decode(made)[0])
        self.step, self.distance = self.step + 1, float(apart.detach())

    def content(self, told: dict[str, Any]) -> bytes:
        """All that it goes on from, as a file's."""
        buffer = io.BytesIO()
        leaves = [leaf.detach() for leaf in (self.vectors, *self.maps)]
        kept = {"leaves": leaves, "optimizer": self.optimizer.state_dict(), "step": self.step, "frames": self.frames}
        torch.save({**kept, "told": json.dumps(told)}, buffer)
        return buffer.getvalue()

    def load(self, path: Path, told: dict[str, Any]) -> None:
        """Go on from a file, if it is there, whole, and of the same search."""
        try:
            kept = torch.load(path, map_location=self.vectors.device, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError):
            return
        if kept.get("told") != json.dumps(told):
            return
        with torch.no_grad():
            for leaf, stored in zip([self.vectors, *self.maps], kept["leaves"], strict=True):
                leaf.copy_(stored)
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step, self.frames = kept["step"], kept["frames"]


def patterns(noise: Tensor) -> Tensor:
    """How far a map of noise [1, 1, H, W] and means of it resemble themselves one pixel aside (appendix D)."""
    total = noise.new_zeros(())
    while True:
        for dim in (2, 3):
            total = total + (noise * noise.roll(1, dim)).mean().square()
        if min(noise.shape[2:]) <= SMALLEST:
            return total
        noise = F.avg_pool2d(noise, 2) * 2


def pixel_distance(one: Tensor, other: Tensor) -> Tensor:
    """The mean squared difference of pixels, at full size and at a half, a quarter and an eighth of it."""
    total = (one - other).square().mean()
    for factor in (2, 4, 8):
        if min(one.shape[2:]) >= 2 * factor:
            total = total + (F.avg_pool2d(one, factor) - F.avg_pool2d(other, factor)).square().mean()
    return total


def _features(model: Model, asked: str) -> str:
    """What pictures are compared by beside pixels: `auto` is the network that comes with an extra, where it is there
    and the pictures are large enough for it."""
    facts = model.modality.real_facts
    assert isinstance(facts, ImageFacts)
    large = min(facts.shape[1:]) >= LEAST
    if asked == "auto":
        return "efficientnet_lite0" if large and find_spec(LITE0_PACKAGE) is not None else "none"
    if asked != "none" and not large:
        raise UsageError(f"--features {asked} looks at pictures from {LEAST} pixels on; take --features none")
    return asked


def _distance(features: str) -> Callable[[Tensor, Tensor], Tensor]:
    """What is made small: the distance of pixels and, where there is one, that of a pretrained network's features."""
    if features == "none":
        return pixel_distance
    try:
        by_features = Distance(features, None)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(f"--features {features}: {error}") from error
    return lambda made, wanted: by_features(made, wanted).mean() + pixel_distance(made, wanted)


def _centre(model: Model, start: Latents, cls: str | None) -> tuple[Tensor, float]:
    """The mean of the latents [1, 1, d], and how far they lie from it."""
    if start.space == "z":
        return torch.zeros_like(start.vectors), 1.0
    styles = many_styles(model, MEAN_OF, "projection centre", cls)
    centre = styles.mean(0)
    return centre[None, None], float((styles - centre).square().sum(1).mean().sqrt())


def _maps(noise: Any) -> list[Tensor]:
    """The maps of a noise, one number for each pixel."""
    if isinstance(noise, Tensor):
        return [noise] if noise.ndim == 4 else []
    return [one for part in (noise.values() if isinstance(noise, dict) else noise) for one in _maps(part)]


def _with_maps(noise: Any, maps: Iterator[Tensor]) -> Any:
    """A noise with other maps."""
    if isinstance(noise, Tensor):
        return next(maps) if noise.ndim == 4 else noise
    if isinstance(noise, dict):
        return {key: _with_maps(part, maps) for key, part in noise.items()}
    return type(noise)(_with_maps(part, maps) for part in noise)

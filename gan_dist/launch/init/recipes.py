"""Which recipe fits a set of images and a machine, and its numbers: pure functions of what is known of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from gan_dist.errors import UsageError
from gan_dist.launch.init.image_survey import ImageSurvey
from gan_dist.launch.init.training_speed import R3GAN_WIDTHS, WORKERS, seconds_per_image
from gan_dist.registry.aliases import ALIASES
from gan_dist.registry.signatures import read_constant
from gan_dist.spec.image_size import Size, SizeRule, show_size, sides, size_text
from gan_dist.spec.problems import suggestion

Name = Literal["dcgan", "fastgan", "projected", "stylegan2", "r3gan"]
NAMES: tuple[Name, ...] = get_args(Name)

SIZES = (16, 32, 64, 128, 256)  # larger ones are for `--size`
LARGEST_ON_CPU = 32
ENLARGED = 1.25  # images are enlarged by no more than that
# Counts of images at which one recipe gives way to another: what others choose, and what their papers show.
VERY_FEW, FEW, SOME, MANY = 200, 2_000, 20_000, 100_000
LEAST_JUDGED = 20  # images that a metric compares with
HURRY = 3600  # seconds
MANY_GPUS = 8  # what the published runs have
IN_USE = 0.9  # share of the time that is left for training beside grids, metrics and checkpoints
UPRIGHT = 0.65  # of `ImageSurvey.upright`: faces and paintings have 0.55, shoes 0.75, digits 0.9
# R3GAN's strength of both penalties by pixels (Huang et al. 2024, the authors' presets); between them along a line of
# logarithms.
R3GAN_GAMMAS = {32: 0.05, 64: 2.0, 256: 150.0}
WITHOUT_GPU = (
    "without a GPU it comes furthest in equal minutes: on 20,000 faces of 32 pixels, in eleven minutes of a core, "
    "to a Frechet distance of 1,170; r3gan to 1,971, fastgan to 2,202, stylegan2 to 2,637"
)
ADVANTAGES: dict[Name, str] = {
    "dcgan": "the quickest, and plain; for a look",
    "fastgan": "made for some hundred images of 256 pixels and more",
    "projected": "learns in the fewest steps, but flatters distances by ImageNet",
    "stylegan2": "adaptive augmentation, styles to mix, and it can start from published weights",
    "r3gan": "the best published results of GANs this small, from some 20,000 images on",
}


class Machine(NamedTuple):
    """What there is to train on, here."""

    gpus: int
    cpus: int

    @property
    def workers(self) -> int:
        """Processes on CPUs: few, so that a share of the batch is enough for batch normalisation."""
        return min(WORKERS, self.cpus)


class Wish(NamedTuple):
    """What the user decided: pixels, seconds that the run may take, the recipe, and the global batch."""

    size: Size | None = None
    seconds: float | None = None
    recipe: str | None = None
    batch: int | None = None


@dataclass(kw_only=True, frozen=True)
class Recipe:
    """What follows from images, machine and wishes.

    Attributes:
        name, why: the recipe, and why it is this one.
        others: the two that come next.
        width: of the generator, as its network counts it.
        until: images that the run sees.
        seconds: about how long that takes.
        measured: whether that goes by iterations that were timed here.
        mirrored: whether images are mirrored at random.
        features: by what metrics compare.
        pretrained: whether `gan-dist[pretrained]` is installed.
    """

    name: Name
    why: str
    others: tuple[Name, ...]
    size: Size
    width: int
    batch: int
    until: int
    seconds: float
    measured: bool
    mirrored: bool
    features: str
    pretrained: bool

    @property
    def side(self) -> int:
        """The shorter side in pixels."""
        return min(sides(self.size))

    @property
    def stylegan2_gamma(self) -> float:
        """Karras et al. 2020, arXiv 2006.06676: 0.0002 * pixels / batch."""
        return _two_digits(0.0002 * math.prod(sides(self.size)) / self.batch)

    @property
    def r3gan_gamma(self) -> float:
        """Strength of both penalties where the run begins."""
        known = sorted(R3GAN_GAMMAS)
        at = math.log(max(self.side, known[0]))
        places = [one for one in range(len(known) - 1) if self.side >= known[one]] or [0]
        low, high = known[places[-1]], known[places[-1] + 1]
        share = (at - math.log(low)) / (math.log(high) - math.log(low))
        rise = math.log(R3GAN_GAMMAS[high] / R3GAN_GAMMAS[low])
        return _two_digits(R3GAN_GAMMAS[low] * math.exp(share * rise))

    @property
    def decay(self) -> int:
        """Images over which R3GAN's schedules go from their first value to their last."""
        return min(self.until, 20_000_000)


def choose_recipe(
    images: ImageSurvey, machine: Machine, wish: Wish, pretrained: bool, speed: float | None = None
) -> Recipe:
    """The recipe and its numbers.

    Args:
        pretrained: whether the package of weights is installed.
        speed: seconds for one image, where they were measured.

    Raises:
        UsageError: there is no such recipe, or it does not make images of the size asked for.
    """
    if wish.recipe is not None and wish.recipe not in NAMES:
        raise UsageError(f"--recipe {wish.recipe!r}: there is no such recipe{suggestion(wish.recipe, NAMES)}")
    size = wish.size or fitting_size(images, machine)
    ranked, why = _ranking(images, machine, wish._replace(size=size), pretrained)
    # Of a size that the user gave, the first that makes it; another size is made to fit.
    able = [one for one in ranked if size_rule(one).takes(size)] if wish.size is not None else ranked
    name: Name = next((one for one in NAMES if one == wish.recipe), (able or ranked)[0])
    if name != ranked[0]:
        why = "you asked for it" if wish.recipe else f"{ranked[0]} makes no images of {show_size(size)} pixels"
    if not size_rule(name).takes(size):
        size = _nearest(name, size, wish.size is not None)
    return _with_numbers(
        images,
        machine,
        wish._replace(size=size),
        name=name,
        why=why,
        others=tuple(one for one in ranked if one != name)[:2],
        pretrained=pretrained,
        speed=speed,
    )


def fitting_size(images: ImageSurvey, machine: Machine) -> int:
    """The largest usual size that enlarges images by little, and is not too much for a CPU."""
    fitting = max((one for one in SIZES if one <= ENLARGED * images.side), default=SIZES[0])
    return fitting if machine.gpus else min(fitting, LARGEST_ON_CPU)


def size_rule(name: Name) -> SizeRule:
    """Which sizes both networks of a recipe take."""
    takes = [SizeRule.of(read_constant(ALIASES[kind][use], "sizes")) for kind, use in networks_of(name)]
    return max(takes, key=lambda rule: (rule.base, rule.least, -rule.most))


def networks_of(name: Name) -> tuple[tuple[Literal["generator", "discriminator"], str], ...]:
    """(section, `use`) of both networks of a recipe."""
    return ("generator", "fastgan" if name == "projected" else name), ("discriminator", name)


def _ranking(images: ImageSurvey, machine: Machine, wish: Wish, pretrained: bool) -> tuple[tuple[Name, ...], str]:
    """Recipes, best first, and why the first is."""
    assert wish.size is not None
    side, count, hurried = min(sides(wish.size)), images.count, wish.seconds is not None and wish.seconds < HURRY
    if not machine.gpus:
        return ("dcgan", "r3gan", "stylegan2"), WITHOUT_GPU
    if count < VERY_FEW:
        why = "so few images want a D that rebuilds them too, and sees them changed at random; expect copies"
        return ("fastgan", "stylegan2", "projected"), why
    if pretrained and count < SOME and side >= (64 if hurried else 128):
        why = "a pretrained D learns from few images, in few steps; its weights are installed"
        light: tuple[Name, ...] = ("fastgan", "stylegan2") if side >= 256 else ("stylegan2", "fastgan")
        return ("projected", *(light if count < FEW else ("stylegan2", "r3gan"))), why
    if count < FEW and side >= 256:
        return ("fastgan", "stylegan2", "projected"), "a light generator for some hundred images of this size"
    if count < SOME:
        why = "adaptive augmentation keeps D from learning so few images by heart"
        return ("stylegan2", "projected", "fastgan" if count < FEW else "r3gan"), why
    if side > 64 and count < MANY and machine.gpus < MANY_GPUS:
        why = "at this size r3gan's published runs have eight GPUs"
        return ("stylegan2", "r3gan", "projected"), why
    return ("r3gan", "stylegan2", "projected"), "enough images for D to do without adaptive augmentation"


def _nearest(name: Name, size: Size, asked: bool) -> Size:
    rule = size_rule(name)
    if not asked:
        return rule.nearest(size)
    near = size_text(rule.nearest(size))
    raise UsageError(f"--size {size_text(size)}: {name} makes images of {rule}; {near} is nearest")


def _with_numbers(
    images: ImageSurvey,
    machine: Machine,
    wish: Wish,
    *,
    name: Name,
    why: str,
    others: tuple[Name, ...],
    pretrained: bool,
    speed: float | None,
) -> Recipe:
    assert wish.size is not None
    side = min(sides(wish.size))
    width = _width(name, machine, wish.seconds)
    batch = min(wish.batch or _batch(name, side, machine), images.count)
    measured = speed is not None
    speed = speed or seconds_per_image(name, side, width, gpus=machine.gpus, cpus=machine.cpus)
    until = _two_digits(IN_USE * wish.seconds / speed) if wish.seconds else _until(name, images.count, machine)
    until = max(int(until), 20 * batch)
    # Features of a large network take longer than a short run on a CPU can spare.
    enough = machine.gpus > 0 or (wish.seconds is not None and wish.seconds >= HURRY)
    return Recipe(
        name=name,
        why=why,
        others=others,
        size=wish.size,
        width=width,
        batch=batch,
        until=until,
        seconds=until * speed / IN_USE,
        measured=measured,
        mirrored=images.upright is not None and images.upright <= UPRIGHT,
        features="efficientnet_lite0" if pretrained and enough and name != "projected" else "random",
        pretrained=pretrained,
    )


def _width(name: Name, machine: Machine, seconds: float | None) -> int:
    if not machine.gpus:
        return {"dcgan": 32, "fastgan": 8, "projected": 8, "stylegan2": 64, "r3gan": 32}[name]
    if name != "r3gan":
        return {"dcgan": 64, "fastgan": 64, "projected": 128, "stylegan2": 512}[name]
    hours = math.inf if seconds is None else seconds * machine.gpus / 3600
    least, half, full = sorted(R3GAN_WIDTHS)
    if machine.gpus >= MANY_GPUS and hours > 300:
        return full
    return half if hours > 12 else least


def _batch(name: Name, side: int, machine: Machine) -> int:
    if not machine.gpus:
        return {"dcgan": 64, "fastgan": 16, "projected": 16, "stylegan2": 32, "r3gan": 32}[name]
    if name == "stylegan2":
        return max(min(machine.gpus * min(4096 // side, 32), 64), machine.gpus, 4)
    return {"dcgan": 64, "fastgan": 8, "projected": 64, "r3gan": 512 if side <= 32 else 256}[name]


def _until(name: Name, count: int, machine: Machine) -> int:
    if name == "dcgan":
        most = 5_000_000 if machine.gpus else 150_000 * max(2, machine.workers)
        shown, least = (200, 500_000) if machine.gpus else (60, 100_000)
        return round(max(least, min(most, count * shown)), -4)
    if not machine.gpus:
        return 100_000
    if name == "fastgan":
        return 400_000 if count < VERY_FEW else 800_000
    return {"projected": 2_000_000, "stylegan2": 5_000_000, "r3gan": 20_000_000}[name]


def _two_digits(value: float) -> float:
    """The value to two digits."""
    return float(f"{value:.1e}")

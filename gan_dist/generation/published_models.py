"""Models that others published as pickles, with their weights in our networks: StyleGAN2, of NVIDIA's
stylegan2-ada-pytorch and stylegan3 repositories, and R3GAN. What is not known of them, their data and how far they were
trained, is left open.

Both keep raw weights and the same gains as ours, so that only names differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_dist.data.facts import ImageFacts
from gan_dist.errors import UsageError
from gan_dist.generation.exported_model import DIGITS, imported_checkpoint
from gan_dist.generation.model import Model
from gan_dist.networks.layers.weight_files import sha256_of
from gan_dist.registry.build import build_networks
from gan_dist.runs.checkpoint import Checkpoint, check_weights, load_weights
from gan_dist.runs.restricted_pickle import Record, read_pickle, tensors_of
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.paths import absolute_path

ENDINGS = (".pkl", ".pickle")
MOST_CLASSES = 100_000
KINDS = {"G": "generator", "G_ema": "generator_ema", "D": "discriminator"}
# Parts of StyleGAN2 that ours makes itself: filters, a fixed noise for pictures that do not change, the mean style.
LEFT = re.compile(r"(.*\.)?(resample_filter|noise_const|w_avg|Resampler\.Kernel)")
Tensors = Mapping[str, Tensor]


@dataclass(kw_only=True)
class PublishedModel:
    """What a file holds, for our networks.

    Attributes:
        file: where it was read from.
        use: our networks of the family.
        arguments: of the generator and the discriminator, as a job writes them.
        weights: by network: generator, generator_ema and discriminator, as far as they are there.
        facts: what images it makes.
        seen: images it had seen, 0 where the file does not say.
        left_out: which networks of the file cannot be taken, and why.
    """

    file: Path
    use: str
    arguments: dict[str, dict[str, Any]]
    weights: dict[str, dict[str, Tensor]]
    facts: ImageFacts
    seen: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def job(self) -> JobSpec:
        """A job of these networks; what it says of data and training stands for what is not known."""
        relativistic = self.use == "r3gan"
        networks = {name: {"use": self.use, **self.arguments.get(name, {})} for name in ("generator", "discriminator")}
        if "discriminator" not in self.arguments:
            networks["discriminator"] = {"use": "mlp"}
        word = re.sub(r"[^a-z0-9]+", "-", self.file.stem.lower()).strip("-")[:50] or self.use
        facts = self.facts
        return JobSpec.model_validate(
            {
                "name": word,
                "data": {
                    "source": self.file.name,
                    "size": facts.size,
                    "channels": facts.channels,
                    "labels": "source" if facts.classes else "none",
                },
                **networks,
                "objective": "relativistic" if relativistic else "non_saturating",
                "penalties": [{"use": "r1"}, {"use": "r2"}] if relativistic else [{"use": "r1", "every": 16}],
                "ema": {"half_life": "10k"} if "generator_ema" in self.weights else None,
                "batch": 32,
                "until": "1 steps",
            }
        )


def is_published(ref: str) -> bool:
    """Whether what was named is a file that may be a published pickle."""
    return ref.lower().endswith(ENDINGS) and absolute_path(ref).is_file()


def read_published(path: str | Path) -> PublishedModel:
    """The networks of a published file, without running anything in it.

    Raises:
        UsageError: it holds none that are known; the text says what it holds.
    """
    file = absolute_path(path)
    holds = read_pickle(file)
    modules = {name: holds[name] for name in KINDS if isinstance(holds, dict) and isinstance(holds.get(name), Record)}
    if not modules:
        raise UsageError(f"{str(file)!r} holds no networks G, G_ema or D, as published snapshots of GANs do")
    tensors = {KINDS[name]: tensors_of(module) for name, module in modules.items()}
    family = _r3gan if any(key.startswith("Model.") for one in tensors.values() for key in one) else _stylegan2
    found = PublishedModel(
        file=file, use="", arguments={}, weights={}, facts=ImageFacts(count=0, checksum="", size=8, channels=3)
    )
    family(found, tensors, modules)
    if not found.weights:
        raise UsageError(f"{str(file)!r}: {'; '.join(found.left_out)}")
    seen = holds.get("cur_nimg")
    found.seen = seen if type(seen) is int and 0 <= seen < 1 << 53 else 0
    _check(found, file)
    return found


def imported_model(found: PublishedModel, weights: str = "ema") -> Model:
    """The generator of a published file as a model.

    Args:
        weights: ema, or raw for those without averaging.

    Raises:
        UsageError: there is no such choice of weights, or no generator that is known.
    """
    if weights not in ("ema", "raw"):
        raise UsageError(f"weights: {weights!r}; allowed: ema, raw")
    if "generator" not in found.arguments:
        raise UsageError(f"{str(found.file)!r}: {'; '.join(found.left_out) or 'it holds no generator'}")
    name = "generator_ema" if weights == "ema" and "generator_ema" in found.weights else "generator"
    if name not in found.weights:
        raise UsageError(f"{str(found.file)!r} holds no generator without averaging; take --weights ema")
    generator = build_networks(found.job, found.facts, ["generator"])["generator"]
    load_weights(generator, found.weights[name], name)
    generator.eval().requires_grad_(False)
    return Model(
        generator=generator,
        spec=found.job,
        facts=found.facts,
        seen=found.seen,
        uri=str(found.file),
        name=found.job.name,
    )


def published_checkpoint(path: str, parent: Folder, warn: Callable[[str], None]) -> Checkpoint:
    """A published model as a checkpoint of ours that runs start from, made once for each file.

    Args:
        warn: told which networks of the file cannot be taken.
    """
    found = read_published(path)
    for text in found.left_out:
        warn(f"--from: {text}")
    weights = dict(found.weights)
    # Where the file has the average alone, it is what training goes on from.
    if "generator_ema" in weights:
        weights.setdefault("generator", weights["generator_ema"])
    name = sha256_of(found.file)[:DIGITS]
    return imported_checkpoint(parent, name, spec=found.job, facts=found.facts, seen=found.seen, weights=weights)


def _check(found: PublishedModel, file: Path) -> None:
    """Whether what was read fills our networks, before any memory is taken for them."""
    with torch.device("meta"):
        built = build_networks(found.job, found.facts, list(found.arguments))
    for name, weights in found.weights.items():
        try:
            check_weights(built[name.removesuffix("_ema")], weights, name)
        except ValueError as error:
            raise UsageError(f"{str(file)!r} is not of a form that is known: {error}") from error


# --- StyleGAN2 -------------------------------------------------------------------------------------------------------

SYNTHESIS = (
    (r"synthesis\.b4\.const", "basis"),
    (r"synthesis\.b(\d+)\.conv([01])\.affine\.(weight|bias)", "layers.{layer}.style.{2}"),
    (r"synthesis\.b(\d+)\.conv([01])\.(weight|bias)", "layers.{layer}.{2}"),
    (r"synthesis\.b(\d+)\.conv([01])\.noise_strength", "layers.{layer}.strength"),
    (r"synthesis\.b(\d+)\.torgb\.affine\.(weight|bias)", "pictures.{stage}.style.{1}"),
    (r"synthesis\.b(\d+)\.torgb\.(weight|bias)", "pictures.{stage}.{1}"),
    (r"mapping\.fc(\d+)\.(weight|bias)", "map.layers.{0}.{1}"),
    (r"mapping\.embed\.(weight|bias)", "map.embed.{0}"),
)
JUDGES = (
    (r"b(\d+)\.fromrgb\.(weight|bias)", "first.{1}"),
    (r"b(\d+)\.conv([01])\.(weight|bias)", "blocks.{down}.body.{1}.{2}"),
    (r"b(\d+)\.skip\.weight", "blocks.{down}.aside.weight"),
    (r"b4\.conv\.(weight|bias)", "last.{0}"),
    (r"b4\.fc\.(weight|bias)", "dense.{0}"),
    (r"b4\.out\.(weight|bias)", "head.{0}"),
    (r"mapping\.fc(\d+)\.(weight|bias)", "map.layers.{0}.{1}"),
    (r"mapping\.embed\.(weight|bias)", "map.embed.{0}"),
)


def _stylegan2(found: PublishedModel, tensors: Mapping[str, Tensors], modules: Mapping[str, Record]) -> None:
    """Fills in what a StyleGAN2 file holds."""
    found.use = "stylegan2"
    for name, theirs in tensors.items():
        generates = name != "discriminator"
        if generates and any(key.startswith("synthesis.input.") for key in theirs):
            found.left_out.append(f"{name} is StyleGAN3's, which there is no network for; its discriminator is known")
            continue
        if not generates and not any(".skip." in key for key in theirs):
            found.left_out.append("discriminator is of StyleGAN2's `orig` form, which there is no network for")
            continue
        largest = max(_resolutions(theirs), default=4)
        ours = _renamed(theirs, SYNTHESIS if generates else JUDGES, largest)
        found.weights[name] = ours
        read = _stylegan2_generator if generates else _stylegan2_discriminator
        arguments, channels, classes = read(ours, largest)
        if not generates:
            arguments["group"] = _group(modules["D"])
        found.arguments[name.removesuffix("_ema")] = arguments
        found.facts = _facts(largest, channels, classes)


def _stylegan2_generator(ours: Tensors, largest: int) -> tuple[dict[str, Any], int, int]:
    """Arguments, image channels and classes, by the shapes of the weights."""
    widths = [_shape(ours, f"layers.{max(0, 2 * stage)}.weight")[0] for stage in range(largest.bit_length() - 2)]
    w = _shape(ours, "layers.0.style.weight")[1]
    classes = ours["map.embed.weight"].shape[1] if "map.embed.weight" in ours else 0
    arguments = {
        "z": _shape(ours, "map.layers.0.weight")[1] - (w if classes else 0),
        "w": w,
        "mapping": sum(re.fullmatch(r"map\.layers\.\d+\.weight", key) is not None for key in ours),
        **_capacity(widths),
    }
    return arguments, _shape(ours, "pictures.0.weight")[0], classes


def _stylegan2_discriminator(ours: Tensors, largest: int) -> tuple[dict[str, Any], int, int]:
    widths = [_shape(ours, "last.weight")[0]]
    widths += [
        _shape(ours, f"blocks.{number}.body.0.weight")[1] for number in reversed(range(largest.bit_length() - 3))
    ]
    classes = ours["map.embed.weight"].shape[1] if "map.embed.weight" in ours else 0
    mapping = sum(re.fullmatch(r"map\.layers\.\d+\.weight", key) is not None for key in ours)
    return {"mapping": max(1, mapping), **_capacity(widths)}, _shape(ours, "first.weight")[1], classes


def _capacity(widths: list[int]) -> dict[str, int]:
    """`capacity` and `most` that give these channels from 4 pixels on."""
    most = max(widths)
    narrower = [width * (4 << step) for step, width in enumerate(widths) if width < most]
    return {"capacity": narrower[0] if narrower else most * (4 << (len(widths) - 1)), "most": most}


def _group(module: Record) -> int:
    """Samples whose deviation is taken; 4 where the file does not say, as its code has it."""
    arguments = module.attributes.get("_init_kwargs")
    inner = arguments.get("epilogue_kwargs") if isinstance(arguments, dict) else None
    group = inner.get("mbstd_group_size", 4) if isinstance(inner, dict) else 4
    return group if type(group) is int and group >= 1 else 4


def _places(side: int, largest: int) -> dict[str, int]:
    """Numbers of the parts at a resolution: from 4 pixels up, and from the image down."""
    stage = side.bit_length() - 3
    return {"stage": stage, "down": largest.bit_length() - side.bit_length()}


def _resolutions(theirs: Tensors) -> Iterator[int]:
    for key in theirs:
        if match := re.match(r"(?:synthesis\.)?b(\d+)\.", key):
            yield int(match[1])


def _renamed(theirs: Tensors, table: tuple[tuple[str, str], ...], largest: int) -> dict[str, Tensor]:
    """Weights under our names. One that no row knows keeps its own, so that the check names it."""
    ours: dict[str, Tensor] = {}
    for key, tensor in theirs.items():
        if LEFT.fullmatch(key):
            continue
        for pattern, name in table:
            if (match := re.fullmatch(pattern, key)) is None:
                continue
            groups = match.groups()
            at = _places(int(groups[0]), largest) if "{stage}" in name or "{layer}" in name or "{down}" in name else {}
            # conv1 of 4 pixels is the first layer; of each larger size conv0 and conv1 come in turn.
            layer = max(0, 2 * at.get("stage", 0) - 1 + int(groups[1])) if "{layer}" in name else 0
            ours[name.format(*groups, layer=layer, **at)] = tensor
            break
        else:
            ours[key] = tensor
    return ours


# --- R3GAN -----------------------------------------------------------------------------------------------------------


def _r3gan(found: PublishedModel, tensors: Mapping[str, Tensors], modules: Mapping[str, Record]) -> None:
    """Fills in what an R3GAN file holds."""
    found.use = "r3gan"
    for name, stored in tensors.items():
        theirs = {key.removeprefix("Model."): one for key, one in stored.items() if not LEFT.fullmatch(key)}
        generates = name != "discriminator"
        stages = 1 + max((int(key.split(".")[1]) for key in theirs if key.startswith("MainLayers.")), default=-1)
        if not stages:
            found.left_out.append(f"{name} has no stages, as R3GAN's networks have")
            continue
        # Blocks of a generator come after its transition, which has number 0; those of a discriminator before theirs.
        first = 1 if generates else 0
        widths = [_shape(theirs, f"MainLayers.{s}.Layers.{first}.LinearLayer1.Layer.weight")[1] for s in range(stages)]
        blocks = sum(
            re.fullmatch(r"MainLayers\.0\.Layers\.\d+\.LinearLayer1\.Layer\.weight", key) is not None for key in theirs
        )
        moves = dict(_r3gan_generator(widths, blocks) if generates else _r3gan_discriminator(widths, blocks))
        found.weights[name] = {moves.get(key, key): tensor for key, tensor in theirs.items()}
        squares = widths if generates else widths[::-1]
        classes = _shape(theirs, "EmbeddingLayer.weight")[1] if "EmbeddingLayer.weight" in theirs else 0
        arguments: dict[str, Any] = {
            "width": squares[0],
            "wide": 4 << (sum(width == squares[0] for width in squares) - 1),
            "group": _shape(theirs, f"MainLayers.0.Layers.{first}.LinearLayer2.Layer.weight")[1],
            "blocks": blocks,
        }
        if generates:
            inputs = _shape(theirs, "MainLayers.0.Layers.0.LinearLayer.weight")[1]
            arguments["z"] = inputs - (_shape(theirs, "EmbeddingLayer.weight")[0] if classes else 0)
        found.arguments[name.removesuffix("_ema")] = arguments
        picture = "AggregationLayer.Layer.weight" if generates else "ExtractionLayer.Layer.weight"
        found.facts = _facts(4 << (stages - 1), _shape(theirs, picture)[0 if generates else 1], classes)


def _r3gan_generator(widths: list[int], blocks: int) -> Iterator[tuple[str, str]]:
    """(their name, ours) of each weight of a generator with these channels from 4 pixels on."""
    yield "MainLayers.0.Layers.0.Basis", "basis"
    yield "MainLayers.0.Layers.0.LinearLayer.weight", "scale.weight"
    yield "EmbeddingLayer.weight", "embed.weight"
    for block in range(blocks):
        yield from _r3gan_block(f"MainLayers.0.Layers.{block + 1}", f"first.{block}")
    at = 0
    for stage, (before, after) in enumerate(pairwise(widths), 1):
        if before != after:
            yield f"MainLayers.{stage}.Layers.0.LinearLayer.Layer.weight", f"rest.{at}.weight"
            at += 1
        for block in range(blocks):
            yield from _r3gan_block(f"MainLayers.{stage}.Layers.{block + 1}", f"rest.{at + 1}.{block}")
        at += 2
    yield "AggregationLayer.Layer.weight", f"rest.{at}.weight"


def _r3gan_discriminator(widths: list[int], blocks: int) -> Iterator[tuple[str, str]]:
    """(their name, ours) of each weight of a discriminator with these channels from the image down."""
    yield "ExtractionLayer.Layer.weight", "first.0.weight"
    yield "EmbeddingLayer.weight", "embed.weight"
    at = 1
    for stage, (before, after) in enumerate(pairwise(widths)):
        for block in range(blocks):
            yield from _r3gan_block(f"MainLayers.{stage}.Layers.{block}", f"first.{at}.{block}")
        at += 2
        if before != after:
            yield f"MainLayers.{stage}.Layers.{blocks}.LinearLayer.Layer.weight", f"first.{at}.weight"
            at += 1
    last = len(widths) - 1
    for block in range(blocks):
        yield from _r3gan_block(f"MainLayers.{last}.Layers.{block}", f"last.{block}")
    yield f"MainLayers.{last}.Layers.{blocks}.Basis.weight", "pool.weight"
    yield f"MainLayers.{last}.Layers.{blocks}.LinearLayer.weight", "head.weight"


def _r3gan_block(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for number, place in ((1, 0), (2, 2), (3, 4)):
        yield f"{theirs}.LinearLayer{number}.Layer.weight", f"{ours}.branch.{place}.weight"
    for number, place in ((1, 0), (2, 2)):
        yield f"{theirs}.NonLinearity{number}.Bias", f"{ours}.branch.{place}.bias"


# --- what they share -------------------------------------------------------------------------------------------------


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    """The shape of a weight, of at least two dimensions. Raises UsageError where there is none of that name."""
    if name not in tensors or tensors[name].ndim < 2:
        raise UsageError(f"the file lacks the weight {name}, so that it is not of a form that is known")
    return tuple(tensors[name].shape)


def _facts(size: int, channels: int, classes: int) -> ImageFacts:
    if classes > MOST_CLASSES:
        raise UsageError(f"the file is of {classes:,} classes; at most {MOST_CLASSES:,} are read")
    names = tuple(map(str, range(classes)))
    return ImageFacts(count=0, checksum="", size=size, channels=channels, classes=names, class_counts=(1,) * classes)

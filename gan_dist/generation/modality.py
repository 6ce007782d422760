"""What differs between images, pairs of images and text, in one object for each: `modality_of(facts)`.

How stored samples become what networks see, what a sample is conditioned on, what metrics compare, and how samples are
shown. Networks and data come as arguments; the loop, the state and the adversarial objectives say neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from gan_dist.data.conditioning import Conditioning
from gan_dist.data.encoding import image, text
from gan_dist.data.facts import DataFacts, ImageFacts, LatentFacts, PairFacts, TextFacts, UnpairedFacts
from gan_dist.data.ingest import Ingest
from gan_dist.data.order import shuffle
from gan_dist.distributed.randomness import Rng
from gan_dist.generation.latent_codec import DecodedGenerator, DecodedRows, LatentCodec
from gan_dist.generation.samples import (
    Sheet,
    fixed_samples,
    generate,
    mean_nearest_distance,
    metric_labels,
    metric_samples,
    real_samples,
    render_sheet,
)
from gan_dist.spec.data import DataSpec

SHOWN, TRIPLES = 24, 3
# Stored samples to what networks see of them, and to conditions that are part of the samples.
Encode = Callable[[Tensor, Callable[[str], Rng]], tuple[Tensor, Tensor | None]]
# The samples, or the classes, with these numbers.
Draw = Callable[[range], Tensor]
F = TypeVar("F", bound=DataFacts)


class Modality(Generic[F]):
    """Samples that a generator makes of noise and, where the data have them, of a class or a vector of numbers.

    Attributes:
        facts: of the data.
        condition: what a sample is conditioned on, as an exported program names it.
        needs_data: whether a generator makes samples of the data's own inputs, so that none are made without them.
        measured_by_data: whether metrics take what samples are conditioned on from the data themselves.
        shape_words: the axes of a batch, for messages.
    """

    condition = "classes"
    needs_data = False
    shape_words = "[B, C, H, W]"

    def __init__(self, facts: F) -> None:
        self.facts = facts

    @property
    def measured_by_data(self) -> bool:
        return self.needs_data or bool(self.facts.vectors)

    @property
    def real_facts(self) -> DataFacts:
        """Of the real samples that metrics compare with."""
        return self.facts

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        """Make what turns stored samples into what networks see, and into conditions that are part of the samples."""
        raise NotImplementedError

    def conditions(
        self, *, generator: nn.Module, rows: Ingest, numbers: range, seed: int, rng: Rng, device: torch.device
    ) -> Tensor | None:
        """The conditions of the samples with these numbers, as often as the data have them; None where there are
        none."""
        conditioning = Conditioning.of(self.facts, rows, device)
        return None if conditioning is None else conditioning.draw(rng)

    def example_conditions(self, n: int, rng: Rng | None) -> Tensor | None:
        """Conditions of the right shape and type for n samples: random by `rng`, or without memory where that is
        None."""
        facts = self.facts
        if facts.vectors:
            width = len(facts.vectors[0])
            return torch.zeros(n, width, device="meta") if rng is None else rng.normal(width)
        if not facts.classes:
            return None
        return torch.zeros(n, dtype=torch.int64, device="meta") if rng is None else torch.arange(n) % len(facts.classes)

    def to_public(self, samples: Tensor) -> Tensor | list[str]:
        """Samples as the Python API gives them."""
        return samples

    def sheet(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> tuple[Sheet, Tensor]:
        """Samples on the fixed noise of `seed` as people look at them, and the samples themselves."""
        samples, labels = fixed_samples(generator, seed, self.facts, device)
        return render_sheet(samples, self.facts, labels), samples

    def real_sheet(self, rows: Ingest, seed: int) -> Sheet | None:
        """Real samples as people look at them; None where each sheet of generated ones shows them too."""
        samples, labels = real_samples(rows, seed)
        return render_sheet(samples, self.facts, labels if self.facts.classes else None)

    def real_samples(self, rows: Ingest, seed: int) -> Tensor:
        """The real samples that those of a sheet are compared with."""
        return real_samples(rows, seed)[0]

    def metric_draw(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> Draw:
        """Generated samples by their numbers, of classes or vectors as often as the data have them."""
        conditioning = Conditioning.of(self.facts, rows, device)
        return lambda part: metric_samples(generator, part, seed, conditioning, device)

    def metric_labels(self, generator: nn.Module, seed: int, device: torch.device) -> Draw | None:
        """The classes of those samples; None where there are none."""
        conditioning = Conditioning.of(self.facts, None, device) if self.facts.classes else None
        if conditioning is None:
            return None
        return lambda part: metric_labels(generator, part, seed, conditioning, device)

    def metric_targets(self, rows: Ingest | None, seed: int) -> Draw | None:
        """What those samples should be; None where nothing in particular."""
        return None

    def real_rows(self, rows: Ingest) -> Ingest:
        """Real samples of what a generator makes."""
        return rows

    def seen(self, generator: nn.Module, device: torch.device) -> nn.Module:
        """A generator whose samples are those that people see."""
        return generator


class ImageModality(Modality[ImageFacts]):
    """Images, uint8 [B, C, H, W] in storage and in [-1, 1] for networks."""

    def __init__(self, facts: ImageFacts) -> None:
        super().__init__(facts)
        self.condition = "vectors" if facts.vectors else "classes"

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        encoded = image.make_encoder(device, dtype, getattr(data, "xflip", False))
        return lambda rows, rng: (encoded(rows, rng), None)


class LatentModality(ImageModality):
    """Latent maps of images. Networks see maps; people and metrics see what they are decoded to."""

    facts: LatentFacts

    def __init__(self, facts: LatentFacts) -> None:
        super().__init__(facts)
        self._codecs: dict[torch.device, LatentCodec] = {}

    @property
    def measured_by_data(self) -> bool:
        return True

    @property
    def real_facts(self) -> ImageFacts:
        return self.facts.as_images(size=self.facts.picture_size, channels=self.facts.picture_channels)

    def codec(self, device: torch.device) -> LatentCodec:
        """What decodes, on a device; read once. Raises DataError where it is gone."""
        if device not in self._codecs:
            self._codecs[device] = LatentCodec.of(self.facts, device)
        return self._codecs[device]

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        codec = self.codec(device)
        return lambda rows, rng: (codec.draw(rows.to(device, dtype, non_blocking=True), rng("latents")), None)

    def sheet(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> tuple[Sheet, Tensor]:
        return super().sheet(self.seen(generator, device), rows, seed, device)

    def real_sheet(self, rows: Ingest, seed: int) -> Sheet | None:
        return super().real_sheet(self.real_rows(rows), seed)

    def real_samples(self, rows: Ingest, seed: int) -> Tensor:
        return super().real_samples(self.real_rows(rows), seed)

    def metric_draw(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> Draw:
        return super().metric_draw(self.seen(generator, device), rows, seed, device)

    def real_rows(self, rows: Ingest) -> Ingest:
        return DecodedRows(rows, self.codec(torch.device("cpu")), self.real_facts)

    def seen(self, generator: nn.Module, device: torch.device) -> nn.Module:
        """A generator whose samples are pictures."""
        return generator if isinstance(generator, DecodedGenerator) else DecodedGenerator(generator, self.codec(device))


class PairModality(Modality[PairFacts]):
    """Pairs of images: a generator makes one of the other. Stored by channels, what is to be made first."""

    condition = "pictures"
    needs_data = True

    @property
    def real_facts(self) -> ImageFacts:
        return self.facts.as_images()

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        encoded = image.make_encoder(device, dtype, getattr(data, "xflip", False))
        return lambda rows, rng: image.split_pair(encoded(rows, rng))

    def conditions(
        self, *, generator: nn.Module, rows: Ingest, numbers: range, seed: int, rng: Rng, device: torch.device
    ) -> Tensor | None:
        return self._inputs_at(generator, numbers, seed, rows, device)

    def example_conditions(self, n: int, rng: Rng | None) -> Tensor | None:
        shape = (self.facts.input_channels, *self.facts.shape[1:])
        return torch.zeros(n, *shape, device="meta") if rng is None else rng.normal(*shape)

    def sheet(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> tuple[Sheet, Tensor]:
        assert rows is not None
        real, given = self._shown(rows, seed)
        made = generate(generator, SHOWN, seed, _seen(given, generator, device), device)
        return input_output_target(given, made, real), made

    def real_sheet(self, rows: Ingest, seed: int) -> Sheet | None:
        return None

    def real_samples(self, rows: Ingest, seed: int) -> Tensor:
        return self._shown(rows, seed)[0]

    def metric_draw(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> Draw:
        assert rows is not None
        return lambda part: metric_samples(
            generator, part, seed, None, device, self._inputs_at(generator, part, seed, rows, device)
        )

    def metric_targets(self, rows: Ingest | None, seed: int) -> Draw | None:
        assert rows is not None
        return lambda part: image.split_pair(rows.rows(self._choose(rows, seed, part))[0])[0]

    def real_rows(self, rows: Ingest) -> Ingest:
        return TargetImages(rows, self.real_facts)

    def _choose(self, rows: Ingest, seed: int, wanted: range) -> NDArray[np.int64]:
        """Positions of the samples with these numbers in an order of `seed`."""
        return _choose_rows(rows, seed, wanted)

    def _shown(self, rows: Ingest, seed: int) -> tuple[Tensor, Tensor]:
        """The 24 pairs of a run's sheets, uint8 on the CPU: what is to be made, and what it is made of."""
        return image.split_pair(rows.rows(self._choose(rows, seed, range(SHOWN)))[0].cpu())

    def _inputs_at(self, generator: nn.Module, wanted: range, seed: int, rows: Ingest, device: torch.device) -> Tensor:
        """The inputs with these numbers as a generator sees them, [n, C, H, W] in [-1, 1]."""
        stored, _ = rows.rows(self._choose(rows, seed, wanted))
        return _seen(image.split_pair(stored)[1], generator, device)


class UnpairedModality(PairModality):
    """Images of two domains, served side by side though they do not belong together: a generator makes the source's
    look like the target's."""

    facts: UnpairedFacts

    @property
    def real_facts(self) -> ImageFacts:
        return self.facts.as_images(count=self.facts.target_count)

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        mirrored = getattr(data, "xflip", False)

        def encoded(rows: Tensor, rng: Callable[[str], Rng]) -> tuple[Tensor, Tensor]:
            target, source = image.split_pair(image.encode(rows, device, dtype))
            if mirrored:
                target = image.random_mirror(target, rng("xflip").uniform() < 0.5)
                source = image.random_mirror(source, rng("xflip of the source").uniform() < 0.5)
            return target, source

        return encoded

    def sheet(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> tuple[Sheet, Tensor]:
        assert rows is not None
        _, given = self._shown(rows, seed)
        made = generate(generator, SHOWN, seed, _seen(given, generator, device), device)
        return image.enlarge(image.make_grid(image.in_rows(given, made), 2 * TRIPLES)), made

    def real_sheet(self, rows: Ingest, seed: int) -> Sheet | None:
        return render_sheet(self.real_samples(rows, seed), self.facts)

    def metric_targets(self, rows: Ingest | None, seed: int) -> Draw | None:
        return None

    def real_rows(self, rows: Ingest) -> Ingest:
        return TargetDomain(rows, self.real_facts)

    def _choose(self, rows: Ingest, seed: int, wanted: range) -> NDArray[np.int64]:
        return domain_positions(self.facts, seed, wanted)


class TextModality(Modality[TextFacts]):
    """Sentences: token ids [B, T]."""

    shape_words = "[B, T]"

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        return lambda rows, rng: (text.encode(rows, device), None)

    def to_public(self, samples: Tensor) -> Tensor | list[str]:
        return text.decode_lines(samples, self.facts.codec)

    def sheet(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> tuple[Sheet, Tensor]:
        drawing, unknown = getattr(generator, "drawing", None), self.facts.codec.unknown
        if drawing is None or unknown is None:
            return super().sheet(generator, rows, seed, device)
        generator.drawing = replace(drawing, never=(unknown,))
        try:
            return super().sheet(generator, rows, seed, device)
        finally:
            generator.drawing = drawing


class PromptedText(TextModality):
    """Sentences that follow a prompt [B, P]. Stored side by side, the prompt first."""

    condition = "prompts"

    @property
    def measured_by_data(self) -> bool:
        return True

    def encoder(self, data: DataSpec, device: torch.device, dtype: torch.dtype) -> Encode:
        return lambda rows, rng: text.split_prompts(text.encode(rows, device), self.facts.codec)

    def conditions(
        self, *, generator: nn.Module, rows: Ingest, numbers: range, seed: int, rng: Rng, device: torch.device
    ) -> Tensor | None:
        return self._prompts_at(rows, seed, numbers, device)

    def example_conditions(self, n: int, rng: Rng | None) -> Tensor | None:
        codec = self.facts.codec
        if rng is None:
            return torch.zeros(n, codec.prompt_length, dtype=torch.int64, device="meta")
        known = text.encode_prompts(self.facts.prompts, codec)
        return known[torch.arange(n) % len(known)]

    def real_sheet(self, rows: Ingest, seed: int) -> Sheet | None:
        written, prompts = text.split_prompts(real_samples(rows, seed)[0], self.facts.codec)
        return render_sheet(written, self.facts, prompts)

    def real_samples(self, rows: Ingest, seed: int) -> Tensor:
        return text.split_prompts(real_samples(rows, seed)[0], self.facts.codec)[0]

    def metric_draw(self, generator: nn.Module, rows: Ingest | None, seed: int, device: torch.device) -> Draw:
        assert rows is not None
        return lambda part: metric_samples(
            generator, part, seed, None, device, self._prompts_at(rows, seed, part, device)
        )

    def real_rows(self, rows: Ingest) -> Ingest:
        return Continuations(rows)

    def _prompts_at(self, rows: Ingest, seed: int, wanted: range, device: torch.device) -> Tensor:
        """The prompts with these numbers as a generator sees them, [n, P]."""
        stored, _ = rows.rows(_choose_rows(rows, seed, wanted))
        _, prompts = text.split_prompts(text.encode(stored, device), self.facts.codec)
        assert prompts is not None
        return prompts


def modality_of(facts: DataFacts) -> Modality[Any]:
    """The object that knows how samples of these data are handled."""
    if isinstance(facts, TextFacts):
        return TextModality(facts) if facts.codec.prompt is None else PromptedText(facts)
    if isinstance(facts, UnpairedFacts):
        return UnpairedModality(facts)
    if isinstance(facts, PairFacts):
        return PairModality(facts)
    assert isinstance(facts, ImageFacts)
    return LatentModality(facts) if isinstance(facts, LatentFacts) else ImageModality(facts)


class SampleGrids:
    """The sheets of a run: the generator on the run's fixed noise, how far its samples lie apart, and real samples."""

    def __init__(self, rows: Ingest, seed: int, device: torch.device) -> None:
        self.rows, self.seed, self.device = rows, seed, device
        self.modality = modality_of(rows.facts)
        self._real_nearest: float | None = None

    def real(self) -> Sheet | None:
        """Real samples; None where each sheet has what is real beside what is made."""
        return self.modality.real_sheet(self.rows, self.seed)

    def draw(self, generator: nn.Module) -> tuple[Sheet, float | None]:
        """Generated samples, and how far they lie apart as a multiple of what real ones do, if those differ at all."""
        sheet, samples = self.modality.sheet(generator, self.rows, self.seed, self.device)
        return sheet, self._apart(samples)

    def _apart(self, samples: Tensor) -> float | None:
        if self._real_nearest is None:
            real = self.modality.real_samples(self.rows, self.seed)
            distinct = torch.unique(real.flatten(1), dim=0)  # a sheet repeats what is rare
            self._real_nearest = mean_nearest_distance(distinct.view(-1, *real.shape[1:])) if len(distinct) > 1 else 0.0
        return mean_nearest_distance(samples) / self._real_nearest if self._real_nearest else None


@dataclass(frozen=True)
class TargetSamples:
    """What is to be made, without what it is made of: the real samples that metrics compare with."""

    whole: Ingest

    @property
    def facts(self) -> DataFacts:
        return self.whole.facts

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.whole.labels

    @property
    def vectors(self) -> None:
        return None

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        return self.whole.positions(reals_drawn)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        stored, labels = self.whole.rows(positions)
        return self.target_of(stored), labels

    def target_of(self, stored: Tensor) -> Tensor:
        """The part of stored samples that is to be made."""
        raise NotImplementedError


@dataclass(frozen=True)
class TargetImages(TargetSamples):
    """The images of pairs that are to be made. `own` are their facts."""

    own: ImageFacts

    @property
    def facts(self) -> ImageFacts:
        return self.own

    def target_of(self, stored: Tensor) -> Tensor:
        return image.split_pair(stored)[0]


@dataclass(frozen=True)
class TargetDomain(TargetImages):
    """The images of the target domain, which lie behind those of the source."""

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.zeros(self.own.count, np.int64)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        samples, labels = self.whole.rows(positions + (self.whole.facts.count - self.own.count))
        return samples, torch.zeros_like(labels)


class Continuations(TargetSamples):
    """What follows prompts."""

    def target_of(self, stored: Tensor) -> Tensor:
        facts = self.whole.facts
        assert isinstance(facts, TextFacts)
        return text.split_prompts(stored, facts.codec)[0]


def input_output_target(given: Tensor, made: Tensor, real: Tensor) -> Image.Image:
    """Three pictures for each pair: the input, what is made of it, and what it should be."""
    return image.enlarge(image.make_grid(image.in_rows(given, made, real), 3 * TRIPLES))


def _choose_rows(rows: Ingest, seed: int, wanted: range) -> NDArray[np.int64]:
    """Positions of the samples with these numbers in an order of `seed`, which begins anew after all."""
    order = shuffle(rows.facts.count, seed, "shown")
    return order[np.arange(wanted.start, wanted.stop) % len(order)]


def domain_positions(facts: UnpairedFacts, seed: int, wanted: range) -> NDArray[np.int64]:
    """Positions of a picture of the target and one of the source for each of these numbers, [n, 2], each domain in an
    order of `seed` that begins anew after all."""
    numbers = np.arange(wanted.start, wanted.stop)
    source = shuffle(facts.source_count, seed, "shown")
    target = shuffle(facts.target_count, seed, "shown", "target") + facts.source_count
    return np.stack([target[numbers % len(target)], source[numbers % len(source)]], 1)


def _seen(given: Tensor, generator: nn.Module, device: torch.device) -> Tensor:
    return image.encode(given, device, next(generator.parameters()).dtype)

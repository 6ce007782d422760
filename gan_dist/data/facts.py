"""What data turned out to be, and whether a job can use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gan_dist.data.codec import Codec
from gan_dist.data.prompts import describe_prompts, prompt_form
from gan_dist.data.text.held_out import HeldOutText
from gan_dist.data.text.oracle import open_oracle
from gan_dist.errors import DataError
from gan_dist.spec.data import CodecSpec, DataSection, PictureData, TextData
from gan_dist.spec.fields import Held
from gan_dist.spec.image_size import Size, parse_size, show_size, sides, size_from_json

NAMED = 10
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the data turned out to be; stored with every checkpoint.

    Attributes:
        count: usable samples.
        classes: class names in label order; empty when unconditional.
        class_counts: samples of each class.
        vectors: some of the vectors [K] that samples are conditioned on, for those made without the data; empty where
            there are none.
        class_weights: in what proportion classes are served; empty for that of the data.
        checksum: over the decoded samples and labels in canonical order.
        rejected: (name, reason) of what could not be decoded.
        remarks: how the source was read, what was assumed and what was passed over, for people.
        stand_in: whether they only stand for data that are not at hand.
        window: how many shards the order mixes at a time; 0 for all.
    """

    count: int
    checksum: str
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    vectors: tuple[tuple[float, ...], ...] = ()
    class_weights: tuple[float, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    stand_in: bool = False
    window: int = 0

    @property
    def provided(self) -> dict[str, Any]:
        """What networks and extractors are told of the data, by argument."""
        return {"classes": len(self.vectors[0]) if self.vectors else len(self.classes)}

    @property
    def pass_length(self) -> int:
        """Samples that are served until all have been, which is an epoch."""
        return self.count

    @property
    def largest_batch(self) -> int:
        """The most samples that can be served together."""
        return self.count

    def for_metrics(self, held: Held) -> dict[str, Any]:
        """What metrics are told of the data, by argument.

        Args:
            held: which of the sentences that are kept from training.
        """
        return {"class_counts": self.class_counts}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, as G makes it and D judges it."""
        raise NotImplementedError

    @property
    def described(self) -> str:
        """The samples in a few words."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        listed = {"rejected": [list(pair) for pair in self.rejected], "remarks": list(self.remarks)}
        return {**asdict(self), **listed}


@dataclass(frozen=True, kw_only=True)
class ImageFacts(DataFacts):
    """Images. `size`, N or (height, width), and `channels` are those of each."""

    size: Size
    channels: int

    @property
    def provided(self) -> dict[str, Any]:
        return {**super().provided, "size": self.size, "channels": self.channels}

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *sides(self.size))

    @property
    def described(self) -> str:
        height, width = sides(self.size)
        return f"images of {height}x{width} {KINDS[self.channels]}"

    def as_images(self, **changes: Any) -> ImageFacts:
        """What is known of these data as plain images, with some changes."""
        return ImageFacts(**{one.name: getattr(self, one.name) for one in fields(ImageFacts)} | changes)


@dataclass(frozen=True, kw_only=True)
class PairFacts(ImageFacts):
    """Pairs of images: what is to be made, of `size` and `channels`, and what it is made of, with `input_channels`.

    Both are stored as one sample, [channels + input_channels, H, W].
    """

    input_channels: int

    @property
    def provided(self) -> dict[str, Any]:
        return {**super().provided, "input_channels": self.input_channels}

    @property
    def described(self) -> str:
        return f"pairs of {super().described}"


@dataclass(frozen=True, kw_only=True)
class UnpairedFacts(PairFacts):
    """Images of two domains. A sample is served as a pair is, one picture of each, though they do not belong together.

    Attributes:
        count: of both; in canonical order those of the source come first.
        target_count: how many of them are of the target.
    """

    target_count: int

    @property
    def source_count(self) -> int:
        """Pictures of the source."""
        return self.count - self.target_count

    @property
    def pass_length(self) -> int:
        return max(self.source_count, self.target_count)

    @property
    def largest_batch(self) -> int:
        return min(self.source_count, self.target_count)

    @property
    def described(self) -> str:
        counts = f"{self.source_count:,} of the source, {self.target_count:,} of the target"
        return f"unpaired {ImageFacts.described.fget(self)} ({counts})"  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class LatentFacts(ImageFacts):
    """Latent maps of images, stored as means and deviations, [2 * channels, h, w]. `size` and `channels` are the maps'.

    Attributes:
        codec_record: what made them: `where` its files are, their `checksum`, the `mean` and `deviation` of each
            channel of the maps, and `use`, the name of a person's own class.
        picture_size, picture_channels: of the images.
    """

    codec_record: Mapping[str, Any]
    picture_size: Size
    picture_channels: int

    @property
    def described(self) -> str:
        height, width = sides(self.picture_size)
        maps = "x".join(map(str, (self.channels, *sides(self.size))))
        return f"images of {height}x{width} {KINDS[self.picture_channels]} as latents of {maps}"


@dataclass(frozen=True, kw_only=True)
class TextFacts(DataFacts):
    """Sentences.

    Attributes:
        codec: how they are ids, and what the ids mean.
        oracle: what drew them (see `data.oracle`); None for people.
        prompts: some of those that are learnt from; empty where there are none.
        test, validation: where sentences are that nothing is learnt from, and how they are read; None for none.
    """

    codec: Codec
    oracle: Mapping[str, Any] | None = None
    prompts: tuple[str, ...] = ()
    test: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None

    @property
    def provided(self) -> dict[str, Any]:
        own = {"vocabulary": len(self.codec.vocabulary), "length": self.codec.length}
        own |= {"prompt_length": self.codec.prompt_length}
        return {**super().provided, **own, "bos": self.codec.bos, "eos": self.codec.eos, "codec": self.codec}

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.codec.length,)

    def for_metrics(self, held: Held) -> dict[str, Any]:
        oracle = None if self.oracle is None else open_oracle(self.oracle)
        return {**super().for_metrics(held), "codec": self.codec, "oracle": oracle, "held_out": self.held_out(held)}

    def held_out(self, held: Held) -> HeldOutText | None:
        """Sentences that nothing is learnt from, where the job keeps some. Raises DataError."""
        where: Mapping[str, Any] | None = getattr(self, held)
        if where is None:
            return None
        return (
            HeldOutText.stand_in(held, where, self.codec) if self.stand_in else HeldOutText.of(held, where, self.codec)
        )

    @property
    def described(self) -> str:
        kind = (
            "sentences" if self.codec.prompt is None else f"prompts of at most {self.codec.prompt_length} and answers"
        )
        return f"{kind} of at most {self.codec.length} of {len(self.codec.vocabulary):,} tokens"


def facts_from_record(record: Mapping[str, Any]) -> DataFacts:
    """From `as_dict`, or a mapping that holds more.

    Raises:
        DataError: it describes no data.
    """
    try:
        found = _from_record(record)
        sound = found.count >= 0 and found.window >= 0 and all(isinstance(name, str) for name in found.classes)
        sound = sound and all(count >= 0 for count in found.class_counts) and isinstance(found.checksum, str)
        if isinstance(found, LatentFacts):
            sound = sound and found.channels > 0 and parse_size(found.picture_size) == found.picture_size
            sound = sound and found.picture_channels in KINDS and isinstance(found.codec_record, Mapping)
        elif isinstance(found, ImageFacts):
            channels = [found.channels, getattr(found, "input_channels", found.channels)]
            sound = sound and all(one in KINDS for one in channels) and parse_size(found.size) == found.size
        if isinstance(found, UnpairedFacts):
            sound = sound and 0 <= found.target_count <= found.count
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the record of the data is damaged: {type(error).__name__}: {error}") from error
    if not sound:
        raise DataError("the record of the data is damaged: it describes none")
    return found


def _from_record(record: Mapping[str, Any]) -> DataFacts:
    kind = _kind_of(record)
    known = {field.name: record[field.name] for field in fields(kind) if field.name in record}
    known |= {
        name: tuple(known[name])
        for name in ("classes", "class_counts", "class_weights", "remarks", "prompts")
        if name in known
    }
    for name in ("size", "picture_size"):
        if name in known:
            known[name] = size_from_json(known[name])
    known["vectors"] = tuple(map(tuple, known.get("vectors", ())))
    known["rejected"] = tuple((name, why) for name, why in known.get("rejected", ()))
    if kind is TextFacts:
        known["codec"] = Codec.of(known["codec"])
    return kind(**known)


def _kind_of(record: Mapping[str, Any]) -> type[DataFacts]:
    marks = {
        "codec": TextFacts,
        "codec_record": LatentFacts,
        "target_count": UnpairedFacts,
        "input_channels": PairFacts,
    }
    return next((kind for mark, kind in marks.items() if mark in record), ImageFacts)


def check_rejected(where: str, facts: DataFacts, most: float) -> None:
    """Whether few enough samples were rejected.

    Raises:
        DataError: nothing usable is left, or more than the share `most` were rejected; the first ten are named.
    """
    rejected, total = facts.rejected, facts.count + len(facts.rejected)
    if facts.count and len(rejected) <= most * total:
        return
    shown = "".join(f"\n  {name}: {why}" for name, why in rejected[:NAMED])
    raise DataError(
        f"data.source: {len(rejected)} of {total} samples in {where!r} cannot be used, more than "
        f"data.max_rejected: {most:g} allows:{shown}"
    )


def check_domains(facts: DataFacts) -> None:
    """Raises DataError where one of two domains has no usable picture."""
    if not isinstance(facts, UnpairedFacts):
        return
    for key, count in (("source", facts.source_count), ("target", facts.target_count)):
        if not count:
            shown = "".join(f"\n  {name}: {why}" for name, why in facts.rejected[:NAMED])
            raise DataError(f"data.{key}: no picture of this domain can be used{shown}")


def check_images(data: PictureData, facts: ImageFacts) -> None:
    """Raises DataError where size or channels are not those of the job."""
    size, channels = facts.size, facts.channels
    if isinstance(facts, LatentFacts) and data.xflip:
        raise DataError(f"data.xflip: {data.source!r} holds latents, which cannot be mirrored; leave it out")
    if isinstance(facts, LatentFacts):  # a job speaks of the images
        size, channels = facts.picture_size, facts.picture_channels
    check_codec(data, facts)
    encode = getattr(data, "encode", None)
    if isinstance(facts, LatentFacts) and isinstance(encode, CodecSpec) and encode.args:
        raise DataError(
            f"data.encode: {data.source!r} holds latents, whose autoencoder keeps its arguments; remove "
            f"{', '.join(encode.args)}"
        )
    if size != data.size:
        raise DataError(
            f"data.size: {show_size(data.size)}, but {data.source!r} was prepared at {show_size(size)}; set "
            f"data.size: {show_size(size)}, or prepare it anew"
        )
    if data.channels not in ("auto", channels):
        raise DataError(f"data.channels: {data.channels}, but {data.source!r} was prepared with {channels}")


def check_codec(data: DataSection, facts: DataFacts) -> None:
    """Whether a job names the code that its latents are decoded by. Data alone are never a reason to run code.

    Raises:
        DataError: it names none, or other code.
    """
    if not isinstance(facts, LatentFacts):
        return
    made_by, encode = facts.codec_record.get("use"), getattr(data, "encode", None)
    named = encode.use if isinstance(encode, CodecSpec) else None
    if made_by is not None and named != made_by:
        raise DataError(
            f"data.encode: {named}, but {data.source!r} holds latents of somebody's own code; if that is yours, or you "
            f"trust it: data.encode: {{use: {made_by}}}"
        )


def check_text(data: TextData, facts: TextFacts) -> None:
    """Raises DataError where the length, or a way of cutting that the job names, is not that of the preparation."""
    codec = facts.codec
    if codec.length != data.length:
        raise DataError(
            f"data.length: {data.length}, but {data.source!r} was prepared with {codec.length}; set data.length: "
            f"{codec.length}, or prepare it anew"
        )
    if (wanted := prompt_form(data)) != codec.prompt:
        asked, there = describe_prompts(wanted), describe_prompts(codec.prompt)
        raise DataError(
            f"data.prompt: {asked}, but {data.source!r} was prepared with {there}; say the same, or prepare it anew"
        )
    made = {"tokens": codec.splitting.way, "lower": codec.splitting.lower, "too_long": "cut" if codec.cut else "reject"}
    for key in sorted(made):
        asked = "tokenizer" if str(getattr(data, key)).endswith(".json") else getattr(data, key)
        # A job that has travelled names every key, so that a default says nothing.
        if asked not in (made[key], TextData.model_fields[key].default):
            raise DataError(
                f"data.{key}: {asked}, but {data.source!r} was prepared with {made[key]}; leave it out, or prepare anew"
            )

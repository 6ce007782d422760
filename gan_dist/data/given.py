"""Whether data that a person prepared are what the job wants."""

from __future__ import annotations

from gan_dist.data.errors import DataError
from gan_dist.data.facts import ImageFacts, TextFacts
from gan_dist.spec.data import PictureData, TextData


def check_images(data: PictureData, facts: ImageFacts) -> None:
    """Raises DataError where size or channels are not those of the job."""
    if facts.size != data.size:
        raise DataError(
            f"data.size: {data.size}, but {data.source!r} was prepared at {facts.size}; set data.size: {facts.size}, "
            "or prepare it anew"
        )
    if data.channels not in ("auto", facts.channels):
        raise DataError(f"data.channels: {data.channels}, but {data.source!r} was prepared with {facts.channels}")


def check_text(data: TextData, facts: TextFacts) -> None:
    """Raises DataError where the length, or a way of cutting that the job names, is not that of the preparation."""
    codec = facts.codec
    if codec.length != data.length:
        raise DataError(
            f"data.length: {data.length}, but {data.source!r} was prepared with {codec.length}; set data.length: "
            f"{codec.length}, or prepare it anew"
        )
    made = {"tokens": codec.splitting.way, "lower": codec.splitting.lower, "too_long": "cut" if codec.cut else "reject"}
    for key in sorted(made):
        asked = "tokenizer" if str(getattr(data, key)).endswith(".json") else getattr(data, key)
        # A job that has travelled names every key, so that a default says nothing.
        if asked not in (made[key], TextData.model_fields[key].default):
            raise DataError(
                f"data.{key}: {asked}, but {data.source!r} was prepared with {made[key]}; leave it out, or prepare anew"
            )

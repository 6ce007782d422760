"""What the data tell components, and which data a network can be built for."""

from __future__ import annotations

from gan_dist.registry.aliases import ALIASES, Kind
from gan_dist.registry.signatures import Signature
from gan_dist.spec.data import Modality

# Argument names that the data decides, and the key of `data` that decides them.
_INPUT = "input_channels"
_OF_IMAGES = {"size": "data.size", "channels": "data.channels", _INPUT: "data.channels"}
_OF_TEXT = {"vocabulary": "data.vocabulary", "length": "data.length", "bos": "data.tokens", "eos": "data.tokens"}
_OF_TEXT["codec"] = "data.tokens"
_BY_THE_DATA = {**_OF_IMAGES, **_OF_TEXT, "classes": "data.labels"}
PROVIDED: dict[Kind, dict[str, str]] = {
    kind: {} if kind in ("objective", "penalty", "augment") else _BY_THE_DATA for kind in ALIASES
}
PROVIDED["metric"] = {"codec": "data.tokens", "held_out": "data.test", "oracle": "data.source"}
PROVIDED["metric"] |= {"class_counts": "data.labels"}


PLURAL: dict[Modality, str] = {"image": "images", "pair": "pairs of images", "text": "text"}


def modalities_of(takes: Signature) -> tuple[Modality, ...]:
    """What kinds of data a network can be built for, by what it must be told of them."""
    needs = {param.name for param in takes.params if param.required}
    if needs & _OF_TEXT.keys():
        return ("text",)
    if needs & {_INPUT}:
        return ("pair",)
    if needs & _OF_IMAGES.keys():
        return ("image", "pair") if takes.open or any(param.name == _INPUT for param in takes.params) else ("image",)
    return ("image", "pair", "text")

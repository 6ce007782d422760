"""Train any GAN, of images or text, distributed on Ray, from one validated YAML file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan_dist.api import train
    from gan_dist.generation.model import Model, load

__version__ = "0.1.0"

# Where the public names are. They come with torch, so each is imported when first asked for.
_PUBLIC = {"Model": "gan_dist.generation.model", "load": "gan_dist.generation.model", "train": "gan_dist.api"}
__all__ = ["Model", "__version__", "load", "train"]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'gan_dist' has no attribute {name!r}")

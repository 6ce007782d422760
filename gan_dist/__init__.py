"""Train any GAN, of images or text, distributed on Ray, from one validated YAML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan_dist.api import train
    from gan_dist.generation.model import load

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def __getattr__(name: str) -> object:
    """`train` and `load` come with torch, so they are imported when first asked for."""
    if name in ("load", "train"):
        from gan_dist import api

        return getattr(api, name)
    raise AttributeError(f"module 'gan_dist' has no attribute {name!r}")

"""Train any GAN, of images or text, distributed on Ray, from one validated YAML file.

Example:
    >>> import gan_dist
    >>> run = gan_dist.train("jobs/mlp.yaml", until="20k")
    >>> pixels = run.sample(64, seed=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan_dist.api import Run, compare, evaluate, export, list_runs, submit, train
    from gan_dist.contracts import Batch, Nets, Phase, Term, mean_over, sides, watch
    from gan_dist.errors import GanDistError
    from gan_dist.generation.model import Model, load

__version__ = "0.1.0"

# Where the public names are. Most come with torch, so each is imported when first asked for.
_PUBLIC = {
    "gan_dist.api": ("Run", "compare", "evaluate", "export", "list_runs", "submit", "train"),
    "gan_dist.contracts": ("Batch", "Nets", "Phase", "Term", "mean_over", "sides", "watch"),
    "gan_dist.errors": ("GanDistError",),
    "gan_dist.generation.model": ("Model", "load"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [
    "Batch",
    "GanDistError",
    "Model",
    "Nets",
    "Phase",
    "Run",
    "Term",
    "__version__",
    "compare",
    "evaluate",
    "export",
    "list_runs",
    "load",
    "mean_over",
    "sides",
    "submit",
    "train",
    "watch",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gan_dist' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

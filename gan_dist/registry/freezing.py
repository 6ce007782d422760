"""Parts of networks that are not trained: the blocks next to the image (FreezeD: Mo, Cho and Shin 2020, arXiv
2002.10964), or parts by their names. Gradients by x go through them; they have no optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from gan_dist.errors import UsageError
from gan_dist.spec.problems import suggestion


def freeze(network: nn.Module, what: int | str | Sequence[str], key: str) -> None:
    """Take parts of a network out of training.

    Args:
        network: its `image_blocks()` are lists of modules, those next to the image first; `part_names` maps words that
            a job may use to names of modules.
        what: how many of these blocks, or names of parts: such words, or modules by their dotted names.
        key: of the job, for messages.

    Raises:
        UsageError: it has no such parts, or nothing of it would be trained.
    """
    parts = _blocks(network, what, key) if isinstance(what, int) else list(_named(network, what, key))
    for part in parts:
        part.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"{key}: nothing of the network would be trained; freeze less of it")


def _blocks(network: nn.Module, count: int, key: str) -> list[nn.Module]:
    counted: Any = getattr(network, "image_blocks", None)
    if counted is None:
        raise UsageError(
            f"{key}: {count}: {type(network).__module__}.{type(network).__qualname__} has no blocks that are counted "
            f"from the image (`image_blocks`); name parts of it: {', '.join(_names(network))}"
        )
    blocks: list[list[nn.Module]] = counted()
    if count > len(blocks):
        raise UsageError(f"{key}: {count} is more than its {len(blocks)} blocks")
    return [part for block in blocks[:count] for part in block]


def _named(network: nn.Module, what: str | Sequence[str], key: str) -> Iterator[nn.Module]:
    known: dict[str, str] = getattr(network, "part_names", {})
    for name in [what] if isinstance(what, str) else what:
        try:
            part = network.get_submodule(known.get(name, name)) if name else None
        except AttributeError:
            part = None
        if part is None or not any(True for _ in part.parameters()):
            raise UsageError(f"{key}: the network has no part {name!r} to train{suggestion(name, _names(network))}")
        yield part


def _names(network: nn.Module) -> list[str]:
    """Words for parts, and the modules just below, that have anything to train."""
    known: dict[str, str] = getattr(network, "part_names", {})
    below = [name for name, part in network.named_children() if any(True for _ in part.parameters())]
    return [*known, *(name for name in below if name not in known.values())]

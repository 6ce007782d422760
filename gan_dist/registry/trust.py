"""Code that a stored job names: which it is, and whether somebody vouched for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gan_dist.errors import UsageError
from gan_dist.registry.live import is_live
from gan_dist.registry.lookup import component_slots
from gan_dist.runs.index import is_own_run
from gan_dist.spec.data import is_own_data
from gan_dist.spec.fields import is_own_name
from gan_dist.spec.job import JobSpec
from gan_dist.spec.problems import flatten_keys

SHIPPED = (
    "gan_dist.networks.",
    "gan_dist.objectives.",
    "gan_dist.penalties.",
    "gan_dist.augment.",
    "gan_dist.metrics.",
)


def own_code(spec: JobSpec) -> list[str]:
    """Every component of a job that is not shipped, with the key that names it, as `generator.use: my_gan:Net`."""
    return [f"{key}: {use}" for key, use in _named(spec) if is_own(use)]


def foreign_code(spec: JobSpec, parts: Collection[str] | None = None) -> list[str]:
    """The same without those that were given as objects, which are at hand.

    Args:
        parts: of the job, such as `generator` or `networks.inverse`; None for all.
    """
    return [
        f"{key}: {use}"
        for key, use in _named(spec)
        if is_own(use) and not is_live(use) and (parts is None or key.startswith(tuple(f"{part}." for part in parts)))
    ]


def is_own(use: str) -> bool:
    """Whether a component's name stands for code that is not shipped."""
    return is_live(use) or (is_own_name(use) and not use.startswith(SHIPPED))


def _named(spec: JobSpec) -> list[tuple[str, str]]:
    """Key and name of every component that may be a person's own."""
    tree = spec.model_dump(mode="json", by_alias=True)
    named = [(".".join(map(str, (*slot.keys, "use"))), slot.written["use"]) for slot in component_slots(tree)]
    named += _optimizers(tree)
    return named + ([("data.source", spec.data.source)] if is_own_data(spec.data.source) else [])


def check_trust(named: Collection[str], where: str, run_uri: str, trust_code: bool) -> None:
    """Refuse to run code that a stored job names, unless the run is the person's own or they vouch for it.

    Args:
        named: as `foreign_code` gives it.
        where: the folder, for the message.
        run_uri: of the run that it is of; empty where it has left its run.

    Raises:
        UsageError: it is somebody else's, and nobody vouched for it.
    """
    if trust_code or not named or (run_uri and is_own_run(run_uri)):
        return
    raise UsageError(
        f"{where} was not made here, and to use it is to run code found on this machine ({'; '.join(sorted(named))}); "
        "if you trust that code: --trust-code, in Python trust_code=True (gan-dist help security)"
    )


def _optimizers(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The optimisers of torch's own are no foreign code."""
    for key, value in flatten_keys(tree).items():
        parts = key.split(".")
        if "optimizer" in parts and parts[-1] == "use" and not str(value).startswith("torch.optim:"):
            yield key, str(value)

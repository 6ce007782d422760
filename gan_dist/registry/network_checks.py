"""What preflight would refuse of networks, as far as attributes of classes tell it: read from source, without torch.

A network's class says `batch_norm`, True or the arguments by which it has batch normalisation, as `{"norm": "batch"}`,
and `image_channels`, which numbers of channels it takes. A penalty's says `phase` and `second_order`, an objective's
`modality`, and `needs_partners` where it compares each sample with a real one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_dist.registry.aliases import ALIASES
from gan_dist.registry.signatures import read_signature
from gan_dist.registry.slots import ComponentSlot, attribute_of, component_slots, resolve_target
from gan_dist.spec.problems import Keys

Roots = Sequence[str | Path]
Told = Iterator[tuple[Keys, str]]
NETWORK_OF_PHASE = {"G": "generator", "D": "discriminator"}


def check_networks(tree: Mapping[str, Any], roots: Roots) -> Told:
    """(keys, message) of all that is wrong."""
    data = tree.get("data")
    written: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    slots = list(component_slots(tree))
    networks = {str(slot.keys[0]): slot for slot in slots if slot.kind in ("generator", "discriminator")}
    for slot in slots:
        if slot.kind == "penalty" and not _is_replaced(slot, tree):
            yield from _check_penalty(slot, networks, roots)
        elif slot.kind == "augment" and written.get("modality", "image") in ("text", "pair", "unpaired"):
            yield ("augment",), f"changes pictures, but data.modality is {written['modality']}; remove it"
        elif slot.kind == "objective":
            yield from _check_objective(slot, written.get("modality", "image"), roots)
    for slot in networks.values():
        taken = attribute_of(slot, "image_channels", roots)
        if taken and written.get("channels") in (1, 3, 4) and written["channels"] not in taken:
            words = " or ".join(map(str, taken))
            yield (
                ("data", "channels"),
                f"{written['channels']}, but {slot.kind} '{slot.written['use']}' takes images of {words} channels",
            )
    generator = networks.get("generator")
    if tree.get("standing") is not None and generator is not None and generator.written["use"] in ALIASES["generator"]:
        yield from _check_standing(generator, roots)


def _check_objective(slot: ComponentSlot, modality: object, roots: Roots) -> Told:
    use = slot.written["use"]
    says = attribute_of(slot, "modality", roots)
    if says == "text" and modality in ("image", "pair", "unpaired"):
        yield (*slot.keys, "use"), f"'{use}' is for text, but the data are images"
    if attribute_of(slot, "needs_partners", roots) and modality == "unpaired":
        yield (*slot.keys, "use"), f"'{use}' compares each sample with its own real one, which unpaired images lack"
    if says in ("pair", "unpaired") and modality != says:
        yield (*slot.keys, "use"), f"'{use}' is for data.modality: {says}, not {modality}"


def _check_standing(generator: ComponentSlot, roots: Roots) -> Told:
    if not has_batch_norm(generator, roots):
        yield ("standing",), f"generator '{generator.written['use']}' has no batch normalisation; remove this key"


def _is_replaced(slot: ComponentSlot, tree: Mapping[str, Any]) -> bool:
    """Whether a penalty of the job stands in no stage, as each has its own."""
    stages = tree.get("stages")
    if slot.keys[0] != "penalties" or not isinstance(stages, list | tuple) or not stages:
        return False
    return all(isinstance(stage, Mapping) and stage.get("penalties") is not None for stage in stages)


def _check_penalty(slot: ComponentSlot, networks: Mapping[str, ComponentSlot], roots: Roots) -> Told:
    if attribute_of(slot, "second_order", roots) is False:
        return
    network = networks.get(NETWORK_OF_PHASE.get(str(attribute_of(slot, "phase", roots)), ""))
    if network is not None and has_batch_norm(network, roots):
        arguments = attribute_of(network, "batch_norm", roots)
        remedy = f"give the {network.kind} `norm: none`" if isinstance(arguments, Mapping) else "use another network"
        yield (
            (*slot.keys, "use"),
            f"'{slot.written['use']}' differentiates the {network.kind} '{network.written['use']}', whose batch "
            f"normalisation makes samples depend on each other; {remedy}",
        )


def has_batch_norm(slot: ComponentSlot, roots: Roots) -> bool:
    """Whether a network has batch normalisation, as far as its class says so."""
    says = attribute_of(slot, "batch_norm", roots)
    if not isinstance(says, Mapping):
        return says is True
    try:
        params = read_signature(resolve_target(slot.kind, slot.written["use"]), roots).params
    except ValueError:
        return False
    usual = {param.name: param.default for param in params}
    return any(slot.args.get(name, usual.get(name)) == value for name, value in says.items())

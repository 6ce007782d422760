"""Configurations out of a space: drawn one by one from a seed, or every combination of its lists."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gan_dist.spec.space import LISTS, WHOLE, Parameter, rounded
from gan_dist.spec.sweep import SweepSpec, needs

if TYPE_CHECKING:
    import numpy as np

Space = Mapping[str, Parameter]
Values = dict[str, Any]
Choose = Callable[[str, Parameter], Any]


def completed(space: Space, choose: Choose) -> Values:
    """One configuration: free keys by `choose`, tied ones by what they follow; keys whose `when` fails are left out."""
    values: Values = {}
    for key in in_order(space):
        one = space[key]
        if any(values.get(other) not in allowed or other not in values for other, allowed in one.when):
            continue
        if one.kind != "same_as":
            values[key] = choose(key, one)
        elif one.tied in values:
            values[key] = values[one.tied] if one.times is None else _times(values[one.tied], one.times)
    return {key: values[key] for key in space if key in values}


def in_order(space: Space) -> list[str]:
    """The keys of a space, each after those that it follows or depends on."""
    done: list[str] = []
    while waiting := [key for key in space if key not in done]:
        ready = [key for key in waiting if set(needs(space[key])) <= set(done)]
        assert ready, "a space that goes in a circle was let through"
        done += ready
    return done


def drawn(space: Space, seed: int, number: int) -> Values:
    """The `number`-th configuration of a seed, whatever was drawn before; `grid` entries go round in turn."""
    from numpy.random import default_rng

    generator = default_rng([seed, number])
    # Every key draws, so that what one `when` leaves out does not move the others.
    values = {key: draw(space[key], generator) for key in space if space[key].kind != "same_as"}
    grids = [key for key, one in space.items() if one.kind == "grid"]
    combinations = list(itertools.product(*(space[key].values for key in grids)))
    values.update(zip(grids, combinations[number % len(combinations)], strict=True))
    return completed(space, lambda key, one: values[key])


def draw(one: Parameter, generator: np.random.Generator) -> Any:
    """A value of one free key."""
    if one.kind in LISTS:
        return one.values[int(generator.integers(len(one.values)))]
    low, high = one.limits
    match one.kind:
        case "int":
            return int(generator.integers(int(low), int(high) + 1))
        case "logint":
            return min(int(high), round(math.exp(generator.uniform(math.log(low), math.log(high)))))
        case "loguniform":
            return min(high, max(low, rounded(math.exp(generator.uniform(math.log(low), math.log(high))))))
        case "normal":
            while not low <= (value := rounded(generator.normal(one.low, one.high))) <= high:
                pass
            return value
        case _:
            return min(high, max(low, rounded(generator.uniform(low, high))))


def combinations(space: Space) -> list[Values]:
    """Every combination of the lists of a space, each once, the last key changing fastest."""
    keys = [key for key, one in space.items() if one.kind != "same_as"]
    found: list[Values] = []
    for values in itertools.product(*(space[key].values for key in keys)):
        chosen = dict(zip(keys, values, strict=True))
        made = completed(space, lambda key, one, chosen=chosen: chosen[key])  # type: ignore[misc]
        if made not in found:
            found.append(made)
    return found


def planned(sweep: SweepSpec) -> list[Values] | None:
    """All configurations of a sweep, where they do not depend on results; None for those that do."""
    if sweep.search == "optuna":
        return None
    if sweep.search == "grid":
        return combinations(sweep.space)[: sweep.trials]
    assert sweep.wanted is not None
    return [drawn(sweep.space, sweep.seed, number) for number in range(sweep.wanted)]


def probes(space: Space) -> Iterator[tuple[str, Values]]:
    """(key, configuration) with each end of each key once, and its `when` fulfilled; the other keys at their first."""
    first = {key: one.ends[0] for key, one in space.items() if one.ends}
    for key in in_order(space):
        needed = _fulfilling(space, key)
        for value in space[key].ends or (None,):
            chosen = first | needed | ({key: value} if space[key].ends else {})
            yield key, completed(space, lambda other, one, chosen=chosen: chosen[other])  # type: ignore[misc]


def _fulfilling(space: Space, key: str) -> Values:
    """Values of other keys with which a key is there."""
    found: Values = {}
    waiting: list[str] = [key]
    while waiting:
        one = space[waiting.pop()]
        found |= {other: allowed[0] for other, allowed in one.when if other not in found}
        waiting += needs(one)
    return found


def mutated(space: Space, values: Values, generator: np.random.Generator) -> Values:
    """Values for one that goes on from another's weights (Jaderberg et al. 2017): each number 0.8 or 1.2 times as
    large, within its limits; each of a list moved to a neighbour; one in four drawn anew."""

    def choose(key: str, one: Parameter) -> Any:
        fresh, up = generator.random() < 0.25, bool(generator.random() < 0.5)
        if fresh or key not in values:
            return draw(one, generator)
        if one.kind in LISTS:
            place = one.values.index(values[key]) + (1 if up else -1)
            return one.values[min(max(place, 0), len(one.values) - 1)]
        low, high = one.limits
        moved = min(high, max(low, values[key] * (1.2 if up else 0.8)))
        return round(moved) if one.kind in WHOLE else rounded(moved)

    return completed(space, choose)


def _times(value: Any, factor: float) -> Any:
    moved = value * factor
    return round(moved) if isinstance(value, int) and moved == round(moved) else rounded(moved)


def differing(values: Sequence[Values]) -> list[str]:
    """The keys in which configurations differ, in the order in which they first appear."""
    keys = dict.fromkeys(key for one in values for key in one)
    absent = object()
    return [key for key in keys if any(one.get(key, absent) != values[0].get(key, absent) for one in values)]

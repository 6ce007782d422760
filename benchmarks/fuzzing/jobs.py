"""Shipped jobs, damaged as values, as text, by overrides and by what they extend; each is read as `gan-dist validate`
reads it, and what is accepted crosses to a cluster as JSON and back."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.cases import Case, Subject, damaged
from gan_dist.launch.load_job import load_job
from gan_dist.launch.plan import resolve_job
from gan_dist.spec.job import JobSpec
from gan_dist.spec.job_file import read_job_file

JOBS = Path(__file__).parents[2] / "jobs"
Value = Any
Place = tuple[str | int, ...]


def make(draw: random.Random, folder: Path) -> Case:
    """A job file damaged in one of some ways."""
    kind = draw.choice(sorted(WAYS))
    file, overrides = folder / "job.yaml", WAYS[kind](draw, folder)
    return Case(kind, partial(_accepted, file, overrides))


def _accepted(file: Path, overrides: list[str]) -> str:
    spec = load_job(file, overrides)
    settled = spec.with_absolute_paths()
    resolve_job(settled)
    # The round trip is what a cluster gets; two equal jobs must be one there as well.
    assert JobSpec.model_validate_json(settled.model_dump_json(by_alias=True)) == settled
    return "read"


SUBJECT = Subject(make)


@cache
def _shipped() -> list[str]:
    """Every shipped job as JSON, with all that it extends."""
    return [json.dumps(read_job_file(file).value) for file in sorted(JOBS.glob("*.yaml"))]


def _job(draw: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(draw.choice(_shipped()))
    return found


# Values of every type, and of every form that some key means something by.
# fmt: off
PATHS = ["a\0b", "x" * 5000, "/" * 300 + "a", "a/" * 3000, "\ud800", "a\udcff", "~", "~nobody/x", "..", ".", "/", "//"]
PATHS += ["s3://", "s3://b/x?y=z", "s3://b\0/x", "file://", "file:///x", "http://[", "://", "nope://x", "s3:b"]
PATHS += ["\\\\x\\y"]
PATHS += ["/dev/stdin", "/dev/zero", "/proc/self/mem", "/no/such/place", "job.yaml", "job.yaml/x", "é" * 200]
PATHS += ["a\nb", "*", "?"]
SETS = ["digits", "manual", "pyjokes", "oracle", "oracle:", "oracle:x.npz", "oracle:\0", "torchvision:"]
SETS += ["torchvision:MNIST"]
SETS += ["torchvision:a.b", "download:", "download:nope", "download:mnist/x", "download:\0"]
NAMES = ["a.b:C", "os:system", "a:b", ":", "a:", ":b", "gan_dist:load", "gan_dist.errors:JobError", "x.y.z:W", "é.é:é"]
NAMES += ["gan_dist.networks.image.dcgan:Generator", "gan_dist.networks:__path__", "builtins:print", "torch.optim:SGD"]
NAMES += ["torch.optim:LBFGS", "gan_dist.registry.live:x", "os.path:join", "sys:", "job:X", "-"]
NAMES += ["a-b:c", "a..b:c", "con", "x" * 5000 + ":C"]
AMOUNTS = ["64k", "150 epochs", "2000 steps", "1e999", "1e-999", "0 steps", "-5k", "9" * 400, "1" * 5000, "0.5 steps"]
AMOUNTS += ["1e308 epochs", "NaN", "inf", "1_000", "0x10", "1e3e3", "١٢", "½", "5 parsecs", "1 e 3", "1k epochs", "."]
WORDS = ["", " ", "auto", "none", "null", "true", "yes", "text", "pair", "image", "random", "adam", "min"]
WORDS += ["dcgan", "lstm"]
WORDS += ["r1", "mle", "seqgan", "hinge", "frechet", "last", "generator", "discriminator", "#", "%", "{", "["]
WORDS += ["&a", "*a", "!"]
WORDS += ["utf-8", "hex", "idna", "undefined", "rot13", "punycode", "cp0", "a" * 300, "rgb(1,2,3)", "#12"]
WORDS += ["hsl(1,2%,3%)"]
NUMBERS: list[Value] = [0, -1, 1, 2, 3, 4, 5, 7, 8, 16, 64, 255, 2**15, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, -(2**63)]
NUMBERS += [10**299, -(10**299), 1e308, -1e308, 1e-308, 5e-324, 0.1, 0.5, 0.999, 1.0, 1.5, -0.0, 1e6, 1e20]
NUMBERS += [math.nan, math.inf, -math.inf, True, False, None]
COSINE = {"cosine": {"from": 1e-3, "to": 1e-5, "over": "10 steps"}}
NESTED: list[Value] = [[], {}, [[]], [{}], [None], [""], ["pair"], ["text"], [0, 1], [0.5, 0.9], [8, 16]]
NESTED += [[1, 2, 3], [[0, 1]]]
NESTED += [{"use": one} for one in (None, [], {}, "dcgan", "r1", "a.b:C", "", 5, ["mle"], "\ud800")]
NESTED += [COSINE, {"cosine": None}, {"cosine": {}}, {"linear": []}, {"piecewise": [[0, 1]]}, {"piecewise": [[0]]}]
NESTED += [{"piecewise": [[0, 1], ["1 steps", 2]]}, {"piecewise": []}, {"exponential": {"from": 0, "to": 1, "over": 1}}]
NESTED += [{"cosine": {"from": COSINE, "to": 1, "over": 5}}, {"cosine": COSINE, "linear": COSINE}, {"min": 1}]
NESTED += [{"min": 1, "max": 2}, {"min": 2, "max": 1}, {"min": None, "max": []}, {"": 1}, {"a.b": 1}, {"0": 1}]
NESTED += [{"1": {"use": "r1"}}]
NESTED += [["a"] * 3000, [[0] * 100] * 10, {str(number): number for number in range(300)}, {"lr": {"lr": {"lr": 1}}}]
FORMS: list[list[Value]] = [PATHS, SETS, NAMES, AMOUNTS, WORDS, NUMBERS, NESTED]
KEYS = ["", " ", "use", "0", "1", "-1", "name", "modality", "a.b", "extends", "sweep", "stages"]
KEYS += ["discriminator", "é", "\0"]
KEYS += ["\ud800", "x" * 2000, "__class__", "self", "model_config", "data", "size", "channels", "classes"]
KEYS += ["weight", "every"]
KEYS += ["for", "length", "args", "lr", "space", "<<", "null", "true", "1e3", "generator", "features"]
KEYS += ["penalties", "[image]"]

# fmt: on


def _value(draw: random.Random) -> Value:
    value = draw.choice(draw.choice(FORMS))
    if draw.random() < 0.03:
        for _ in range(draw.choice((5, 50, 99, 120))):
            value = {draw.choice(KEYS): value} if draw.random() < 0.5 else [value]
    return value


def _places(value: Value, at: Place = ()) -> list[Place]:
    inner: list[tuple[str | int, Value]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:50]))
    return [at, *(place for key, one in inner for place in _places(one, (*at, key)))]


def _at(tree: Value, place: Place) -> Value:
    for key in place:
        tree = tree[key]
    return tree


def _put(tree: Value, place: Place, value: Value) -> Value:
    if not place:
        return value
    _at(tree, place[:-1])[place[-1]] = value
    return tree


# How values are damaged.


def _replaced(draw: random.Random, tree: Value) -> Value:
    return _put(tree, draw.choice(_places(tree)[1:] or [()]), _value(draw))


def _removed(draw: random.Random, tree: Value) -> Value:
    if place := draw.choice(_places(tree)):
        del _at(tree, place[:-1])[place[-1]]
    return tree


def _added(draw: random.Random, tree: Value) -> Value:
    owner = _at(tree, draw.choice(_places(tree)))
    if isinstance(owner, dict):
        owner[draw.choice([*KEYS, *tree] if isinstance(tree, dict) else KEYS)] = _value(draw)
    elif isinstance(owner, list):
        owner.insert(0, _value(draw))
    return tree


def _renamed(draw: random.Random, tree: Value) -> Value:
    place = draw.choice(_places(tree))
    owner = _at(tree, place[:-1]) if place else None
    if isinstance(owner, dict):
        key = str(place[-1])
        swapped = key[:1] + key[2:3] + key[1:2] + key[3:]
        owner[draw.choice((swapped, key.upper(), f"{key}s", key[:-1], draw.choice(KEYS)))] = owner.pop(key)
    return tree


def _moved(draw: random.Random, tree: Value) -> Value:
    """A part of it, or of another job, somewhere else."""
    other = tree if draw.random() < 0.5 else _job(draw)
    part = json.loads(json.dumps(_at(other, draw.choice(_places(other)))))
    return _put(tree, draw.choice(_places(tree)), part)


def _wrapped(draw: random.Random, tree: Value) -> Value:
    place = draw.choice(_places(tree))
    value = _at(tree, place)
    if isinstance(value, list) and value and draw.random() < 0.5:
        return _put(tree, place, value[0])
    return _put(tree, place, draw.choice(([value], [value, value], {"use": value}, {"0": value})))


def _scaled(draw: random.Random, tree: Value) -> Value:
    numbers = [place for place in _places(tree) if type(_at(tree, place)) in (int, float)]
    if numbers:
        place = draw.choice(numbers)
        factor = draw.choice((-1, 0, 0.5, 1.5, 2, 3, 1000, 1e9, 1e18))
        return _put(tree, place, _at(tree, place) * factor)
    return tree


def _respelled(draw: random.Random, tree: Value) -> Value:
    texts = [place for place in _places(tree) if isinstance(_at(tree, place), str)]
    if not texts:
        return tree
    place = draw.choice(texts)
    text = _at(tree, place)
    at = draw.randint(0, len(text))
    more = draw.choice(("\0", "\ud800", " ", ":", "/", "x" * 300, "é", "'", "\n", "!", "%", "[", "."))
    return _put(tree, place, draw.choice((text[:at] + more + text[at:], text[:at], text[at:], text.upper(), text * 2)))


DAMAGES = (_replaced, _replaced, _replaced, _removed, _added, _renamed, _moved, _wrapped, _scaled, _respelled)


def _yaml(value: Value) -> str:
    """Flow YAML, which is JSON but for numbers that are not finite."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _lines(tree: Value) -> str:
    if not isinstance(tree, dict):
        return _yaml(tree)
    return "".join(f"{json.dumps(key)}: {_yaml(value)}\n" for key, value in tree.items())


def _damaged_values(draw: random.Random) -> Value:
    tree: Value = _job(draw)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        tree = draw.choice(DAMAGES)(draw, tree)
    return tree


# The ways of a job file.


def _values(draw: random.Random, folder: Path) -> list[str]:
    (folder / "job.yaml").write_text(_lines(_damaged_values(draw)))
    return []


def _text(draw: random.Random, folder: Path) -> list[str]:
    files = sorted(JOBS.glob("*.yaml"))
    for file in files:  # what some of them extend
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "job.yaml").write_bytes(damaged(draw, draw.choice(files).read_bytes()))
    return []


# fmt: off
SNIPPETS = ["x: !!python/object/apply:os.system [id]", "x: !!binary aGk=", "x: !!set {a, b}", "x: !<tag:x> 1", "x: !x"]
SNIPPETS += ["x: &a [*a]", "x: &a {y: *a}", "x: *b", "x: &a 1\ny: &a 2\nz: *a", "<<: {a: 1}", "<<: [*a, *b]"]
SNIPPETS += ["? [a]: b"]
SNIPPETS += ["? {a: b}\n: c", "%YAML 1.1", "%TAG ! x", "---", "...", "\tx: 1", "- x", "x: |\n  y\n z"]
SNIPPETS += ["x: >-\n\n\n", "\ufeffx: 1"]
SNIPPETS += ["x: '", 'x: "\\x00"', 'x: "\\ud800"', 'x: "\\U0011ffff"', "x: @y", "x: `y`", "x: 'a' b", "x: ["]
SNIPPETS += ["x: {", "x: }"]
SNIPPETS += ["x: 2020-01-01", "x: 12:30:45", "x: 0b11", "x: 1_000", "x: =", "null: 1", "1: 2", "true: 1", ": 1"]
SNIPPETS += ["x: : y", "x"]
BOMB = [f"{y}: &{y} [{', '.join([f'*{x}'] * 8)}]" for x, y in pairwise("abcdefgh")]
SNIPPETS += ["\n".join(["a: &a [x, x, x, x, x, x, x, x]", *BOMB])]
SNIPPETS += ["x: " + "[" * 5000, "x: " + "{a: " * 3000, "x: " + "- " * 3000, "? " * 3000]
SNIPPETS += ["x: " + "9" * 5000, "x: 1e" + "9" * 400]
SNIPPETS += ["seed: 1", "name: a", "data: {}", "data:", "generator: &g dcgan\ndiscriminator: *g", "x: \x85y"]
SNIPPETS += ["x: \u2028y", "x: \x07"]
# fmt: on


def _snippets(draw: random.Random, folder: Path) -> list[str]:
    lines = _lines(_job(draw)).splitlines()
    for _ in range(draw.choice((1, 1, 2))):
        lines.insert(draw.randint(0, len(lines)), draw.choice(SNIPPETS))
    (folder / "job.yaml").write_text("\n".join(lines), encoding="utf-8")
    return []


def _extends(draw: random.Random, folder: Path) -> list[str]:
    odd = draw.choice((*PATHS, *draw.choice(FORMS), "job.yaml", "./job.yaml", "sub", "link"))
    base: Value = odd if draw.random() < 0.3 else "base.yaml"
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("link")
    (folder / "base.yaml").write_text(_lines(_damaged_values(draw) if draw.random() < 0.3 else _job(draw)))
    sound = {"name": "over", "optimizer": {"lr": 1e-3}, "batch": 32}
    over = draw.choice((sound, {"penalties": {"0": {"gamma": 2}}}, _job(draw), _damaged_values(draw)))
    written = {"extends": base} | (over if isinstance(over, dict) else {})
    (folder / "job.yaml").write_text(_lines(written))
    return []


SOUND = [
    "until=2 steps",
    "optimizer.lr=1e-4",
    "seed=3",
    "batch=32",
    "every.report=1k",
    "keep.last=1",
    "ema=null",
    "name=b",
]
SOUND += ["until=2 steps"]


def _overrides(draw: random.Random, folder: Path) -> list[str]:
    tree = _job(draw)
    (folder / "job.yaml").write_text(_lines(tree))
    given = [draw.choice(SOUND)]
    for _ in range(draw.choice((0, 1, 1, 2, 4))):
        place = draw.choice(_places(tree))
        key = ".".join(map(str, (*place, *draw.choice(((), (), (draw.choice(KEYS),))))))
        text = draw.choice((lambda: _yaml(_value(draw)), lambda: str(_value(draw)), lambda: draw.choice(SNIPPETS)))()
        given.append(draw.choice((*[f"{key}={text}"] * 3, key, f"={text}", f".{key}={text}")))
    return given


WAYS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "values": _values,
    "more values": _values,
    "text": _text,
    "snippets": _snippets,
    "extends": _extends,
    "overrides": _overrides,
}

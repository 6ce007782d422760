"""Names to objects, and arguments against signatures that are read from source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gan_dist
from gan_dist.errors import JobError
from gan_dist.registry import lookup
from gan_dist.registry.lookup import ALIASES, build_component, check_arguments, load_object, resolve_target, signature
from gan_dist.registry.slots import those_with

NETS = '''\
import dataclasses
from typing import Any, Literal, Optional
from dataclasses import dataclass, field
import torch.nn as nn
from .base import Shared as Base

raise SystemExit("a job is checked without running anybody's code")


class Net(nn.Module):
    """A net.

    Args:
        size: pixels.
        rate: how much
            is dropped.
        norm: which one.
    """

    def __init__(self, *, size: int, rate: float = 0.5, norm: Literal["batch", "none"] = "batch",
                 shape: tuple[int, int] = (1, 2), blocks: "list[int] | None" = None, deep: bool = False,
                 label: Optional[str] = None, anything: Any = None, plain=3):
        super().__init__()


class Inherits(Net):
    pass


class FromOtherFile(Base):
    pass


class Open(Net):
    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)


class Unknown(some.thing.Else):
    pass


class Empty(nn.Module):
    pass


@dataclass
class Loss:
    margin: float
    steps: int = 1
    made: list = field(default_factory=list)
    hidden: int = field(default=0, init=False)


def make(width: int = 8):
    return None
'''

BASE = """\
class Shared:
    def __init__(self, depth: int = 2):
        if depth > 5:
            raise ValueError(f"depth {depth} is too much")
        self.depth = depth
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    package = tmp_path / "their_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('must not run')")
    (package / "nets.py").write_text(NETS)
    (package / "base.py").write_text(BASE)
    (tmp_path / "plain_base.py").write_text(BASE)
    (tmp_path / "broken.py").write_text("def (:\n")
    return tmp_path


def names(target: str, root: Path) -> list[str]:
    return [param.name for param in signature(target, [root]).params]


@pytest.mark.parametrize(
    ("name", "expected", "is_open"),
    [
        (
            "Inherits",
            ["size", "rate", "norm", "shape", "blocks", "deep", "label", "anything", "plain"],
            False,
        ),
        ("FromOtherFile", ["depth"], False),
        ("Open", ["width"], True),
        ("Unknown", [], True),
        ("Empty", [], False),
        ("Loss", ["margin", "steps", "made"], False),
        ("make", ["width"], False),
    ],
)
def test_signatures_are_read_and_nothing_runs(name: str, expected: list[str], is_open: bool, root: Path) -> None:
    assert names(f"their_pkg.nets:{name}", root) == expected
    assert signature(f"their_pkg.nets:{name}", [root]).open == is_open


def test_parameters_come_with_default_and_description(root: Path) -> None:
    size, rate, *_ = signature("their_pkg.nets:Net", [root]).params
    assert (size.required, size.annotation, size.doc) == (True, "int", "pixels.")
    assert (rate.required, rate.default, rate.doc) == (False, 0.5, "how much is dropped.")


SCHEDULE = {"cosine": {"from": 0, "to": 1, "over": "1M"}}


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ({"rate": 1, "norm": "none", "shape": [3, 4], "blocks": None, "label": "x"}, []),
        ({"rate": SCHEDULE, "anything": {"a": 1}, "plain": "text"}, []),
        ({"rat": 1}, [("rat", "unknown key; did you mean 'rate'? "
                              "(allowed: anything, blocks, deep, label, norm, plain, rate, shape)")]),
        ({"size": 3}, [("size", "comes from the data, not from here; set data.size and remove this key")]),
        ({"rate": "x"}, [("rate", "'x' must be a number")]),
        ({"rate": True}, [("rate", "true must be a number")]),
        ({"rate": {"cosine": {"from": 0}}}, [("rate", "cosine: missing to, over (needs from, to, over)")]),
        ({"norm": "btch"}, [("norm", "'btch' must be one of 'batch', 'none'; did you mean 'batch'?")]),
        ({"norm": SCHEDULE}, [("norm", "cannot be a schedule; it must be one of 'batch', 'none'")]),
        ({"shape": [3]}, [("shape", "[3] must be a list of 2 values (a whole number, a whole number)")]),
        ({"shape": [3, 1.5]},
         [("shape", "[3, 1.5] must be a list of 2 values (a whole number, a whole number)")]),
        ({"blocks": 3}, [("blocks", "3 must be a list, each a whole number or null")]),
        ({"deep": "yes"}, [("deep", "'yes' must be true or false")]),
        ({"label": 3}, [("label", "3 must be text or null")]),
    ],
)  # fmt: skip
def test_arguments(args: dict[str, Any], found: list[tuple[str, str]], root: Path) -> None:
    assert check_arguments("generator", "their_pkg.nets:Net", args, [root]) == found


def test_a_missing_argument(root: Path) -> None:
    found = check_arguments("objective", "their_pkg.nets:Loss", {"steps": 2}, [root])
    assert found == [("margin", "'their_pkg.nets:Loss' needs this argument")]


def test_a_schedule_on_a_whole_number(root: Path) -> None:
    found = check_arguments("objective", "hinge", {"d_steps": SCHEDULE})
    assert found == [("d_steps", "cannot be a schedule; it must be a whole number")]


GENERATORS = ", ".join(sorted(ALIASES["generator"]))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("dcgn", f"unknown generator 'dcgn'; did you mean 'dcgan'? (allowed: {GENERATORS}), "
                 "or your own as 'package.module:Name'"),
        ("their_pkg.nets.Net", f"unknown generator 'their_pkg.nets.Net' (allowed: {GENERATORS}), "
                               "or your own as 'package.module:Name'"),
        ("their_pkg.net:Net", "no module 'their_pkg.net'; did you mean 'their_pkg.nets'?"),
        (
            "their_pgk.nets:Net",
            "no module 'their_pgk.nets'; if it is yours, name the folder that it is in: --code DIR",
        ),
        ("broken:Net", "{root}/broken.py:1: not valid Python: invalid syntax"),
        ("plain_base:Sharde", "no 'Sharde' in module 'plain_base'; did you mean 'Shared'? (it has: Shared)"),
    ],
)  # fmt: skip
def test_wrong_names(use: str, message: str, root: Path) -> None:
    assert check_arguments("generator", use, {}, [root]) == [("use", message.format(root=root))]


def test_every_alias_is_there_and_takes_what_the_data_gives() -> None:
    for kind, aliases in ALIASES.items():
        for alias in aliases:
            found = {param.name: param for param in signature(resolve_target(kind, alias)).params}
            assert all(param.doc for param in found.values()), alias
            if kind in ("generator", "discriminator"):
                assert {"size", "channels"} <= found.keys() or {"vocabulary", "length"} <= found.keys()
                # Pictures of two domains have no classes.
                assert "classes" in found or "input_channels" in found or alias == "cyclegan"


def test_build_passes_what_is_taken_and_names_what_refuses(root: Path) -> None:
    made = build_component("objective", "plain_base:Shared", {"depth": 3}, {"size": 16, "channels": 1}, [root])
    assert made.depth == 3
    with pytest.raises(ValueError, match="objective 'plain_base:Shared': depth 9 is too much"):
        build_component("objective", "plain_base:Shared", {"depth": 9}, {}, [root])


@pytest.mark.parametrize(
    ("kind", "use", "message"),
    [
        ("generator", "os:system", "is a builtin_function_or_method, and no class of torch.nn.Module"),
        ("discriminator", "subprocess:Popen", "is the class Popen, and no class of torch.nn.Module"),
        ("generator", "torch:load", "is a function, and no class of torch.nn.Module"),
        ("objective", "os:environ", "is a _Environ, and no class"),
    ],
)
def test_what_is_no_component_is_never_called(kind: Any, use: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} '{use}': {message}"):
        build_component(kind, use, {}, {})


def test_checking_imports_nothing_heavy() -> None:
    code = (
        "import sys, gan_dist.registry.lookup as c; c.check_arguments('generator', 'dcgan', {'width': 3});"
        "print([name for name in ('torch', 'ray', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize(
    ("kind", "old", "now"),
    [
        ("generator", "gan_dist.networks.r3gan:Generator", "'gan_dist.networks.image.r3gan:Generator' now, or 'r3gan'"),
        ("penalty", "gan_dist.penalties.r2:R2", "'gan_dist.penalties.r1:R2' now, or 'r2'"),
        ("metric", "gan_dist.metrics.kid:Kid", "'gan_dist.metrics.image.kid:Kid' now, or 'kid'"),
    ],
)
def test_an_older_path_of_a_shipped_component_is_answered_with_the_new_one(kind: Any, old: str, now: str) -> None:
    ((argument, text),) = lookup.check_arguments(kind, old, {})
    assert argument == "use" and text.endswith(f"; it is {now} for short")
    assert "for short" not in lookup.check_arguments(kind, "gan_dist.nowhere:Nothing", {})[0][1]


def test_a_loss_is_one_file_and_one_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one without a discriminator: what the registry has to know of it is an attribute of its class."""
    package = tmp_path / "my_losses"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "total_variation.py").write_text(
        "from gan_dist import Phase, mean_over\n\n\n"
        "class TotalVariation:\n"
        "    phases = (Phase('G', ('generator',), real=False),)\n"
        "    needs_discriminator = False\n\n"
        "    def terms(self, phase, nets, batch):\n"
        "        return {'variation': mean_over((batch.fakes[..., 1:] - batch.fakes[..., :-1]).abs())}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(lookup.ALIASES["objective"], "total_variation", "my_losses.total_variation:TotalVariation")
    job = {
        "version": 1,
        "name": "smooth",
        "data": {"source": "digits", "size": 8},
        "generator": {"use": "mlp", "hidden": 8, "z": 4},
        "objective": "total_variation",
        "batch": 8,
        "until": "3 steps",
        "every": {"report": "1 steps"},
    }
    run = gan_dist.train(job, storage=str(tmp_path / "runs"))
    assert run.status == "succeeded" and "variation" in " ".join(run.history()[-1])
    with pytest.raises(JobError, match="discriminator: required, but missing; objective 'hinge' is about one"):
        gan_dist.train({**job, "objective": "hinge"})


def test_who_has_a_method_is_read_as_python_sees_it() -> None:
    classes = {alias: load_object(target) for alias, target in ALIASES["generator"].items()}
    for name in ("styles", "latent_weights", "log_prob", "draw"):
        having = [alias for alias, found in classes.items() if hasattr(found, name)]
        said = those_with("generator", name).removesuffix(" have").replace(" and ", ", ").split(", ")
        assert said == having, name
    assert those_with("generator", "truncation") == "stylegan2 and biggan have", "attributes, set in a method"
    assert those_with("generator", "truncation_layers") == "stylegan2 has"

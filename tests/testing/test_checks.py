"""gan_dist.testing.checks finds each defect that it promises to find, and nothing wrong with what is shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.distributed.randomness import single_lane_rng
from gan_dist.generation.samples import map_tensors
from gan_dist.registry.lookup import ALIASES, build_component
from gan_dist.testing.checks import KINDS as CHECKED
from gan_dist.testing.checks import check, guess_kind, problems
from tests.tiny import encoder_of, lm_of

HEAD = """
import torch
from torch import nn
from gan_dist.contracts import Phase, Term, mean_over

ROWS = (Phase("D", ("discriminator",)), Phase("G", ("generator",), real=False))

class Gen(nn.Module):
    def __init__(self, *, size: int, channels: int, classes: int = 0, wide: int = 2) -> None:
        super().__init__()
        self.shape, self.layer = (channels, size, size), nn.Linear(4, channels * size * size)

    def draw(self, n, rng):
        return rng.normal(4)

    def forward(self, noise, cond=None):
        return self.layer(noise).tanh().unflatten(1, self.shape)

class Dis(nn.Module):
    def __init__(self, *, size: int, channels: int, classes: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(channels * size * size, 1)

    def forward(self, x, cond=None):
        return self.layer(x.flatten(1)).tanh().squeeze(1)

class Obj:
    phases = ROWS

    def terms(self, phase, nets, batch):
        return {"mine": mean_over(nets.D(batch.fakes).square())}

class Pen:
    phase = "D"

    def terms(self, nets, batch):
        return {"mine": mean_over(nets.D(batch.real).square())}

class Aug:
    def __init__(self, *, p: float = 1.0) -> None:
        self.p = p

    def __call__(self, x, rng):
        chosen = (rng.uniform() < self.p)[:, None, None, None]
        return torch.where(chosen, x * (1 + rng.uniform(1, 1, 1)), x)

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope

class Bad({base}):
{body}
"""

DRAW = "draw: two calls with the same rng differ"
TWICE = "cannot be differentiated twice"
UNUSED = "parameters that never get a gradient: spare"
PLAIN = "tensors kept as plain attributes are neither saved nor moved to the device: held; use register_buffer"
SPARE = """
    def __init__(self, **args):
        super().__init__(**args)
        self.spare = nn.Parameter(torch.ones(1))
"""
HELD = """
    def __init__(self, **args):
        super().__init__(**args)
        self.held = torch.ones(1)
"""
FROZEN = """
    def __init__(self, **args):
        super().__init__(**args)
        self.requires_grad_(False)
"""


def forward(line: str) -> str:
    return f"    def forward(self, x, cond=None):\n        {line}\n"


def terms(line: str) -> str:
    return f"    def terms(self, phase, nets, batch):\n        {line}\n"


def penalty(line: str) -> str:
    return f"    def terms(self, nets, batch):\n        {line}\n"


def called(line: str) -> str:
    return f"    def __call__(self, x, rng):\n        {line}\n"


REAL = "nets.D(batch.fakes)"
CASES: list[tuple[str, str, str, str]] = [
    ("Gen", "torch's generator", "    def draw(self, n, rng):\n        return torch.randn(n, 4)\n", DRAW),
    ("Gen", "a tuple", forward("return (self.layer(x), 1)"), "forward: gives a tuple, not a tensor"),
    ("Gen", "flat", forward("return self.layer(x)"), "forward: gives (4, 3072) for 4 samples; wanted (4, 3, 32, 32)"),
    ("Gen", "spare", SPARE, UNUSED),
    ("Gen", "held", HELD, PLAIN),
    ("Gen", "frozen", FROZEN, "has no trainable parameters"),
    ("Gen", "raises", forward("raise KeyError('oh')"), "raised KeyError: 'oh'"),
    ("Gen", "wide", "    sizes = {'least': 8}\n", "raised TypeError: can't multiply"),
    ("Dis", "no rule", "    sizes = {'smallest': 8}\n", "must be a mapping of whole numbers by some of least, most"),
    ("Dis", "scalar", forward("return self.layer(x.flatten(1)).mean()"), "forward: gives () for 4 samples"),
    ("Dis", "a tuple", forward("return (x,)"), "forward: gives tuple for 4 samples"),
    ("Dis", "blind", forward("return self.layer.weight[0, :4]"), "forward: logits do not depend on the samples"),
    ("Dis", "once", forward("return self.layer(Once.apply(x.flatten(1))).squeeze(1)"), TWICE),
    ("Dis", "why", forward("return self.layer(Once.apply(x.flatten(1))).squeeze(1)"), "with @once_differentiable)"),
    ("Dis", "constant slope", forward("return x.flatten(1).sum(1) + self.layer.bias"), TWICE),
    ("Dis", "spare", SPARE, UNUSED),
    ("Dis", "held", HELD, PLAIN),
    ("Dis", "frozen", FROZEN, "has no trainable parameters"),
    ("Obj", "no phases", "    phases = ()\n", "phases: missing or empty"),
    ("Obj", "other network", "    phases = (Phase('E', ('encoder',)),)\n", "phases: E trains 'encoder', which a"),
    ("Obj", "a tensor", terms(f"return {REAL}.mean()"), "terms('D'): gives Tensor; wanted a dict of named Terms"),
    ("Obj", "no Term", terms(f"return {{'a': {REAL}.mean()}}"), "terms('D'): a is a Tensor, not a Term"),
    ("Obj", "no sum", terms(f"return {{'a': Term({REAL}, 4.0)}}"), "terms('D'): a.total has shape (4,)"),
    ("Obj", "nan", terms(f"return {{'a': mean_over({REAL} * float('nan'))}}"), "a is not finite on random samples"),
    ("Obj", "no weight", terms(f"return {{'a': Term({REAL}.sum(), 0.0)}}"), "a.weight is 0.0; it counts samples"),
    ("Obj", "no slope", terms(f"return {{'a': mean_over({REAL}.detach())}}"), "terms('D'): no term has a gradient"),
    ("Obj", "one left out", "    phases = (Phase('both', ('generator', 'discriminator'), real=False),)\n"
     + terms("return {'a': mean_over(nets.D(batch.fakes.detach()))}"), "no gradient reaches the generator"),
    ("Obj", "raises", terms("return batch.nothing"), "raised AttributeError"),
    ("Pen", "no phase", "    phase = None\n", "phase: None; the phase it is added to, such as 'D'"),
    ("Pen", "no slope", penalty("return {'a': mean_over(batch.real)}"), "terms('D'): no term has a gradient"),
    ("Pen", "no dict", penalty("return None"), "terms('D'): gives NoneType; wanted a dict of named Terms"),
    ("Aug", "a tuple", called("return (x,)"), "__call__: gives tuple for images (4, 3, 32, 32) [B, C, H, W]"),
    ("Aug", "smaller", called("return x[..., :16]"), "__call__: gives (4, 3, 32, 16) for images (4, 3, 32, 32)"),
    ("Aug", "type", called("return x.float()"), "gives torch.float32 for images of torch.float64"),
    ("Aug", "range", called("return (x + 1) * 127.5"), "gives values up to 255 for images in [-1, 1]"),
    ("Aug", "nan", called("return x / 0"), "for images in [-1, 1]; D could not see these"),
    ("Aug", "torch's generator", called("return x * torch.rand(4, 1, 1, 1)"), "__call__: two calls with the same rng"),
    ("Aug", "in place", called("return x.mul_(2)"), "__call__: changes the images in place"),
    ("Aug", "coupled", called("return x - x.mean(0, keepdim=True)"), "depends on the others of its batch"),
    ("Aug", "no slope", called("return x.detach()"), "carries no gradient of the images"),
    ("Aug", "once", called("return Once.apply(x)"), "__call__: " + TWICE),
    ("Aug", "p", called("return x * (2 - self.p)"), "p: at 0 images are changed"),
    ("Aug", "raises", called("raise KeyError('oh')"), "raised KeyError: 'oh'"),
    ("Aug", "nothing to watch", "    def after_step(self, means, n):\n        pass\n", "after_step: there is no terms"),
    ("Aug", "a list", penalty("return []"), "terms: gives list; wanted a dict of named Terms"),
    ("Aug", "a loss", penalty("return {'a': mean_over(batch.real)}"), "terms: a is no number to watch"),
]  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Writes a module of its own for each test, and gives its name."""
    number = abs(hash(request.node.nodeid))

    def write(base: str, body: str) -> str:
        name = f"own_{number}"
        (tmp_path / f"{name}.py").write_text(HEAD.replace("{base}", base).replace("{body}", body))
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return write


@pytest.mark.parametrize(("base", "what", "body", "expected"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_each_defect_is_found(own: Any, tmp_path: Path, base: str, what: str, body: str, expected: str) -> None:
    name = own(base, body)
    found = problems(f"{name}:Bad", roots=(tmp_path,))
    assert any(expected in text for text in found), found
    with pytest.raises(ValueError, match=f"^{name}:Bad: "):
        check(f"{name}:Bad", roots=(tmp_path,))


KINDS = {"Gen": "generator", "Dis": "discriminator", "Obj": "objective", "Pen": "penalty", "Aug": "augment"}


KEPT = """
    kept = None

    def terms(self, phase, nets, batch):
        now = nets.D(batch.fakes)
        before, self.kept = self.kept, now
        return {"mine": mean_over(now if before is None else now + 0 * before.sum())}
"""
AFTER = """
    def after_step(self, phase, nets, means):
        raise KeyError(means["mine"])
"""
FORGETS = """
    seen = 0

    def terms(self, phase, nets, batch):
        self.seen += 1
        return {"mine": mean_over(self.seen * nets.D(batch.fakes))}
"""
UNREADABLE = """
    def state(self):
        return {"held": [1, 2]}
"""
BY_WORKER = """
    def terms(self, phase, nets, batch):
        self.local = nets.D(batch.fakes).sum().item()
        return {"mine": mean_over(nets.D(batch.fakes))}

    def after_step(self, phase, nets, means):
        with torch.no_grad():
            next(nets.D.module.parameters()).add_(self.local)
"""
MOVES = """
    calls = 0

    def forward(self, x, cond=None):
        self.calls += 1
        return super().forward(x * self.calls, cond)
"""
IN_PLACE = """
    def forward(self, noise, cond=None):
        made = super().forward(noise)
        made += 1
        return made
"""
ITERATIONS = [
    ("Obj", "kept graph", KEPT, r"raised RuntimeError: .*usually: a tensor that was kept"),
    ("Obj", "after_step", AFTER, r"raised KeyError: .*own_\d+\.py:\d+\)"),
    ("Obj", "forgets", FORGETS, r"resume: .*state\(\) returns.*own_\d+\.py:\d+\)"),
    ("Obj", "state of lists", UNREADABLE, r"raised AttributeError: 'list' object"),
    ("Obj", "by worker", BY_WORKER, r"two workers: their weights or states differ"),
    ("Dis", "moves", MOVES, r"resume: .*buffers"),
    ("Gen", "moves", MOVES, r"resume: .*buffers"),
    (
        "Gen",
        "in place",
        IN_PLACE,
        r"raised RuntimeError: .*an in-place operation.*its forward is here .*own_\d+\.py:17\)",
    ),
]


@pytest.mark.parametrize(("base", "what", "body", "expected"), ITERATIONS, ids=[f"{c[0]}-{c[1]}" for c in ITERATIONS])
def test_what_breaks_in_the_first_two_iterations_is_found(
    own: Any, tmp_path: Path, base: str, what: str, body: str, expected: str
) -> None:
    (found,) = problems(f"{own(base, body)}:Bad", roots=(tmp_path,))
    assert re.match(expected, found), found


def test_each_problem_has_its_line(own: Any, tmp_path: Path) -> None:
    """Of the method that it is about; where a constructor's arguments are wrong, of the class."""
    name = own("Dis", forward("return self.layer(x.flatten(1)).mean()"))
    lines = (tmp_path / f"{name}.py").read_text().splitlines()
    (found,) = problems(f"{name}:Bad", roots=(tmp_path,))
    assert found.endswith(
        f"{name}.py:{len(lines) - 1 - lines[::-1].index('    def forward(self, x, cond=None):') + 1})"
    )
    (found,) = problems(f"{name}:Bad", roots=(tmp_path,), wide=2)
    assert found.endswith(f"{name}.py:{lines.index('class Bad(Dis):') + 1})")


def test_a_generator_without_draw_is_no_discriminator(own: Any, tmp_path: Path) -> None:
    body = "    def forward(self, noise, cond=None):\n        return noise\n"
    use = f"{own('nn.Module', body)}:Bad"
    assert guess_kind(use, (tmp_path,)) == "generator"
    (found,) = problems(use, roots=(tmp_path,))
    assert found.startswith("draw: there is none; a generator draws its own noise by draw(n, rng)")


@pytest.mark.parametrize("base", KINDS)
def test_sound_components_of_one_s_own_pass(own: Any, tmp_path: Path, base: str) -> None:
    use = f"{own(base, '    pass')}:{base}"
    assert guess_kind(use, (tmp_path,)) == KINDS[base]
    assert problems(use, roots=(tmp_path,)) == []


# Wide as they are shipped, these take most of the time of this file.
NARROW: dict[str, dict[str, int]] = {
    "r3gan": {"width": 8, "wide": 8, "group": 4, "blocks": 1},
    "stylegan2": {"capacity": 64, "most": 8, "mapping": 1},
    "biggan": {"width": 2},
    "fastgan": {"width": 4},
    "sngan": {"width": 8},
    "sagan": {"width": 8},
    "dcgan": {"width": 8},
    "r3gan2": {"width": 8, "group": 4, "blocks": 1},
    "gat": {"hidden": 16, "depth": 4, "heads": 2},
}


@pytest.mark.parametrize("use", NARROW)
def test_wide_networks_have_their_shapes_as_they_are_shipped(use: str) -> None:
    """On the meta device; that they learn is checked of narrow ones."""
    with torch.device("meta"):
        generator: Any = build_component("generator", use, {}, {"size": 64, "channels": 3, "classes": 5})
        discriminator: Any = build_component("discriminator", use, {}, {"size": 64, "channels": 3, "classes": 5})
    noise = generator.draw(4, single_lane_rng(("x",), 4, torch.device("cpu")))
    cond = torch.zeros(4, dtype=torch.int64, device="meta")
    made = generator(map_tensors(lambda leaf: leaf.to("meta"), noise), cond)
    assert made.shape == (4, 3, 64, 64) and discriminator(made, cond).shape[0] == 4


# One of each kind, of images and of text; the others, half a second each, are in the slow tier.
QUICK = {"dcgan", "lstm", "pix2pix", "hinge", "vae", "seqgan", "r1", "ada"}


@pytest.mark.parametrize(
    ("kind", "use"),
    [
        pytest.param(kind, use, marks=() if use in QUICK else pytest.mark.slow)
        for kind in CHECKED
        for use in ALIASES[kind]
    ],
)
def test_everything_shipped_passes(kind: Any, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    supplied = {"vae": ("VAE", "encoder"), "cyclegan": ("G", "inverse"), "cut": ("G", "projection")}
    if kind == "objective" and use in supplied:
        phase, name = supplied[use]
        assert problems(use, kind) == [f"phases: {phase} trains {name!r}, which a job must supply under `networks`"]
        return
    words = tuple(f"word{number}" for number in range(8))
    if use in ("pretrained_lm", "pretrained_encoder"):
        check(use, kind, folder=str((lm_of if use == "pretrained_lm" else encoder_of)(words)))
        return
    given: dict[str, dict[str, Any]] = {
        **NARROW,
        "charcnn": {"width": 16},
        "flow": {"width": 4, "steps": 1},
        "pix2pix": {"width": 8},
        "projected": {"weights": "random", "resolution": 64, "width": 4},
        "perceptual": {"weights": "random"},
        "distillation": {"teacher": "efficientnet_lite0", "weights": "random", "resolution": 32},
        "ada": {"p": 1.0, "cutout": 1.0},
    }
    check(use, kind, **given.get(use, {}))


def test_an_augmentation_that_is_a_module_is_known_by_what_it_is_given(own: Any, tmp_path: Path) -> None:
    body = "    def forward(self, x, rng):\n        return x * (1 + rng.uniform(1, 1, 1))\n"
    use = f"{own('nn.Module', body)}:Bad"
    assert guess_kind(use, (tmp_path,)) == "augment"
    assert problems(use, roots=(tmp_path,)) == []


def test_arguments_are_checked_and_passed_on(own: Any, tmp_path: Path) -> None:
    use = f"{own('Gen', '    pass')}:Gen"
    assert problems(use, roots=(tmp_path,), wide=3) == []
    (found,) = problems(use, roots=(tmp_path,), wdie=3)
    assert found.startswith("wdie: unknown key; did you mean 'wide'?")


def test_what_is_no_component_says_what_one_has(own: Any, tmp_path: Path) -> None:
    name = own("Exception", "    pass")
    with pytest.raises(ValueError, match=r"^own_\w+:Bad: is neither generator \(draw, forward\), discriminator"):
        guess_kind(f"{name}:Bad", (tmp_path,))


def test_an_unknown_alias_is_sought_among_all_kinds() -> None:
    with pytest.raises(ValueError) as caught:
        guess_kind("hinje")
    known = ", ".join(sorted({alias for kind in CHECKED for alias in ALIASES[kind]}))
    assert str(caught.value) == (
        f"unknown component 'hinje'; did you mean 'hinge'? (allowed: {known}), or your own as 'package.module:Name'"
    )


def test_a_missing_name_is_refused(own: Any, tmp_path: Path) -> None:
    name = own("Gen", "    pass")
    with pytest.raises(ValueError, match="Gne"):
        check(f"{name}:Gne", roots=(tmp_path,))


def test_a_network_that_steps_and_an_objective_with_items_stay_what_they_are(own: Any, tmp_path: Path) -> None:
    name = own("Gen", "    def step(self, state, token):\n        pass\n")
    assert guess_kind(f"{name}:Bad", (tmp_path,)) == "generator"
    (tmp_path / f"{name}_b.py").write_text(
        "from typing import NamedTuple\n\nclass Obj(NamedTuple):\n    weight: float = 1.0\n\n"
        "    def terms(self, phase, nets, batch):\n        return {}\n\nclass Data(list):\n    pass\n"
    )
    assert guess_kind(f"{name}_b:Obj", (tmp_path,)) == "objective"
    assert guess_kind(f"{name}_b:Data", (tmp_path,)) == "dataset"
    assert guess_kind("torch.optim:SGD") == "optimizer"

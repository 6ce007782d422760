"""Averages by a power of time against closed forms, and averages of any width made of stored ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan_dist.generation.model import load
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.snapshots import Snapshots, combine
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import EmaSpec, JobSpec
from gan_dist.spec.power_average import WIDEST, exponent_of, inner_product, kept_share, width_of
from gan_dist.spec.schedules import Clock
from gan_dist.training.state import Ema
from tests.helpers import assert_same_state, small, stop_at, train

KNOWN = {0.01: 96.995, 0.05: 16.972, 0.10: 6.937, 0.15: 3.558, 0.20: 1.826, 0.25: 0.720}
TWO = [{"sigma": 0.05}, {"sigma": 0.10}]
Cli = Callable[..., tuple[Any, str, str]]


@pytest.mark.parametrize(("sigma", "exponent"), KNOWN.items())
def test_widths_are_those_of_the_paper(sigma: float, exponent: float) -> None:
    found = exponent_of(sigma)
    assert found == pytest.approx(exponent, abs=6e-4) and width_of(found) == pytest.approx(sigma, rel=1e-12)
    root = found**3 + 7 * found**2 + (16 - sigma**-2) * found + (12 - sigma**-2)  # equation 126
    assert root == pytest.approx(0, abs=1e-6 / sigma**2)


def test_the_width_is_the_deviation_of_the_profile() -> None:
    times = (np.arange(200_000) + 0.5) / 200_000
    profile = 17.0 * times**16 / 200_000
    mean = (profile * times).sum()
    assert width_of(16) == pytest.approx(math.sqrt((profile * (times - mean) ** 2).sum()), rel=1e-6)
    assert 1 - mean == pytest.approx(1 / 18, rel=1e-6), "the mean age is t / (g + 2)"


def test_the_widest_may_be_written_as_it_is_shown() -> None:
    assert exponent_of(0.2887) == exponent_of(WIDEST) == 0


@pytest.mark.parametrize("sigma", [0, WIDEST * 1.001, 0.3, 1])
def test_what_has_no_exponent_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0.0001, 1/sqrt\(12\) = 0.2887\]"):
        exponent_of(sigma)


def shares_of(exponent: float, batch: int, steps: int) -> np.ndarray[Any, Any]:
    """How much each step counts in the average after the last."""
    found = np.zeros(steps)
    for step in range(steps):
        kept = kept_share(exponent, batch, (step + 1) * batch)
        found *= kept
        found[step] = 1 - kept
    return found


def test_steps_count_as_the_profile_says() -> None:
    ends = np.arange(1, 41) / 40
    for exponent in (0.0, 6.94, 17.0):
        wanted = ends ** (exponent + 1) - (ends - 1 / 40) ** (exponent + 1)
        np.testing.assert_allclose(shares_of(exponent, 8, 40), wanted, rtol=1e-9, atol=1e-15)


def test_the_widest_is_the_plain_mean_of_the_weights() -> None:
    torch.manual_seed(0)
    net = nn.Linear(2, 3).double()
    average, seen = Ema(EmaSpec(sigma=WIDEST), net, Clock(8, 800)), []
    for step in range(1, 6):
        net.weight.data.normal_()
        seen.append(net.weight.detach().clone())
        average.update(8 * step)
    torch.testing.assert_close(average.module.weight, torch.stack(seen).mean(0), rtol=1e-6, atol=1e-6)


def test_products_are_integrals() -> None:
    times = (np.arange(100_000) + 0.5) / 100_000 * 3

    def profile(exponent: float, end: float) -> np.ndarray[Any, Any]:
        return np.where(times <= end, (exponent + 1) * times**exponent / end ** (exponent + 1), 0)

    for one, other in (((4.0, 2.0), (9.0, 3.0)), ((9.0, 2.0), (4.0, 3.0)), ((5.0, 2.5), (7.0, 2.5))):
        integral = (profile(*one) * profile(*other)).sum() * 3 / 100_000
        assert inner_product(one, other) == pytest.approx(integral, rel=1e-3)
        assert inner_product(one, other) == inner_product(other, one)


def test_what_is_stored_is_made_of_itself_alone() -> None:
    profiles = [(exponent, time) for time in (1.0, 2.0, 3.0) for exponent in (6.9, 17.0)]
    assert combine(profiles, (17.0, 2.0)) == [0, 0, 0, 1, 0, 0]
    nearly = combine(profiles, (17.0 + 1e-9, 2.0))
    assert nearly == pytest.approx([0, 0, 0, 1, 0, 0], abs=1e-6)


@pytest.mark.parametrize(("sigma", "error"), [(0.07, 0.01), (0.15, 0.01), (0.20, 0.05)])
def test_other_widths_are_made_of_two(sigma: float, error: float) -> None:
    """Of a random walk of 2048 steps and 32 snapshots, as a part of its spread."""
    walk = np.random.RandomState(0).randn(2048).cumsum()
    exponents = [exponent_of(one) for one in (0.05, 0.10)]
    ends = [64 * number for number in range(1, 33)]
    stored = [shares_of(exponent, 1, end) @ walk[:end] for end in ends for exponent in exponents]
    shares = combine([(exponent, end) for end in ends for exponent in exponents], (exponent_of(sigma), ends[-1]))
    assert sum(shares) == pytest.approx(1)
    wanted = shares_of(exponent_of(sigma), 1, 2048) @ walk
    assert np.dot(shares, stored) == pytest.approx(wanted, abs=error * walk.std())


def test_snapshots_keep_what_is_not_averaged_once(tmp_path: Path) -> None:
    snapshots = Snapshots(Folder.at(tmp_path), (0.05, 0.1))
    for seen in (100, 200, 300):
        states = {
            sigma: {"w": torch.full((2,), seen + sigma), "m": torch.tensor([float(seen)])} for sigma in (0.05, 0.1)
        }
        snapshots.write(seen, states, frozenset({"w"}))
    found, seen = snapshots.reconstruct(0.05, 250)
    assert seen == 200 and found["m"].item() == 200 and found["w"].tolist() == pytest.approx([200.05] * 2, rel=1e-3)
    snapshots.forget_after(100)
    assert snapshots.times() == [100]
    snapshots.write(400, {0.05: {"w": torch.tensor([1e9])}, 0.1: {"w": torch.tensor([1e9])}}, frozenset({"w"}))
    assert snapshots._read(400)["0.05/w"].item() == 1e9, "too large for float16"


def stored_run(spec: JobSpec, root: Path) -> Path:
    """A run that `load` finds."""
    train(spec, root)
    job = spec.model_dump(mode="json", by_alias=True)
    (root / "request.json").write_text(json.dumps({"run_id": root.name, "job": job, "versions": {}}))
    return root


JOB: dict[str, Any] = {
    "ema": TWO,
    "until": "12 steps",
    "every": {"snapshot": "2 steps"},
    "optimizer": {"lr": 0.05},  # that weights move by much more than float16 rounds them
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored_run(small(**JOB), tmp_path_factory.mktemp("averages") / "averages-run")


def test_each_average_is_loaded_by_its_width(trained: Path) -> None:
    first, second, raw = (load(str(trained), weights=name) for name in ("ema", "ema:0.10", "raw"))
    same = load(str(trained), weights="ema:0.05")
    states = [model.generator.state_dict() for model in (first, same, second, raw)]
    key = next(iter(states[0]))
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key]) and not torch.equal(states[0][key], states[3][key])


def test_an_average_made_of_snapshots_is_the_one_that_was_not_kept(trained: Path, tmp_path: Path) -> None:
    other = stored_run(small(**{**JOB, "ema": [{"sigma": 0.07}], "every": {}}), tmp_path / "other-run")
    wanted = load(str(other)).generator.state_dict()
    made = load(str(trained), weights="ema:0.07")
    plain = load(str(trained)).generator.state_dict()
    off = max((made.generator.state_dict()[key] - wanted[key]).abs().max().item() for key in wanted)
    assert off < 0.3 * max((plain[key] - wanted[key]).abs().max().item() for key in wanted)
    assert made.seen == load(str(trained)).seen


def test_averages_and_snapshots_resume_exactly(tmp_path: Path, trained: Path) -> None:
    train(small(**JOB), tmp_path / "parts", stopping=stop_at(5))
    (tmp_path / "parts" / "snapshots" / "000000000999.safetensors").write_bytes(b"of an attempt that was lost")
    again = train(small(**JOB), tmp_path / "parts", attempt=2)
    assert_same_state(again.newest, stored(Folder.at(trained / "checkpoints"))[-1])
    there, here = (Snapshots.of_run(RunFolder(Folder.at(one)), small(**JOB)) for one in (trained, tmp_path / "parts"))
    assert there.times() == here.times() == [2 * step * small().batch for step in range(1, 7)]
    for name in there.folder.names():
        assert there.folder.read(name) == here.folder.read(name)


def test_what_was_not_stored_cannot_be_had(tmp_path: Path) -> None:
    stored_run(small(until="1 steps", ema={"half_life": 40}), tmp_path / "plain-run")
    with pytest.raises(ValueError, match=r"plain-run has no average by sigma, and no snapshots .* every: {snapshot"):
        load(str(tmp_path / "plain-run"), weights="ema:0.08")
    for written, text in (
        ("ema:0.3", r"must be in \[0.0001, 1/sqrt\(12\)"),
        ("emma", "allowed: ema, raw, or ema:SIGMA"),
        ("ema:wide", "allowed: ema, raw, or ema:SIGMA"),
    ):
        with pytest.raises(ValueError, match=text):
            load(str(tmp_path / "plain-run"), weights=written)


def test_commands_take_any_width(trained: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli(
        "evaluate", str(trained), "--ema-grid", "0.08,0.05", "--metric", "frechet", "--n", "16", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert [one["sigma"] for one in found["ema"]] == [0.05, 0.08]
    assert found["ema"][0]["metrics"] == found["metrics"] != found["ema"][1]["metrics"]
    code, out, err = cli("export", str(trained), "--out", str(tmp_path / "out"), "--weights", "ema:0.08")
    assert code == 0, err
    exported, wanted = load(str(tmp_path / "out")).generator, load(str(trained), weights="ema:0.08").generator
    assert all(torch.equal(one, other) for one, other in zip(exported.parameters(), wanted.parameters(), strict=True))
    assert "generator_ema_0.08" in (tmp_path / "out" / "README.md").read_text()
    code, out, err = cli("evaluate", str(trained), "--ema-grid", "0.5")
    assert code == 2 and "--ema-grid '0.5': sigma: 0.5 must be in" in err


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ema": {}}, "give either `half_life` or `sigma`"),
        ({"ema": {"half_life": 9, "sigma": 0.1}}, "give either `half_life` or `sigma`"),
        ({"ema": {"sigma": 0.29}}, "sigma: 0.29 must be in"),
        ({"ema": {"sigma": 0.1, "ramp_up": 0.05}}, "ramp_up and start are for half_life"),
        ({"ema": [{"sigma": 0.1}, {"sigma": 0.1}]}, "sigmas must differ, not 0.1, 0.1"),
        ({"ema": [{"sigma": 0.1}, {"half_life": 9}]}, "only the first may have a half_life"),
        ({"ema": {"half_life": 9}, "every": {"snapshot": 9}}, "every.snapshot: keeps averages by sigma"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        small(**changes)


def test_a_lone_average_is_written_as_a_mapping() -> None:
    for written in ({"sigma": 0.1}, {"half_life": 4000, "ramp_up": 0.1}, TWO, None):
        spec = small(ema=written)
        dumped = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True).get("ema")
        assert dumped == written
        assert JobSpec.model_validate(spec.model_dump(mode="json", by_alias=True)) == spec

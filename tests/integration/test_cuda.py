"""What only a CUDA device shows: recorded calls, exactness, precision, memory. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_dist.distributed.cuda_graphs import Recording
from gan_dist.distributed.runtime import WrappedNetwork
from gan_dist.launch.load_job import load_job
from gan_dist.metrics.features.language_model import LanguageModel
from gan_dist.networks.text.autoregressive import Autoregressive
from gan_dist.networks.text.lstm import Generator as Lstm
from gan_dist.networks.text.rmc import Generator as Rmc
from gan_dist.networks.text.transformer import Generator as Transformer
from gan_dist.spec.job import JobSpec
from gan_dist.training import loop
from gan_dist.training.arithmetic import arithmetic
from gan_dist.training.loop import Iteration
from gan_dist.training.stages import Stage
from tests.helpers import CPU, assert_same_state, small, stop_at, train
from tests.integration.test_text_jobs import ALONE, JOBS, rows_of, spec_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
GPU = torch.device("cuda", 0)
SHAPE: dict[str, Any] = {"vocabulary": 200, "length": 7, "bos": 1, "eos": 2}
NETWORKS = {"lstm": Lstm, "rmc": Rmc, "transformer": Transformer}
MANY = {**ALONE, "micro_batch": 4}
PICTURES = (
    "mlp",
    "dcgan",
    "dcgan-conditional",
    "wgan-gp",
    "sngan",
    "vae",
    "r3gan",
    "stylegan2-ada",
    "fastgan",
    "biggan",
)
SHORT = {"until": "9 steps", "metrics": [], "every": {"report": "1 steps", "grid": 1_000_000, "checkpoint": 1_000_000}}


def made(name: str, **changes: Any) -> Autoregressive:
    torch.manual_seed(0)
    generator: Autoregressive = NETWORKS[name](**SHAPE, **changes).to(GPU)
    return generator


def sentences(n: int) -> Tensor:
    return torch.randint(2, 200, (n, 7), generator=torch.Generator().manual_seed(1)).to(GPU)


def called(net: WrappedNetwork, method: str, *args: Any) -> tuple[list[Tensor], list[Tensor | None]]:
    """What a method makes, and the gradients of its sum."""
    torch.cuda.manual_seed(5)
    found = net(*args) if method == "forward" else net.call(method, *args)
    found = found if isinstance(found, tuple) else (found,)
    if any(one.requires_grad for one in found):
        sum(one.float().square().sum() for one in found if one.requires_grad).backward()
    slopes = [None if one.grad is None else one.grad.clone() for one in net.module.parameters()]
    net.module.zero_grad()
    return [one.detach() for one in found], slopes


def plain_and_recorded(generator: nn.Module, precision: str = "fp32") -> tuple[WrappedNetwork, WrappedNetwork]:
    autocast, _ = arithmetic(precision, GPU)
    plain = WrappedNetwork(generator, False, autocast)
    plain._recorder = None
    return plain, WrappedNetwork(generator, False, autocast)


def assert_equal(one: Any, other: Any) -> None:
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["log_prob", "scored", "sample", "gumbel", "straight_through"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_recorded_call_is_the_plain_call(
    name: str, method: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients, at changing inputs, weights and temperatures."""
    replays, replay = [], Recording.replay
    monkeypatch.setattr(Recording, "replay", lambda self, inputs: (replays.append(1), replay(self, inputs))[1])
    relax = method if method in ("gumbel", "straight_through") else "none"
    dropping = {"dropout": 0.3} if name != "rmc" else {}
    generator = made(name, relax=relax, **dropping)
    plain, recorded = plain_and_recorded(generator, precision)
    for beta in (1.0, 3.0, 7.5):
        generator.beta = beta
        if method in ("log_prob", "scored"):
            given: Any = sentences(5)
        else:
            torch.manual_seed(int(beta))
            given = {"uniform": torch.rand(5, 7, device=GPU)}
            if relax != "none":
                given = {"gumbel": torch.rand(5, 7, 198, device=GPU)}
        where = method if method in ("log_prob", "scored") else "forward"
        expected, found = called(plain, where, given), called(recorded, where, given)
        assert_equal(expected[0], found[0])
        assert_equal(expected[1], found[1])
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(1.01)
    assert recorded._recorder is not None and len(recorded._recorder.found) == 1 and len(replays) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_recorded_call_of_a_network_at_rest(name: str, precision: str) -> None:
    """As D's steps make them: no gradient reaches the generator, whose weights change between them."""
    generator = made(name, relax="gumbel").requires_grad_(False)
    plain, recorded = plain_and_recorded(generator, precision)
    for seed in range(3):
        torch.manual_seed(seed)
        given = {"gumbel": torch.rand(5, 7, 198, device=GPU)}
        (expected, _), (found, _) = called(plain, "forward", given), called(recorded, "forward", given)
        assert_equal(expected, found)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(1.01)
    assert recorded._recorder is not None
    (recording,) = recorded._recorder.found.values()
    assert recording is not None


def test_two_calls_before_one_backward() -> None:
    """The second is plain, for the recording still holds what the first one's gradient needs."""
    plain, recorded = plain_and_recorded(made("lstm"))
    found = []
    for net in (plain, recorded):
        first, second = net.call("log_prob", sentences(5)), net.call("log_prob", sentences(5).flip(0))
        (first.sum() + second.square().sum()).backward()
        found.append([one.grad.clone() for one in net.module.parameters() if one.grad is not None])
        net.module.zero_grad()
    assert_equal(*found)


def test_an_attribute_that_no_recording_follows() -> None:
    """Each value has its own recording, and after some calls are plain: never the number of another call."""
    generator = made("lstm")
    plain, recorded = plain_and_recorded(generator)
    for bos in range(2, 14):
        generator.bos = bos
        assert_equal(called(plain, "log_prob", sentences(5))[0], called(recorded, "log_prob", sentences(5))[0])


TEXTS = {"relgan": ALONE, "scratchgan": ALONE, "seqgan after mle": {}, "seqgan with mle beside": MANY}


@pytest.mark.parametrize("name", TEXTS)
def test_recording_changes_no_run(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(name, **{**JOBS[name], **TEXTS[name]})
    rows = rows_of(spec, tmp_path)
    recorded = train(spec, tmp_path / "recorded", rows=rows, device=GPU)
    for kind in NETWORKS.values():
        monkeypatch.delattr(kind, "recorded")
    assert_same_state(recorded.newest, train(spec, tmp_path / "plain", rows=rows, device=GPU).newest)


@pytest.mark.parametrize("name", JOBS)
def test_a_stopped_text_run_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    goes_on_bit_for_bit(spec_of(name), tmp_path, rows_of(spec_of(name), tmp_path))


@pytest.mark.parametrize("name", PICTURES)
def test_a_stopped_run_of_pictures_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    """The shipped jobs, at the precision that the device has."""
    goes_on_bit_for_bit(load_job(Path("jobs") / f"{name}.yaml", SHORT), tmp_path, None)


def goes_on_bit_for_bit(spec: JobSpec, root: Path, rows: Any) -> None:
    straight = train(spec, root / "straight", rows=rows, device=GPU)
    train(spec, root / "twice", stop_at(4), rows=rows, device=GPU)
    again = train(spec, root / "twice", attempt=2, rows=rows, device=GPU)
    assert_same_state(straight.newest, again.newest)


@pytest.mark.parametrize("name", ["dcgan", "r3gan", "stylegan2-ada"])
def test_an_iteration_never_waits_for_the_device(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first ones, in which libraries and moments are set up."""
    plain, done = loop.iterate, 0

    def watched(it: Iteration, stage: Stage) -> Tensor:
        nonlocal done
        done += 1
        torch.cuda.set_sync_debug_mode("error" if done > 3 else "default")
        try:
            return plain(it, stage)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "iterate", watched)
    train(load_job(Path("jobs") / f"{name}.yaml", SHORT), tmp_path, device=GPU)
    assert done == 9


def test_a_run_may_change_the_device(tmp_path: Path) -> None:
    """Weights, moments and clock go from either to the other."""
    spec = small()
    for here, there in ((CPU, GPU), (GPU, CPU)):
        root = tmp_path / here.type
        train(spec, root, stop_at(3), device=here)
        gone_on = train(spec, root, attempt=2, device=there)
        assert gone_on.result["ending"] == "finished" and gone_on.newest.seen == 6 * spec.batch


def test_a_micro_batch_that_fits(tmp_path: Path) -> None:
    """Half and half again, where a device has little memory."""
    wide, data = {"use": "dcgan", "width": 256}, {"source": "digits", "size": 32}
    job = {"data": data, "generator": {**wide, "z": 8}, "discriminator": wide, "precision": "auto"}
    spec = small(**job, batch=1792, until="1 steps")
    torch.cuda.empty_cache()
    most = torch.cuda.memory_reserved() + 840e6
    torch.cuda.set_per_process_memory_fraction(most / torch.cuda.get_device_properties(GPU).total_memory)
    try:
        told = train(spec, tmp_path, device=GPU).events
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    (settled,) = (event for event in told if event["event"] == "micro_batch")
    assert 64 <= settled["samples"] < settled["share"] == 1792


def test_a_language_model_learns() -> None:
    """Its LSTM has a gradient only in training mode."""
    torch.manual_seed(0)
    model = LanguageModel(**SHAPE, steps=20).to(GPU).eval()
    rows = sentences(64)
    before = model.nll(rows)
    model.learn(lambda chosen: rows[torch.from_numpy(chosen).to(GPU)], np.arange(64))
    assert model.nll(rows) < before - 0.1

"""An iteration reads nothing back from the device, so that the host is always ahead of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gan_dist.training.loop import iterate
from tests.helpers import small
from tests.training.test_loop import ready

READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")
DIGITS = {"source": "digits", "size": 16}
DCGAN = {
    "data": DIGITS,
    "generator": {"use": "dcgan", "width": 2, "z": 4},
    "discriminator": {"use": "dcgan", "width": 2, "norm": "none"},
}
STYLED = {"use": "stylegan2", "mapping": 1, "capacity": 64, "most": 4}
STEEP = {"target": 0.6, "p": 0.4, "ramp": 120}
CASES: dict[str, dict[str, Any]] = {
    "clip and warm-up": {"optimizer": {"lr": 1e-2, "clip": 0.1, "warmup": "5 steps"}},
    "shared fakes": {"objective": {"use": "non_saturating", "fakes": "shared"}},
    "best samples": {"objective": {"use": "hinge", "top_k": 0.5}},
    "cut weights": {"objective": {"use": "wasserstein", "clip": 0.1}, "penalties": [{"use": "wgan_gp"}]},
    "classes": {**DCGAN, "data": {**DIGITS, "labels": "source"}, "penalties": [{"use": "r1"}]},
    "adaptive": {**DCGAN, "augment": {"use": "ada", **STEEP}, "penalties": [{"use": "lecam"}]},
    "apa": {"penalties": [{"use": "apa"}], "augment": {"use": "diffaugment"}},
    "stylegan2": {
        "data": DIGITS,
        "generator": {**STYLED, "z": 8, "w": 8},
        "discriminator": STYLED,
        "penalties": [{"use": "r1"}, {"use": "path_length"}],
    },
}


@pytest.mark.parametrize("case", CASES)
def test_an_iteration_reads_no_tensor(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = ready(small(**CASES[case]))
    stage, read = it.state.stages[0], []
    for name in READS:
        plain = getattr(torch.Tensor, name)

        def noted(self: Any, *args: Any, _name: str = name, _plain: Any = plain) -> Any:
            read.append(_name)
            return _plain(self, *args)

        monkeypatch.setattr(torch.Tensor, name, noted)
    assert not bool(torch.zeros(1)) and read == ["__bool__"], "what is counted"
    for _ in range(4):  # what adapts does so in the fourth
        iterate(it, stage)
        it.state.seen += stage.clock.batch
    assert read == ["__bool__"]

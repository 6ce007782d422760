"""Four ranks that stop anywhere and resume end with the very bits of four that did not stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan_dist.runs.checkpoint import stored
from gan_dist.runs.storage import Folder
from tests.integration.gang import Training, train_together
from tests.integration.test_rank_equality import (
    ADAPTIVE,
    CASES,
    CYCLEGAN,
    PIX2PIX,
    R3GAN,
    R3GAN2,
    SCRATCHGAN,
    SEQGAN,
    STYLEGAN2,
    TEXT,
    TEXTCNN,
    TRANSFORMER,
    VAE,
    job,
)

pytestmark = pytest.mark.dist
STEPS = 7
NETS = {
    "generator": {"use": "dcgan", "width": 4, "z": 8},
    "discriminator": {"use": "dcgan", "width": 4, "norm": "batch"},
}
JOBS = {
    "batch norm": job(**NETS, precision="fp32", ema={"half_life": 60, "ramp_up": 0.5}, until=f"{STEPS} steps"),
    "lazy r1": job(precision="fp32", penalties=[{"use": "r1", "every": 3}], until=f"{STEPS} steps"),
    "spectral norm": job(precision="fp32", discriminator={"use": "sngan", "width": 2}, until=f"{STEPS} steps"),
    "r3gan": job(
        **R3GAN,
        precision="fp32",
        objective={"use": "relativistic"},
        penalties=[{"use": "r1"}, {"use": "r2", "every": 2}],
        until=f"{STEPS} steps",
    ),
    "r3gan2": job(
        **R3GAN2,
        precision="fp32",
        objective={"use": "relativistic"},
        penalties=[{"use": "r1"}],
        ema={"half_life": 40},
        until=f"{STEPS} steps",
    ),
    "cut weights": job(precision="fp32", objective={"use": "wasserstein", "clip": 0.05}, until=f"{STEPS} steps"),
    "adaptive ada": job(
        precision="fp32",
        augment=ADAPTIVE,
        penalties=[{"use": "r1"}],
        until=f"{STEPS} steps",
    ),
    "stylegan2": job(
        **STYLEGAN2, precision="fp32", penalties=[{"use": "path_length", "every": 2}], until=f"{STEPS} steps"
    ),
    "fastgan, standing statistics": job(
        precision="fp32",
        data={"source": "digits", "size": 32},
        generator={"use": "fastgan", "width": 2, "z": 8},
        discriminator={"use": "fastgan", "width": 2, "decoders": True},
        objective=[{"use": "hinge"}, {"use": "reconstruction"}],
        augment={"use": "diffaugment"},
        ema={"half_life": 60},
        standing={"batches": 2},
        until=f"{STEPS} steps",
    ),
    "sgd with momentum": job(
        precision="fp32",
        optimizer={"use": "torch.optim:SGD", "lr": 0.05, "momentum": {"linear": {"from": 0, "to": 0.9, "over": 90}}},
        until=f"{STEPS} steps",
    ),
    "gat, taught": CASES["gat, taught"] | {"precision": "fp32", "until": f"{STEPS} steps"},
    "vae": job(**VAE, precision="fp32", until=f"{STEPS} steps"),
    "pix2pix": job(**PIX2PIX, precision="fp32", until=f"{STEPS} steps"),
    "cyclegan, its pools": job(**CYCLEGAN | {"precision": "fp32"}, until=f"{STEPS} steps"),
    "scratchgan, its authors' networks": job(
        **SCRATCHGAN | {"discriminator": {**SCRATCHGAN["discriminator"], "dropout": 0.2}},
        data=TEXT,
        precision="fp32",
        until=f"{STEPS} steps",
    ),
    "mle, then seqgan by a transformer": {
        **{key: value for key, value in job(precision="fp32").items() if key not in ("objective", "until")},
        "data": TEXT,
        "generator": {**TRANSFORMER, "dropout": 0.2},
        "discriminator": {**TEXTCNN, "dropout": 0.2},
        "stages": [{"objective": {"use": "mle"}, "for": "2 steps"}, {"objective": SEQGAN, "for": "5 steps"}],
    },
    "stages": {
        **{key: value for key, value in job(precision="fp32").items() if key not in ("objective", "until")},
        "stages": [
            {"objective": {"use": "hinge"}, "for": "2 steps"},
            {"objective": {"use": "hinge"}, "for": "1 steps", "train": ["discriminator"]},
            {
                "objective": {"use": "least_squares"},
                "for": "4 steps",
                "optimizer": {"betas": [0.0, 0.9]},
                "fresh_optimizer": True,
            },
        ],
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resume")
    plans = []
    for case, one in JOBS.items():
        plans.append(Training(one, str(root / case / "whole")))
        plans.append(Training(one, str(root / case / "parts"), attempt=1, stop_after=3))
        plans.append(Training(one, str(root / case / "parts"), attempt=2))
    train_together(4, plans)
    return root


@pytest.mark.parametrize("case", JOBS)
def test_stopped_and_resumed_equals_uninterrupted(trained: Path, case: str) -> None:
    whole = stored(Folder.at(trained / case / "whole" / "checkpoints"))[-1]
    first, *_, last = stored(Folder.at(trained / case / "parts" / "checkpoints"))
    assert 0 < first.seen < whole.seen == last.seen
    assert "training.pt" in whole.meta["checksums"]
    assert whole.meta["checksums"] == last.meta["checksums"]

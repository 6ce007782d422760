"""Two and three ranks compute what one does, to float64 rounding, also where the batch does not divide evenly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gan_dist.runs.checkpoint import stored
from gan_dist.runs.storage import Folder
from tests.integration.gang import Training, train_alone, train_together

pytestmark = pytest.mark.dist
BATCH, STEPS = 18, 3  # lanes of 4, 4, 4, 4, 2: uneven over two ranks and over three


def job(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "ranks",
        "data": {"source": "digits", "size": 16},
        "generator": {"use": "dcgan", "width": 2, "z": 8},
        "discriminator": {"use": "dcgan", "width": 2, "norm": "none"},
        "objective": {"use": "hinge"},
        "batch": BATCH,
        "until": f"{STEPS} steps",
        "precision": "fp64",
        "optimizer": {"lr": 1e-2},
    }
    return base | changes


MLP = {"generator": {"use": "mlp", "hidden": 16}, "discriminator": {"use": "mlp", "hidden": 16}}
SMALL_R3GAN = {"use": "r3gan", "width": 8, "group": 4, "blocks": 1}
R3GAN = {"generator": {**SMALL_R3GAN, "z": 8}, "discriminator": SMALL_R3GAN}
SMALL_R3GAN2 = {"use": "r3gan2", "width": 8, "group": 4, "blocks": 1}
R3GAN2 = {"generator": {**SMALL_R3GAN2, "z": 8}, "discriminator": SMALL_R3GAN2}
SNGAN = {"generator": {"use": "mlp", "hidden": 16}, "discriminator": {"use": "sngan", "width": 2}}
STYLED = {"use": "stylegan2", "mapping": 1, "capacity": 64, "most": 8}
STYLEGAN2 = {"generator": {**STYLED, "z": 8, "w": 8}, "discriminator": STYLED}
R1 = {"use": "r1", "gamma": 3.0}
# So steep that p moves by more than half in two looks at D.
ADAPTIVE = {"use": "ada", "target": 0.6, "p": 0.4, "ramp": 120}
# All but relativistic_average and feature_matching, whose means are over what one worker sees.
OBJECTIVES = ("non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic")
PENALTIES: dict[str, list[dict[str, Any]]] = {"none": [], "r1": [R1], "lazy r1": [{**R1, "every": 2}]}
CASES: dict[str, dict[str, Any]] = {
    f"{objective}, {name}": job(**MLP, objective={"use": objective}, penalties=penalties)
    for objective in OBJECTIVES
    for name, penalties in PENALTIES.items()
}
CASES |= {
    "conditional": job(**MLP, data={"source": "digits", "size": 16, "labels": "source"}),
    "conditional on vectors": job(**MLP, data={"source": "digits", "size": 16, "labels": "vectors"}),
    "shared fakes": job(**MLP, objective={"use": "hinge", "fakes": "shared"}, penalties=[R1]),
    "shared fakes, accumulated": job(**MLP, objective={"use": "least_squares", "fakes": "shared"}, micro_batch=4),
    "two D steps": job(**MLP, objective={"use": "hinge", "d_steps": 2}),
    "accumulated": job(**MLP, micro_batch=4, penalties=[R1]),
    "a sum": job(**MLP, objective=[{"use": "hinge", "weight": 0.5}, {"use": "least_squares", "weight": 2.0}]),
    "clipped, average": job(**MLP, optimizer={"lr": 1e-2, "clip": 0.1}, ema={"half_life": 40}),
    "r1 and r2": job(**MLP, objective={"use": "relativistic"}, penalties=[R1, {"use": "r2", "gamma": 2.0}]),
    "wgan_gp": job(**MLP, objective={"use": "wasserstein", "d_steps": 2}, penalties=[{"use": "wgan_gp"}]),
    "one-sided": job(**MLP, penalties=[{"use": "wgan_gp", "one_sided": True, "target": 0.1}]),
    "dragan": job(**MLP, micro_batch=4, penalties=[{"use": "dragan"}]),
    "cut weights": job(**MLP, objective={"use": "wasserstein", "clip": 0.03}),
    "r3gan": job(**R3GAN, objective={"use": "relativistic"}, penalties=[R1, {"use": "r2"}], micro_batch=4),
    "r3gan, conditional": job(**R3GAN, data={"source": "digits", "size": 16, "labels": "source"}),
    "r3gan2": job(
        **R3GAN2,
        data={"source": "digits", "size": 16, "labels": "source"},
        objective={"use": "relativistic"},
        penalties=[R1, {"use": "r2"}],
        micro_batch=4,
    ),
    # Gradients of weights before a normalisation are partly rounding, of which Adam makes steps with a small eps.
    "batch normalisation over all": job(
        optimizer={"lr": 1e-2, "eps": 1e-4},
        data={"source": "digits", "size": 32, "labels": "source"},
        generator={"use": "biggan", "width": 2, "z": 20, "shared": 4},
        discriminator={"use": "biggan", "width": 2},
        ema={"half_life": 40},
        standing={"batches": 2},
    ),
    "spectral norm": job(**SNGAN, objective={"use": "hinge", "d_steps": 2}, penalties=[R1], micro_batch=4),
    "diffaugment": job(**MLP, augment={"use": "diffaugment"}, penalties=[R1], micro_batch=4),
    "ada": job(**MLP, augment={"use": "ada", "p": 0.5, "cutout": 1.0}, penalties=[{"use": "wgan_gp"}]),
    "adaptive ada": job(**MLP, augment=ADAPTIVE, penalties=[R1], micro_batch=4, until="9 steps"),
    "stylegan2": job(**STYLEGAN2, penalties=[R1, {"use": "path_length", "every": 2}], micro_batch=8),
    "stylegan2, conditional": job(**STYLEGAN2, data={"source": "digits", "size": 16, "labels": "source"}),
    "lecam": job(**MLP, penalties=[{"use": "lecam", "decay": 0.5}], micro_batch=4),
    "frozen": job(**R3GAN, penalties=[{"use": "r1"}], freeze={"discriminator": 1, "generator": "scale"}, micro_batch=4),
    "bcr and orthogonal": job(**MLP, penalties=[{"use": "bcr"}, {"use": "orthogonal", "beta": 0.1}], micro_batch=4),
    "reconstruction": job(**MLP, objective=[{"use": "hinge"}, {"use": "l1"}, {"use": "l2"}], micro_batch=4),
    # Nothing moves, for normalisation couples a batch; what samples are made with is the same all the same.
    "standing statistics": job(optimizer={"lr": 0.0}, standing={"batches": 2}, ema={"half_life": 40}),
    "rmsprop": job(**MLP, micro_batch=4, optimizer={"use": "torch.optim:RMSprop", "lr": 1e-2, "momentum": 0.5}),
    "one network moves": job(**MLP, optimizer={"lr": 1e-2, "generator": {"lr": 0.0}}),
}


SMALL_PIX2PIX = {"use": "pix2pix", "width": 2}
PIX2PIX = {
    "data": {"modality": "pair", "source": "nowhere", "size": 16},
    "generator": SMALL_PIX2PIX,
    "discriminator": {**SMALL_PIX2PIX, "layers": 2},
    "objective": [{"use": "non_saturating"}, {"use": "l1", "weight": 10}],
}
VAE = {
    "generator": {"use": "mlp", "hidden": 16, "z": 6},
    "discriminator": None,
    "networks": {"encoder": {"use": "vae", "width": 2, "z": 6, "norm": "none"}},
    "objective": {"use": "vae", "sigma": 0.5},
}
CASES["auxiliary classifier"] = job(
    generator={"use": "mlp", "hidden": 16},
    data={"source": "digits", "size": 16, "labels": "source"},
    discriminator={"use": "dcgan", "width": 2, "norm": "none", "auxiliary": "classes"},
    objective=[{"use": "hinge"}, {"use": "auxiliary_classifier"}],
    micro_batch=4,
)
CASES["discriminative classifier"] = job(
    generator={"use": "mlp", "hidden": 16},
    data={"source": "digits", "size": 16, "labels": "source"},
    discriminator={"use": "sngan", "width": 2, "auxiliary": "real_fake"},
    objective=[{"use": "hinge"}, {"use": "discriminative_classifier"}, {"use": "mode_seeking", "weight": 0.1}],
    micro_batch=4,
)
CASES["data to data"] = job(
    generator={"use": "mlp", "hidden": 16},
    data={"source": "digits", "size": 16, "labels": "source"},
    discriminator={"use": "sngan", "width": 2, "auxiliary": "proxies"},
    objective=[{"use": "hinge"}, {"use": "data_to_data", "weight": 0.5}],
    augment={"use": "diffaugment"},
    micro_batch=4,
)
# What is learnt from is drawn from means and deviations, anew each time.
CASES["latents"] = job(
    **R3GAN,
    data={"source": "nowhere", "size": 16, "encode": "nothing"},
    objective={"use": "relativistic"},
    penalties=[R1, {"use": "r2"}],
    micro_batch=4,
)
CASES["apa, approximate penalties"] = job(
    **MLP,
    objective=[{"use": "non_saturating"}, {"use": "zcr"}],
    augment={"use": "diffaugment"},
    penalties=[{"use": "apa", "p": 0.5, "ramp": 200}, {"use": "approximate_r1"}, {"use": "approximate_r2"}],
    micro_batch=4,
    until="9 steps",
)
CASES["top-k"] = job(
    **MLP,
    objective={"use": "hinge", "top_k": {"linear": {"from": 1, "to": 0.4, "over": 40}}},
    augment={"use": "diffaugment"},
    micro_batch=4,
    until="4 steps",
)
CASES["vae"] = job(**VAE, micro_batch=4)
SMALL_GAT = {"use": "gat", "hidden": 16, "depth": 4, "heads": 2}
CASES["gat"] = job(
    generator={**SMALL_GAT, "z": 4},
    discriminator=SMALL_GAT,
    data={"source": "digits", "size": 8, "labels": "source"},
    objective={"use": "multi_level"},
    optimizer={"lr": 1e-3, "eps": 1e-6},
    augment={"use": "diffaugment", "policy": ["translation", "cutout"]},
    micro_batch=4,
)
CASES["gat, taught"] = CASES["gat"] | {
    "discriminator": {**SMALL_GAT, "taught": 320},
    "objective": [
        {"use": "multi_level"},
        {"use": "distillation", "teacher": "efficientnet_lite0", "weights": "random", "resolution": 32},
    ],
}
# The gradient of the keys' bias is rounding, as softmax knows only differences.
CASES["flow matching"] = job(
    generator={"use": "flow", "width": 8, "steps": 1},
    discriminator=None,
    data={"source": "digits", "size": 8, "labels": "source"},
    objective={"use": "flow_matching"},
    optimizer={"lr": 1e-2, "eps": 1e-6},
    ema=[{"sigma": 0.05}, {"sigma": 0.1}],
    micro_batch=4,
)
# The gradient of a bias before a normalisation is rounding, of which Adam makes whole steps where eps is as small.
CASES["pix2pix"] = job(**PIX2PIX, penalties=[R1], micro_batch=4, optimizer={"lr": 1e-2, "eps": 1e-6})

NARROW = {"width": 2, "blocks": 1}
UNPAIRED = {
    "data": {"modality": "unpaired", "source": "nowhere", "size": 16, "xflip": True},
    "micro_batch": 4,
    "optimizer": {"lr": 1e-2, "eps": 1e-6},
}
CYCLEGAN = {
    **UNPAIRED,
    "generator": {"use": "cyclegan", **NARROW},
    "discriminator": {"use": "cyclegan", "width": 2, "layers": 1},
    "networks": {
        "inverse": {"use": "cyclegan_generator", **NARROW},
        "source_discriminator": {"use": "cyclegan_discriminator", "width": 2, "layers": 1},
    },
    "objective": {"use": "cyclegan", "pool": 19},
}
CUT = {
    **UNPAIRED,
    "generator": {"use": "cyclegan", **NARROW, "antialias": True},
    "discriminator": {"use": "cyclegan", "width": 2, "layers": 1, "antialias": True},
    "networks": {"projection": {"use": "patch_projection", "width": 2, "features": 4}},
    "objective": {"use": "cut", "places": 9},
}
CASES["cyclegan"] = job(**CYCLEGAN, until="6 steps")
# Its first weights are so small that Adam would make whole steps of roundings.
CUT |= {"optimizer": {"lr": 1e-2, "eps": 1e-4}}
CASES["cut"] = job(**CUT)
CASES["autoencoder"] = job(
    data={"modality": "pair", "source": "nowhere", "inputs": "same", "size": 16},
    generator={"use": "autoencoder", "width": 8, "latent": 2},
    discriminator={"use": "cyclegan", "width": 2, "layers": 1},
    objective={"use": "autoencoder"},
    micro_batch=4,
    optimizer={"lr": 1e-2, "eps": 1e-4},
)
CASES["fastcut"] = job(**CUT | {"objective": {"use": "cut", "nce": 10, "identity": False, "mirror": True, "places": 9}})

TEXT = {"modality": "text", "source": "nowhere", "length": 7, "vocabulary": 12}
LSTM = {"use": "lstm", "embedding": 5, "hidden": 6}
TEXTCNN = {"use": "textcnn", "embedding": 4, "widths": [1, 2, 3], "filters": [3, 3, 3], "dropout": 0.0}
TEXTLSTM = {"use": "textlstm", "embedding": 4, "hidden": 5, "dropout": 0.0}
MULTIREP = {"use": "multirep", "representations": 4, "filters": 3, "features": 4, "dropout": 0.0}
CHARCNN = {"use": "charcnn", "width": 4}
RMC = {"use": "rmc", "embedding": 5, "head_size": 3}
TRANSFORMER = {"use": "transformer", "width": 6, "heads": 2}
SCRATCHGAN = {
    "generator": {"use": "scratchgan", "embedding": 4, "hidden": 5, "layer_norm": True},
    "discriminator": {"use": "scratchgan", "embedding": 4, "hidden": 5, "dropout": 0.0},
    "objective": {"use": "scratchgan", "d_steps": 2, "baseline_over": "places"},
    "optimizer": {"lr": 1e-2, "discriminator": {"weight_decay": 1e-3}},
}
SEQGAN = {"use": "seqgan", "rollouts": 2, "update_rate": 0.5, "baseline": "mean", "entropy": 0.1, "chunk": 16}


def text(generator: dict[str, Any], discriminator: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    return job(data=TEXT, generator=generator, discriminator=discriminator, micro_batch=8, **changes)


CASES |= {
    "mle": text(LSTM, None, objective={"use": "mle"}),
    "mle, relational memory": text(RMC, None, objective={"use": "mle"}),
    "seqgan": text(LSTM, TEXTCNN, objective=SEQGAN),
    "seqgan, dense": text(LSTM, TEXTLSTM, objective={**SEQGAN, "reward": "dense", "update_rate": 0.0}),
    "seqgan, terminal, mle beside": text(
        RMC, TEXTCNN, objective=[{**SEQGAN, "reward": "terminal"}, {"use": "mle", "weight": 0.5}]
    ),
    "mle, transformer": text(TRANSFORMER, None, objective={"use": "mle"}),
    "seqgan, transformer": text(TRANSFORMER, TEXTCNN, objective=SEQGAN),
    "scratchgan": text(LSTM, TEXTLSTM, objective={"use": "scratchgan", "d_steps": 2}),
    "scratchgan, its authors' networks": job(**SCRATCHGAN, data=TEXT, micro_batch=8),
    "relgan": text({**RMC, "relax": "gumbel", "beta": 2.0}, MULTIREP, objective={"use": "relativistic"}),
    # Where relaxed gradients cancel to rounding, Adam would make whole steps of them with a small eps.
    "straight through": text(
        {**LSTM, "relax": "straight_through"},
        TEXTCNN,
        penalties=[R1, {"use": "r2"}],
        optimizer={"lr": 1e-2, "eps": 1e-6},
    ),
    "textgail": text(
        LSTM,
        TEXTCNN,
        objective={"use": "textgail", "minibatches": 2, "kl": 0.1, "entropy": 0.1, "demonstrations": 0.3},
    ),
    # Gradients of clipped tokens cancel to rounding, of which Adam would make whole steps.
    "textgail, by token": text(
        LSTM,
        TEXTLSTM,
        objective={"use": "textgail", "minibatches": 2, "ratio": "token", "top_p": 1.0},
        optimizer={"lr": 1e-2, "eps": 1e-6},
    ),
    "prompts": job(
        data={**TEXT, "prompt": "question", "prompt_length": 4},
        generator=LSTM,
        discriminator=TEXTLSTM,
        objective=[{"use": "scratchgan"}, {"use": "mle", "weight": 0.5}],
        micro_batch=8,
    ),
    "characters": text(
        {**CHARCNN, "z": 4}, CHARCNN, objective={"use": "wasserstein", "d_steps": 2}, penalties=[{"use": "wgan_gp"}]
    ),
}


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    last = stored(Folder.at(folder / "checkpoints"))[-1]
    names = [name.removesuffix(".safetensors") for name in last.meta["checksums"] if name != "training.pt"]
    return {f"{name}.{key}": tensor for name in names for key, tensor in last.tensors(name).items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained by one, two and three ranks; folders `<case>/<world>`."""
    root = tmp_path_factory.mktemp("ranks")
    for case, one in CASES.items():
        train_alone(Training(one, str(root / case / "1")))
    for world in (2, 3):
        train_together(world, [Training(one, str(root / case / str(world))) for case, one in CASES.items()])
    return root


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_ranks_equal_one_rank(trained: Path, case: str, world: int) -> None:
    one, several = final_weights(trained / case / "1"), final_weights(trained / case / str(world))
    assert one.keys() == several.keys()
    for key in one:
        assert torch.allclose(one[key], several[key], rtol=0, atol=1e-10), key


def test_training_moves_the_weights(trained: Path) -> None:
    """Without this, equal weights could be weights that nothing trained."""
    short, long = (trained / "hinge, none" / "1"), (trained / "hinge, r1" / "1")
    assert any(not torch.equal(final_weights(short)[key], final_weights(long)[key]) for key in final_weights(short))


def test_moments_over_all_workers_want_as_many_micro_batches_of_each(tmp_path: Path) -> None:
    """One would wait for another's moments without an end; it is told before anything is trained."""
    uneven = CASES["batch normalisation over all"] | {"micro_batch": 4}
    with pytest.raises(Exception, match=r"workers have 3, 2 micro-batches of 4 samples, and the generator's batch"):
        train_together(2, [Training(uneven, str(tmp_path / "run"))])

"""Forty iterations of the authors' own networks and losses from what ours drew, in float64: the same weights.

Where `GAN_DIST_CHECKOUTS` names a folder with the authors' repositories. Their trainers want CUDA; what is replayed are
their networks, losses and penalties, stepped by torch's Adam in the order of our phases.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_dist.contracts import Batch, Phase
from gan_dist.generation.published_models import PublishedModel, read_published
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from gan_dist.spec.schedules import Clock
from gan_dist.training.batches import StepKey
from gan_dist.training.loop import Iteration, iterate
from gan_dist.training.state import build_averages
from tests.helpers import Cli, small
from tests.training.test_loop import ready

pytestmark = pytest.mark.slow
STEPS, BATCH, SIZE = 40, 4, 16
CHECKOUTS = Path(os.environ.get("GAN_DIST_CHECKOUTS", ""))


def checkout(name: str) -> Path:
    root = CHECKOUTS / name
    if "GAN_DIST_CHECKOUTS" not in os.environ or not root.is_dir():
        pytest.skip(f"GAN_DIST_CHECKOUTS names no folder with a checkout {name}")
    return root


def run_theirs(script: str, folder: Path, *paths: Path) -> None:
    """A script in their code, which finds and leaves files in `folder`."""
    outside = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=outside, cwd=folder, capture_output=True, text=True, check=False
    )
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"the checkout wants what is not installed: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def recorded(it: Iteration, keep: Any) -> list[Any]:
    """What `keep` makes of each micro-batch that is drawn from now on, in order."""
    drawn, draw = [], it.feed.draw

    def noting(moment: StepKey, phase: Phase, lends: Sequence[nn.Parameter]) -> Iterator[Batch]:
        for batch in draw(moment, phase, lends):
            drawn.append(keep(moment.phase, batch))
            yield batch

    it.feed.draw = noting  # type: ignore[method-assign]
    return drawn


def iterated(it: Iteration) -> None:
    for _ in range(STEPS):
        iterate(it, it.state.stages[0])
        it.state.seen += BATCH
        it.state.update_ema()


def furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference of a weight, as a share of the largest weight of its tensor."""
    assert ours.keys() <= theirs.keys()
    return max(float((one - theirs[name]).abs().max() / one.abs().max().clamp_min(1e-3)) for name, one in ours.items())


def begun_from(first: PublishedModel, spec: JobSpec) -> Iteration:
    """A run that begins with the weights of a pickle, in float64."""
    it = ready(spec)
    for name in ("generator", "discriminator"):
        module = it.state.module(name)
        module.load_state_dict({key: one.double() for key, one in first.weights[name].items()})
    it.state.averages = tuple(build_averages(spec.ema, it.state.module("generator"), Clock(BATCH, BATCH)))
    return it


def assert_equal_ends(it: Iteration, first: PublishedModel, last: PublishedModel) -> None:
    """Both networks and the average are theirs, and were trained."""
    ours = {name: it.state.module(name).state_dict() for name in ("generator", "discriminator")}
    ours["generator_ema"] = it.state.averages[0].module.state_dict()
    moved = furthest(ours["generator"], {key: one.double() for key, one in first.weights["generator"].items()})
    assert moved > 1e-3, "else nothing was trained"
    apart = {name: furthest(weights, last.weights[name]) for name, weights in ours.items()}
    assert max(apart.values()) < 1e-13, apart


# --- StyleGAN2 with path length ------------------------------------------------------------------

STYLE = {"mapping": 2, "capacity": 64, "most": 8}
STYLEGAN2 = {
    "data": {"source": "digits", "size": SIZE},
    "generator": {"use": "stylegan2", "z": 6, "w": 5, **STYLE, "mixing": 0.0},
    "discriminator": {"use": "stylegan2", **STYLE, "group": BATCH},
    "objective": {"use": "non_saturating"},
    "penalties": [{"use": "r1", "gamma": 0.7}, {"use": "path_length", "gamma": 2.0, "decay": 0.01}],
    "optimizer": {"lr": 2.5e-3, "betas": [0.0, 0.99]},
    "ema": {"half_life": 60},
    "batch": BATCH,
}
MAKE = """
import pickle, torch
from training import networks
torch.manual_seed(0)
G = networks.Generator(z_dim=6, c_dim=0, w_dim=5, img_resolution=16, img_channels=1,
    mapping_kwargs=dict(num_layers=2), synthesis_kwargs=dict(channel_base=64, channel_max=8))
D = networks.Discriminator(c_dim=0, img_resolution=16, img_channels=1, channel_base=64, channel_max=8,
    epilogue_kwargs=dict(mbstd_group_size=4))
for one in G.parameters():
    if not one.any():
        one.data.normal_(0, 0.3)  # noise strengths too, so that noise counts
"""
WRITE = MAKE + 'pickle.dump({"G": G, "G_ema": G, "D": D}, open("first.pkl", "wb"))'
# In float64 their filters stay float32, of whose numbers they have exact ones.
REPLAY = (
    MAKE
    + """
import copy
from training.loss import StyleGAN2Loss
drawn = torch.load("drawn.pt", weights_only=True)
def exact(module):
    module.train().double()
    for one in module.modules():
        if hasattr(one, "resample_filter"):
            one.resample_filter = one.resample_filter.float()
    return module
G, D = exact(G), exact(D)
G_ema = copy.deepcopy(G)
loss = StyleGAN2Loss("cpu", G.mapping, G.synthesis, D, style_mixing_prob=0, r1_gamma=0.7, pl_decay=0)
loss.pl_mean = loss.pl_mean.double()
queue = []
given = lambda *shape, **_: queue.pop(0)
torch.randn, torch.randn_like = given, given
lengths = []
optimizers = {"G": torch.optim.Adam(G.parameters(), lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8),
    "D": torch.optim.Adam(D.parameters(), lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8)}
for place, one in enumerate(drawn):
    name, module = one["phase"], {"G": G, "D": D}[one["phase"]]
    G.requires_grad_(name == "G"), D.requires_grad_(name == "D")
    optimizers[name].zero_grad()
    c = torch.empty(4, 0, dtype=torch.float64)
    if name == "D":
        queue[:] = one["pixels"]
        loss.accumulate_gradients("Dboth", one["real"], c, one["z"], c, sync=True, gain=1)
    else:
        # Their path length looks at the first samples of the batch, ours at other ones: two calls of the same terms.
        queue[:] = one["pixels"]
        loss.accumulate_gradients("Gmain", None, None, one["z"], c, sync=True, gain=1)
        queue[:] = [*one["path pixels"], one["target"]]
        loss.pl_batch_shrink, before = 1, loss.pl_mean.clone()
        kept = torch.Tensor.lerp
        def noting(start, end, weight):
            lengths.append(end.detach())
            return kept(start, end, weight)
        torch.Tensor.lerp = noting
        loss.accumulate_gradients("Greg", None, None, one["path z"], c[:2], sync=True, gain=1)
        torch.Tensor.lerp = kept
    assert not queue
    optimizers[name].step()
    if name == "G":
        # Theirs compares with the mean after the step, through which it differentiates; ours with that before.
        loss.pl_mean = before.lerp(lengths.pop(), 0.01)
        beta = 0.5 ** (4 / 60)
        for average, now in zip(G_ema.parameters(), G.parameters()):
            average.data.copy_(now.data.lerp(average.data, beta))
pickle.dump({"G": G, "G_ema": G_ema, "D": D}, open("last.pkl", "wb"))
torch.save(loss.pl_mean, "mean.pt")
"""
)


def keep_stylegan2(it: Iteration) -> Any:
    generator: Any = it.state.module("generator")

    def keep(phase: str, batch: Batch) -> dict[str, Any]:
        noise, found = batch.noise, {"phase": phase, "real": batch.real}
        found |= {"z": noise["z"], "pixels": noise["pixels"]}
        if phase == "G":
            path = generator.draw(batch.n, batch.rng("path_length"))
            target = batch.rng("path_length pictures").normal(1, SIZE, SIZE)[::2]
            found |= {"path z": path["z"][::2], "path pixels": [one[::2] for one in path["pixels"]], "target": target}
        return found

    return keep


def test_stylegan2_with_path_length(tmp_path: Path) -> None:
    root = checkout("stylegan2-ada-pytorch")
    # Their networks round to float32 by name, in one file.
    copied = tmp_path / "training"
    copied.mkdir()
    for path in (root / "training").glob("*.py"):
        text = path.read_text()
        exact = text.replace("torch.float32", "torch.float64") if path.name == "networks.py" else text
        (copied / path.name).write_text(exact)
    run_theirs(WRITE, tmp_path, tmp_path, root)
    first = read_published(tmp_path / "first.pkl")
    it = begun_from(first, small(**STYLEGAN2))
    drawn = recorded(it, keep_stylegan2(it))
    iterated(it)
    torch.save(drawn, tmp_path / "drawn.pt")
    run_theirs(REPLAY, tmp_path, tmp_path, root)
    assert_equal_ends(it, first, read_published(tmp_path / "last.pkl"))
    (path_length,) = (lazy.penalty for lazy in it.state.stages[0].penalties if hasattr(lazy.penalty, "mean"))
    assert float(path_length.mean) == pytest.approx(float(torch.load(tmp_path / "mean.pt")), rel=1e-13)


# --- R3GAN ---------------------------------------------------------------------------------------

R3GAN = {
    "data": {"source": "digits", "size": SIZE, "channels": 3},
    "generator": {"use": "r3gan", "width": 8, "wide": 16, "group": 4, "blocks": 1, "z": 6},
    "discriminator": {"use": "r3gan", "width": 8, "wide": 16, "group": 4, "blocks": 1},
    "objective": {"use": "relativistic"},
    "penalties": [{"use": "r1", "gamma": 0.7}, {"use": "r2", "gamma": 0.7}],
    "optimizer": {"lr": 2e-3, "betas": [0.0, 0.99]},
    "ema": {"half_life": 60},
    "batch": BATCH,
}
R3GAN_MAKE = """
import pickle, torch
from training import networks
torch.manual_seed(0)
common = dict(WidthPerStage=[8] * 3, CardinalityPerStage=[4] * 3, BlocksPerStage=[1] * 3, ExpansionFactor=2,
    FP16Stages=[], img_resolution=16, c_dim=0)
G = networks.Generator(NoiseDimension=6, **common).double()
D = networks.Discriminator(**common).double()
for stage in (*G.Model.MainLayers, *D.Model.MainLayers):
    stage.DataType = torch.float64
for module in (*G.modules(), *D.modules()):
    for name, filter in module.named_buffers(recurse=False):
        setattr(module, name, filter.float())
for one in (*G.parameters(), *D.parameters()):
    if not one.any():
        one.data.normal_(0, 0.3)  # what begins at zero too, so that every branch counts
"""
R3GAN_WRITE = R3GAN_MAKE + 'pickle.dump({"G": G, "G_ema": G, "D": D, "cur_nimg": 0}, open("first.pkl", "wb"))'
R3GAN_REPLAY = (
    R3GAN_MAKE
    + """
import copy
from R3GAN.Trainer import AdversarialTraining
drawn = torch.load("drawn.pt", weights_only=True)
G_ema = copy.deepcopy(G)
training = AdversarialTraining(G, D)
optimizers = {name: torch.optim.Adam(one.parameters(), lr=2e-3, betas=(0.0, 0.99), eps=1e-8)
    for name, one in (("G", G), ("D", D))}
for one in drawn:
    name = one["phase"]
    G.requires_grad_(name == "G"), D.requires_grad_(name == "D")
    optimizers[name].zero_grad(set_to_none=True)
    if name == "D":
        training.AccumulateDiscriminatorGradients(one["z"], one["real"], None, 0.7)
    else:
        training.AccumulateGeneratorGradients(one["z"], one["real"], None)
    optimizers[name].step()
    if name == "G":
        for average, now in zip(G_ema.parameters(), G.parameters()):
            average.data.copy_(now.data.lerp(average.data, 0.5 ** (4 / 60)))
pickle.dump({"G": G, "G_ema": G_ema, "D": D, "cur_nimg": 160}, open("last.pkl", "wb"))
"""
)


def test_r3gan(tmp_path: Path) -> None:
    root = checkout("R3GAN")
    run_theirs(R3GAN_WRITE, tmp_path, root)
    first = read_published(tmp_path / "first.pkl")
    it = begun_from(first, small(**R3GAN))
    drawn = recorded(it, lambda phase, batch: {"phase": phase, "real": batch.real, "z": batch.noise})
    iterated(it)
    torch.save(drawn, tmp_path / "drawn.pt")
    run_theirs(R3GAN_REPLAY, tmp_path, root)
    assert_equal_ends(it, first, read_published(tmp_path / "last.pkl"))


JOB = """
name: onwards
data: {source: digits, size: 16}
generator: {use: stylegan2, z: 6, w: 5, mapping: 2, capacity: 64, most: 8}
discriminator: {use: stylegan2, mapping: 2, capacity: 64, most: 8, group: 4}
objective: non_saturating
penalties: [{use: r1, every: 2}, {use: path_length, every: 2}]
freeze: {discriminator: 2, generator: mapping}
ema: {half_life: 1k}
batch: 8
until: 3 steps
"""


def test_a_pickle_of_the_authors_code_trains_on_with_frozen_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    run_theirs(WRITE, tmp_path, checkout("stylegan2-ada-pytorch"))
    first = read_published(tmp_path / "first.pkl")
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("submit", "job.yaml", "--local", "--from", "first.pkl", "--name", "onwards")
    assert code == 0, out + err
    last = stored(RunFolder(Folder.at(tmp_path / "runs" / "onwards")).checkpoints())[-1]
    moved = {
        name: {key for key, one in last.tensors(name).items() if not torch.equal(one, first.weights[name][key])}
        for name in ("generator", "discriminator")
    }
    assert moved["discriminator"] and not any(key.startswith(("first.", "blocks.")) for key in moved["discriminator"])
    assert moved["generator"] and not any(key.startswith("map.") for key in moved["generator"])

"""A trained run whose stored files are damaged: resumed, loaded, sampled, evaluated and exported.

Damage is met in one of two ways: the result is bit for bit that of the sound run (for what shows a model that of an
older checkpoint too), or an error of ours says what is damaged. Files may also be written anew with
checksums that hold, as a tool or somebody hostile would: then any result will do, and no other exception.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import gan_dist
from benchmarks.fuzzing.cases import Case, SilentDifference, Subject, damaged
from benchmarks.fuzzing.jobs import DAMAGES
from gan_dist.errors import GanDistError
from gan_dist.execution.attempt import Attempt
from gan_dist.execution.local import run_attempt_here
from gan_dist.generation.exported_model import CONFIG, checksum_of
from gan_dist.generation.exported_model import OWN_CHECKSUM as CONFIG_CHECKSUM
from gan_dist.launch.plan import LaunchPlan, plan_new, plan_resume
from gan_dist.runs.checkpoint import OWN_CHECKSUM, newest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder

JOB: dict[str, Any] = {
    "name": "sound",
    "data": {"source": "digits", "size": 8},
    "generator": {"use": "mlp", "hidden": 8, "layers": 1, "z": 4},
    "discriminator": {"use": "mlp", "hidden": 8, "layers": 1},
    "objective": {"use": "non_saturating"},
    "ema": {"half_life": 100},
    "metrics": [{"use": "frechet", "samples": 256}],
    "batch": 8,
    "until": "4 steps",
    "every": {"report": "1 steps", "grid": "1000 steps", "checkpoint": "2 steps", "metrics": "1000 steps"},
    "resources": {"device": "cpu"},
}
LONGER = ["until=6 steps"]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Sound:
    """The run as it was stored, its export, and what comes of them."""

    root: Path
    loaded: frozenset[str]  # of the newest checkpoint, and of the one before it
    resumed: str


def _train(plan: LaunchPlan) -> tuple[int, Exception | None, str]:
    """The exit code, what was raised, and the message of an attempt in this process."""
    events: list[dict[str, Any]] = []
    attempt = Attempt(plan.request, events.append)
    code = run_attempt_here(attempt)
    return code, attempt.error, str(events[-1].get("message", ""))


def _digest(weights: Weights) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def _loaded(where: str) -> str:
    return _digest(dict(gan_dist.load(where).generator.state_dict()))


def _state(run: RunFolder) -> str:
    """All weights of a run's newest checkpoint."""
    found = newest(run.checkpoints(), lambda text: None)
    assert found is not None
    names = [name.removesuffix(".safetensors") for name in found.meta["checksums"] if name.endswith("safetensors")]
    return str(found.seen) + "".join(_digest(found.tensors(name)) for name in sorted(names))


@cache
def _sound() -> Sound:
    root = Path(tempfile.mkdtemp(prefix="gan-dist-fuzz-"))
    plan = plan_new(JOB, storage=str(root), name="run")
    assert _train(plan)[0] == 0
    gan_dist.export(str(root / "run"), root / "exported")
    stored = sorted((root / "run" / "checkpoints").iterdir())
    again = root / "again"
    shutil.copytree(root / "run", again)
    assert _train(plan_resume(str(again), LONGER))[0] == 0
    found = Sound(root, frozenset(_loaded(str(one)) for one in stored), _state(RunFolder(Folder.at(again))))
    shutil.rmtree(again)
    return found


# What is damaged.


def _bytes(draw: random.Random, file: Path) -> None:
    file.write_bytes(damaged(draw, file.read_bytes()))


def _gone(draw: random.Random, file: Path) -> None:
    file.unlink()
    kind = draw.choice(("", "", "folder", "link", "circle"))
    if kind == "folder":
        file.mkdir()
    elif kind:
        file.symlink_to("nowhere" if kind == "link" else file.name)


def _swapped(draw: random.Random, file: Path) -> None:
    """The content of another file of the run."""
    others = [one for one in file.parents[1].rglob("*") if one.is_file()]
    file.write_bytes(draw.choice(others).read_bytes())


def _values(draw: random.Random, file: Path) -> None:
    """JSON with other values; of other files, other bytes."""
    try:
        tree = json.loads(file.read_bytes())
    except ValueError:
        _bytes(draw, file)
        return
    for _ in range(draw.choice((1, 1, 2))):
        tree = draw.choice(DAMAGES)(draw, tree)
    file.write_text(json.dumps(tree))


DAMAGE = (_bytes, _bytes, _values, _values, _gone, _swapped)


def _signed(draw: random.Random, folder: Path) -> None:
    """A checkpoint whose checksums hold, of files that say something else."""
    meta = json.loads((folder / "meta.json").read_bytes())
    meta.pop(OWN_CHECKSUM)
    kind = draw.choice(("meta", "meta", "tensors", "training"))
    if kind == "meta":
        meta = draw.choice(DAMAGES)(draw, meta)
    elif kind == "tensors":
        file = draw.choice(sorted(folder.glob("*.safetensors")))
        file.write_bytes(draw.choice((damaged(draw, file.read_bytes()), save_tensors(_reshaped(draw, file)))))
    else:
        file = folder / "training.pt"
        buffer = io.BytesIO()
        torch.save(_mutated(draw, torch.load(file, weights_only=True)), buffer)
        file.write_bytes(draw.choice((damaged(draw, file.read_bytes()), buffer.getvalue())))
    if not isinstance(meta, dict):
        meta = {"checksums": meta}
    if isinstance(meta.get("checksums"), dict):
        for file in folder.iterdir():
            if file.name in meta["checksums"]:
                meta["checksums"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    canonical = json.dumps(json.loads(json.dumps(meta)), sort_keys=True, separators=(",", ":"))
    meta[OWN_CHECKSUM] = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "meta.json").write_text(json.dumps(meta))


def _reshaped(draw: random.Random, file: Path) -> Weights:
    weights = load_tensors(file.read_bytes())
    name = draw.choice(sorted(weights))
    change: Callable[[torch.Tensor], torch.Tensor] = draw.choice((
        lambda one: one.double(), lambda one: one.reshape(-1), lambda one: one[:0], lambda one: one.to(torch.int8),
        lambda one: one * float("nan"), lambda one: one.bool(), lambda one: one.unsqueeze(0),
    ))  # fmt: skip
    weights[name] = change(weights[name]).contiguous()
    if draw.random() < 0.3:
        weights[draw.choice(("more", "", "a.b.c"))] = weights.pop(name)
    return weights


def _mutated(draw: random.Random, tree: Any) -> Any:
    """Nested state with one part replaced or left out."""
    if isinstance(tree, dict) and tree and draw.random() < 0.8:
        key = draw.choice(sorted(tree, key=str))
        if draw.random() < 0.2:
            return {name: value for name, value in tree.items() if name != key}
        return {**tree, key: _mutated(draw, tree[key])}
    if isinstance(tree, list) and tree and draw.random() < 0.7:
        place = draw.randrange(len(tree))
        return [*tree[:place], _mutated(draw, tree[place]), *tree[place + 1 :]]
    return draw.choice((None, 0, -1, 2**70, 0.5, float("nan"), "x", [], {}, torch.zeros(0), torch.zeros(3).bool(),
                        torch.zeros(1).expand(10**9), {"a": 1}, [torch.zeros(2)]))  # fmt: skip


def _damage_run(draw: random.Random, run: Path) -> None:
    places = ("checkpoints/*/*",) * 4 + ("*.json", "*.jsonl", "logs/*", "checkpoints/*")
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        found = sorted(one for one in run.glob(draw.choice(places)) if one.is_file())
        if found:
            draw.choice(DAMAGE)(draw, draw.choice(found))


def _damage_export(draw: random.Random, folder: Path) -> None:
    file = folder / draw.choice((CONFIG, "model.safetensors"))
    if file.name == CONFIG and draw.random() < 0.5:
        config = json.loads(file.read_text())
        config.pop(CONFIG_CHECKSUM)
        config = draw.choice(DAMAGES)(draw, config)
        if isinstance(config, dict):
            config = json.loads(json.dumps(config))
            config[CONFIG_CHECKSUM] = checksum_of(config)
        file.write_text(json.dumps(config))
    else:
        draw.choice(DAMAGE)(draw, file)


# What is done with it.


def _resume(run: Path, sound: Sound, signed: bool) -> str:
    told: list[str] = []
    code, error, message = _train(plan_resume(str(run), LONGER, warn=told.append))
    if code and isinstance(error, GanDistError):
        raise error
    if code:
        raise RuntimeError(f"exit code {code}: {message}") from error
    if not signed and (found := _state(RunFolder(Folder.at(run)))) != sound.resumed:
        raise SilentDifference(f"resumed to {found}, not to {sound.resumed}")
    return "read"


def _show(what: str, run: Path, sound: Sound, signed: bool) -> str:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        if what == "load":
            found = _loaded(str(run))
            if not signed and found not in sound.loaded:
                raise SilentDifference("weights that no checkpoint held")
        elif what == "sample":
            gan_dist.load(str(run)).sample(4)
        elif what == "evaluate":
            gan_dist.evaluate(str(run), metrics=["frechet"], samples=256)
        else:
            gan_dist.export(str(run), run.parent / "out")
            if not signed and _loaded(str(run.parent / "out")) not in sound.loaded:
                raise SilentDifference("an export of weights that no checkpoint held")
    return "read"


def make(draw: random.Random, folder: Path) -> Case:
    """A damaged copy of the sound run, or of its export, and a command."""
    sound = _sound()
    kind = draw.choice(("resume", "resume", "load", "sample", "evaluate", "export", "load exported"))
    if kind == "load exported":
        shutil.copytree(sound.root / "exported", folder / "exported")
        _damage_export(draw, folder / "exported")
        return Case(kind, partial(_show, "load", folder / "exported", sound, True))
    run = folder / "run"
    shutil.copytree(sound.root / "run", run)
    shutil.copytree(sound.root / ".prepared", folder / ".prepared")
    signed = draw.random() < 0.4
    if signed:
        _signed(draw, sorted((run / "checkpoints").iterdir())[-1])
    else:
        _damage_run(draw, run)
    name = f"{kind}, checksums hold" if signed else kind
    return Case(name, partial(_resume if kind == "resume" else partial(_show, kind), run, sound, signed))


SUBJECT = Subject(make)

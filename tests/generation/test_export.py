"""`gan-dist export`: what is given away makes the run's own samples, or is not written at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

import gan_dist
from gan_dist.generation.export import example_inputs
from gan_dist.runs.run_folder import RunFolder
from tests.helpers import Cli

IMAGES = """
name: given
data: {source: digits, size: 8, labels: source}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: hinge
ema: {half_life: 100}
batch: 8
until: 4 steps
every: {report: 1 steps}
metrics: [{use: frechet, samples: 100}]
"""
TEXT = """
name: said
data: {modality: text, source: oracle, length: 6, vocabulary: 12, count: 64}
generator: {use: lstm, embedding: 4, hidden: 6}
objective: mle
batch: 16
until: 4 steps
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunFolder]]:
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        found = {}
        for name, job in (("images", IMAGES), ("text", TEXT)):
            (root / f"{name}.yaml").write_text(job)
            found[name] = gan_dist.train(root / f"{name}.yaml", storage=str(root / "runs")).folder
        yield found


@pytest.fixture
def export(cli: Cli) -> Callable[..., tuple[object, str]]:
    def call(*words: object) -> tuple[object, str]:
        code, out, err = cli("export", *words)
        return code, out + err

    return call


@pytest.mark.parametrize("weights", ["ema", "raw"])
@pytest.mark.parametrize("kind", ["images", "text"])
def test_weights_come_back_in_one_line(
    runs: dict[str, RunFolder], export, tmp_path: Path, kind: str, weights: str
) -> None:
    code, said = export(runs[kind].uri, "--out", tmp_path / "out", "--weights", weights, "--license", "cc0-1.0")
    assert code == 0, said
    ours, theirs = gan_dist.load(runs[kind], weights=weights), gan_dist.load(tmp_path / "out")
    samples = [torch.cat(list(model.sample_chunks(70, seed=3))) for model in (ours, theirs)]
    assert torch.equal(*samples)
    assert (theirs.name, theirs.seen, theirs.classes) == (ours.name, ours.seen, ours.classes)
    card = (tmp_path / "out" / "README.md").read_text()
    read = ModelCard(card).data
    assert (read.license, read.library_name) == ("cc0-1.0", "gan-dist") and read.tags[0] == "gan"
    assert [one.metric_type for one in read.eval_results or ()] == (["fd_random_100"] if kind == "images" else [])
    assert ours.facts.checksum in card and f"# {ours.name}" in card
    assert (tmp_path / "out" / ("samples.png" if kind == "images" else "samples.txt")).stat().st_size > 0
    assert ("| fd_random_100 |" in card) == (kind == "images")
    named = json.loads((tmp_path / "out" / "config.json").read_text())["weights"]
    assert named == ("generator_ema" if (kind, weights) == ("images", "ema") else "generator")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", pytest.param("text", marks=pytest.mark.slow)])
def test_a_torch_program(runs: dict[str, RunFolder], export, tmp_path: Path, kind: str) -> None:
    if kind == "text" and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14):
        pytest.skip("torch 2.11 refuses to trace an LSTM for any batch; 2.14 does it")
    code, said = export(runs[kind].uri, "--out", tmp_path / "out", "--format", "torch")
    assert code == 0, said
    model, program = gan_dist.load(runs[kind]), torch.export.load(tmp_path / "out" / "model.pt2").module()
    given = example_inputs(model, 7)
    assert torch.allclose(program(**given), model.generator(*given.values()), atol=1e-6)
    with pytest.raises(ValueError, match=r"holds model\.pt2, a program of its own"):
        gan_dist.load(tmp_path / "out")


def test_an_onnx_program(runs: dict[str, RunFolder], export, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    code, said = export(runs["images"].uri, "--out", tmp_path / "out", "--format", "onnx")
    assert code == 0, said
    model, given = gan_dist.load(runs["images"]), example_inputs(gan_dist.load(runs["images"]), 5)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    made = session.run(None, {name: value.numpy() for name, value in given.items()})[0]
    assert torch.allclose(torch.from_numpy(made), model.generator(*given.values()), atol=1e-4)
    code, said = export(runs["text"].uri, "--out", tmp_path / "said", "--format", "onnx")
    assert code == 2 and "the generator 'lstm' cannot be exported" in said and not (tmp_path / "said").exists()


def test_faults_are_told_in_words_and_leave_nothing(
    runs: dict[str, RunFolder], export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, uri = tmp_path / "full", runs["images"].uri
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    code, said = export(uri, "--out", full)
    assert code == 2 and "is not empty; choose another folder, or --force" in said
    code, said = export(uri, "--out", tmp_path / "out", "--format", "onxn")
    assert code == 2 and "unknown form 'onxn'; did you mean 'onnx'?" in said
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, said = export(uri, "--out", tmp_path / "out", "--format", "onnx")
    assert code == 2 and "pip install 'gan-dist[onnx]'" in said
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "request.json").write_text("{}")
    code, said = export(empty, "--out", tmp_path / "out")
    assert code == 2 and "has no checkpoint yet" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]
    code, said = export(uri, "--out", full, "--force")
    assert code == 0 and (full / "mine.txt").exists() and (full / "model.safetensors").exists()
    code, said = export(full, "--out", tmp_path / "again")
    assert code == 2 and "is exported already" in said


def test_damaged_weights_are_refused(runs: dict[str, RunFolder], export, tmp_path: Path) -> None:
    assert export(runs["images"].uri, "--out", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is missing or damaged"):
        gan_dist.load(tmp_path / "out")

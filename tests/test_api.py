"""gan-dist from Python: train a job, load what came of it, draw samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gan_dist
from gan_dist.errors import CheckpointError, JobError, NoSuchRun
from gan_dist.generation.model import Model
from gan_dist.runs.index import known_runs
from gan_dist.runs.run_folder import RunFolder

JOB = """
version: 1
name: from-python
data: {source: digits, size: 8, labels: source}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: {use: hinge}
ema: {half_life: 100}
batch: 8
until: 4 steps
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunFolder, list[dict[str, Any]]]]:
    """One trained run for the whole file, with its events."""
    root = tmp_path_factory.mktemp("api")
    (root / "job.yaml").write_text(JOB)
    events: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        run = gan_dist.train(
            root / "job.yaml", {"optimizer.lr": 0.01}, storage=str(root / "runs"), on_event=events.append
        )
        yield run, events


@pytest.fixture
def model(trained: tuple[RunFolder, Any]) -> Model:
    return gan_dist.load(trained[0])


def test_training_gives_a_run_with_everything(trained: tuple[RunFolder, list[dict[str, Any]]]) -> None:
    run, events = trained
    assert run.id.startswith("from-python-") and run.status()["status"] == "succeeded"
    assert run.request()["job"]["optimizer"]["lr"] == 0.01
    assert [row["id"] for row in known_runs()] == [run.id]
    assert {"stage", "preflight", "grid", "checkpoint", "end"} <= {event["event"] for event in events}


def test_a_run_is_loaded_by_id_folder_and_checkpoint(trained: tuple[RunFolder, Any]) -> None:
    run = trained[0]
    checkpoint = f"{run.uri}/checkpoints/{run.checkpoints().names()[-1]}"
    expected = gan_dist.load(run).sample(4)
    for reference in (run.id, run.id[:15], "last", run.uri, Path(run.uri), checkpoint):
        found = gan_dist.load(reference)
        assert torch.equal(found.sample(4), expected) and found.seen == 32


def test_raw_weights_are_others_than_the_average(trained: tuple[RunFolder, Any]) -> None:
    raw, ema = (gan_dist.load(trained[0], weights) for weights in ("raw", "ema"))
    pairs = zip(raw.generator.parameters(), ema.generator.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(ValueError, match=r"^weights: 'best'; allowed: ema, raw$"):
        gan_dist.load(trained[0], "best")


def test_samples_are_uint8_images_of_their_seed(model: Model) -> None:
    made = model.sample(5, seed=3)
    assert made.shape == (5, 1, 8, 8) and made.dtype == torch.uint8
    assert torch.equal(made, model.sample(5, seed=3)) and not torch.equal(made, model.sample(5, seed=4))


def test_sampling_does_not_touch_torch_s_generator(model: Model) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    model.sample(3)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 130])
def test_chunks_together_are_the_samples(model: Model, n: int) -> None:
    chunks = list(model.sample_chunks(n))
    assert torch.equal(torch.cat(chunks), model.sample(n)) and sum(map(len, chunks)) == n


@pytest.mark.parametrize("n", [1, 8, 10, 63])
def test_few_samples_are_the_first_of_many(model: Model, n: int) -> None:
    difference = model.sample(n).int() - model.sample(130)[:n].int()
    assert difference.abs().max() <= 1


def test_samples_are_the_same_at_any_chunk(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.sample(130)
    monkeypatch.setattr("gan_dist.generation.samples.MEMORIZATION_CHUNK", 16)
    assert (model.sample(130).int() - expected.int()).abs().max() <= 1


def test_many_samples_are_made_a_few_at_a_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plain = model.generator.forward
    monkeypatch.setattr(model.generator, "forward", lambda *given: made.append(1) or plain(*given))
    chunks = model.sample_chunks(50_000)
    assert made == [] and len(next(chunks)) == 64 and made == [1]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(chunks)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(torch.rand(3), expected), "what its reader draws in between stays drawn"


def test_no_samples_are_no_request(model: Model) -> None:
    with pytest.raises(ValueError, match=r"^samples: 0 were asked for; at least 1$"):
        model.sample_chunks(0)
    with pytest.raises(ValueError, match="at least 1"):
        model.sample(0)


def test_classes_go_round_or_are_chosen(model: Model) -> None:
    assert model.classes == tuple("0123456789")
    round_robin, sevens = model.sample(20), model.sample(20, cls=7)
    assert torch.equal(round_robin[[7, 17]], sevens[[7, 17]]) and not torch.equal(round_robin[8], sevens[8])
    assert torch.equal(model.sample(3, cls="7"), model.sample(3, cls=7))


@pytest.mark.parametrize("cls", [10, -1, "seven"])
def test_an_unknown_class_is_refused(model: Model, cls: Any) -> None:
    with pytest.raises(ValueError) as caught:
        model.sample(2, cls=cls)
    known = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert str(caught.value) == f"class {cls!r}: the model has no such class; its classes: {known}"


def test_an_unconditional_model_has_no_classes(model: Model) -> None:
    model.classes = ()
    with pytest.raises(ValueError, match=r"it is not class-conditional$"):
        model.sample(2, cls=0)


def test_a_wrong_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(JobError, match="unknown key; did you mean 'batch'"):
        gan_dist.train(tmp_path / "job.yaml", {"bacth": 3})


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(RuntimeError, match=r"batch: 2000 is larger than the data \(1797 samples in 'digits'\)"):
        gan_dist.train(tmp_path / "job.yaml", {"batch": 2000}, storage=str(tmp_path / "runs"))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        gan_dist.load("nothing-like-it")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"^run run has no checkpoint yet"):
        gan_dist.load(tmp_path / "run")

"""gan-dist from Python: train a job, load what came of it, draw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gan_dist
from gan_dist.api import Run
from gan_dist.errors import (
    CheckpointError,
    GanDistError,
    JobError,
    NoSuchRun,
    PreflightError,
    TrainingDiverged,
    UsageError,
)
from gan_dist.generation.model import Model
from gan_dist.registry import live
from gan_dist.runs.index import known_runs

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
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Any]], Path]:
    """One trained run for the whole file, with its events and its home."""
    root = tmp_path_factory.mktemp("api")
    (root / "job.yaml").write_text(JOB)
    events: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        run = gan_dist.train(
            root / "job.yaml", **{"optimizer.lr": 0.01}, storage=str(root / "runs"), on_event=events.append
        )
    return run, events, root / "home"


@pytest.fixture
def trained(training: tuple[Run, list[dict[str, Any]], Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Any]:
    """The run and its events, in a home of which it is the only run."""
    run, events, home = training
    monkeypatch.setenv("GAN_DIST_HOME", str(home))
    return run, events


@pytest.fixture
def model(trained: tuple[Run, Any]) -> Model:
    return gan_dist.load(trained[0])


def test_training_gives_a_run_with_everything(trained: tuple[Run, list[dict[str, Any]]]) -> None:
    run, events = trained
    assert run.id.startswith("from-python-") and run.status == "succeeded" and run.seen == 32
    assert run.folder.request()["job"]["optimizer"]["lr"] == 0.01
    assert [row["id"] for row in known_runs()] == [run.id]
    assert {"stage", "preflight", "grid", "checkpoint", "end"} <= {event["event"] for event in events}


def test_a_run_is_loaded_by_id_folder_and_checkpoint(trained: tuple[Run, Any]) -> None:
    run = trained[0]
    checkpoint = run.checkpoints[-1]
    expected = gan_dist.load(run).sample(4)
    for reference in (run.id, run.id[:15], "last", run.path, Path(run.path), checkpoint):
        found = gan_dist.load(reference)
        assert torch.equal(found.sample(4), expected) and found.seen == 32


def test_raw_weights_are_others_than_the_average(trained: tuple[Run, Any]) -> None:
    raw, ema = (gan_dist.load(trained[0], weights=weights) for weights in ("raw", "ema"))
    pairs = zip(raw.generator.parameters(), ema.generator.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(ValueError, match=r"^weights: 'best'; allowed: ema, raw, or ema:SIGMA such as ema:0.10$"):
        gan_dist.load(trained[0], weights="best")


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
    monkeypatch.setattr("gan_dist.generation.samples.CHUNK", 16)
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
    round_robin, sevens = model.sample(20), model.sample(20, class_label=7)
    assert torch.equal(round_robin[[7, 17]], sevens[[7, 17]]) and not torch.equal(round_robin[8], sevens[8])
    assert torch.equal(model.sample(3, class_label="7"), model.sample(3, class_label=7))


@pytest.mark.parametrize("cls", [10, -1, "seven"])
def test_an_unknown_class_is_refused(model: Model, cls: Any) -> None:
    with pytest.raises(ValueError) as caught:
        model.sample(2, class_label=cls)
    known = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert str(caught.value) == f"class {cls!r}: the model has no such class; its classes: {known}"


def test_an_unconditional_model_has_no_classes(model: Model) -> None:
    model.classes = ()
    with pytest.raises(ValueError, match=r"it is not class-conditional$"):
        model.sample(2, class_label=0)


def test_a_wrong_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(JobError, match="unknown key; did you mean 'batch'"):
        gan_dist.train(tmp_path / "job.yaml", bacth=3)


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(PreflightError, match=r"batch: 2000 is larger than the data \(1797 samples in 'digits'\)"):
        gan_dist.train(tmp_path / "job.yaml", batch=2000, storage=str(tmp_path / "runs"))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRun):
        gan_dist.load("nothing-like-it")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "request.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"^run run has no checkpoint yet"):
        gan_dist.load(tmp_path / "run")


def test_a_run_tells_what_came_of_it(trained: tuple[Run, Any]) -> None:
    run = trained[0]
    assert [row["seen"] for row in run.history()] == sorted(row["seen"] for row in run.history())
    assert run.grids and all(Path(path).is_file() for path in run.grids)
    assert all(Path(path, "meta.json").is_file() for path in run.checkpoints)
    assert run.wait(timeout=60) is run and run.stop() is run
    assert repr(run) == f"Run({run.id}: succeeded, 32 samples seen)"
    page = run._repr_html_()
    assert run.id in page and page.count("data:image/png;base64,") == 2
    assert run.id in [one.id for one in gan_dist.list_runs()]
    assert [one.id for one in gan_dist.list_runs(storage=str(Path(run.path).parent))] == [run.id]


def test_a_model_shows_itself_and_options_last_for_one_call(model: Model) -> None:
    assert repr(model).startswith("Model(mlp of from-python-") and "32 samples seen" in repr(model)
    png = model._repr_png_()
    assert png is not None and png.startswith(b"\x89PNG") and model._repr_html_() is None
    assert model.to("cpu") is model and model.device == torch.device("cpu")
    with pytest.raises(UsageError, match=r"^truncation: 0.5; .* generator 'mlp' has none; stylegan2 and biggan have$"):
        model.sample(1, truncation=0.5)
    with pytest.raises(
        UsageError, match=r"^temperature, top-k, top-p, min-p, prefix and allow-unk want a generator that writes"
    ):
        model.sample(1, temperature=0.5)


def test_a_job_may_be_a_dict_and_a_run_goes_on(training: tuple[Run, Any, Path], tmp_path: Path) -> None:
    job = training[0].folder.request()["job"]
    run = gan_dist.train(job, until="2 steps", optimizer={"lr": 0.02}, storage=str(tmp_path / "runs"))
    assert run.seen == 16 and run.folder.request()["job"]["optimizer"]["lr"] == 0.02
    assert gan_dist.train(resume=run, until="3 steps").seen == 24
    with pytest.raises(UsageError, match=r"^give a job, or resume=RUN to go on with a run$"):
        gan_dist.train()


class Halves(torch.nn.Module):
    """A generator of this very file."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        self.layer = torch.nn.Linear(4, channels * size**2)

    def draw(self, n: int, rng: Any) -> torch.Tensor:
        return rng.normal(4)

    def forward(self, noise: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(noise).tanh().unflatten(1, self.shape)


def plain_job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB.replace("labels: source", "labels: none"))
    return path


def test_a_class_stands_in_place_of_a_name(tmp_path: Path) -> None:
    job = plain_job(tmp_path)
    run = gan_dist.train(job, generator=Halves, storage=str(tmp_path / "runs"))
    assert run.folder.request()["job"]["generator"] == {"use": f"{__name__}:Halves"}
    samples = run.sample(3)
    assert isinstance(samples, torch.Tensor) and samples.shape == (3, 1, 8, 8)


def test_an_object_trains_here_and_goes_on_only_where_it_is_given_again(tmp_path: Path) -> None:
    job = plain_job(tmp_path)
    run = gan_dist.train(job, generator=lambda size, channels: Halves(size, channels), storage=str(tmp_path / "runs"))
    assert run.folder.request()["job"]["generator"] == {"use": "gan_dist.registry.live:generator"}
    live._OBJECTS.clear()  # as in another process
    with pytest.raises(GanDistError, match=r"'generator' was an object of another process; give it again"):
        gan_dist.train(resume=run, until="5 steps")
    again = gan_dist.train(resume=run, until="5 steps", generator=lambda size, channels: Halves(size, channels))
    assert again.seen == 40
    with pytest.raises(UsageError, match=r"^generator: an instance, a lambda or a class of __main__ cannot be sent"):
        gan_dist.submit(job, generator=Halves(8, 1))


def test_somebody_else_s_class_is_not_run_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gan_dist.train(plain_job(tmp_path), generator=Halves, storage=str(tmp_path / "runs"))
    assert gan_dist.load(run).seen == 32, "one's own run"
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "another"))
    with pytest.raises(UsageError, match=r"was not made here.*generator\.use: .*:Halves.*trust_code=True"):
        gan_dist.load(run.path)
    assert gan_dist.load(run.path, trust_code=True).seen == 32


def test_evaluate_compare_and_export_are_what_the_commands_call(trained: tuple[Run, Any], tmp_path: Path) -> None:
    run = trained[0]
    found = gan_dist.evaluate(run, metrics=["frechet"], samples=128)
    assert list(found.values) == ["fd_random_128"]
    assert found.values == run.evaluate(metrics=["frechet"], samples=128).values
    assert gan_dist.compare([run, run.id]).runs == [run.id, run.id]
    files = gan_dist.export(run, tmp_path / "out")
    assert {path.name for path in files} >= {"README.md"}
    assert torch.equal(gan_dist.load(tmp_path / "out").sample(3), gan_dist.load(run).sample(3))  # type: ignore[arg-type]


def test_a_divergence_is_an_error_of_the_tree(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="not finite"):
        gan_dist.train(plain_job(tmp_path), optimizer={"lr": 1e30}, storage=str(tmp_path / "runs"))


def test_public_names_are_there_and_no_others() -> None:
    assert set(gan_dist.__all__) == set(gan_dist._HOME) | {"__version__"}
    for name in gan_dist.__all__:
        assert getattr(gan_dist, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        gan_dist.nothing  # noqa: B018

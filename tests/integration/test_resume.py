"""A run that was stopped or killed and goes on is the run that never was: bit for bit, and in its records."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from gan_dist.errors import CheckpointError, JobError
from gan_dist.execution.local import run_local
from gan_dist.execution.preflight import resume_problems
from gan_dist.launch.plan import plan_resume
from gan_dist.launch.resume_rules import MAY_CHANGE, resume_spec
from gan_dist.runs.checkpoint import stored
from gan_dist.runs.lease import take
from gan_dist.runs.request import InitialWeights, RunRequest
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import PairData
from gan_dist.spec.job import JobSpec
from gan_dist.training import callbacks
from gan_dist.training.callbacks import RunCallbacks
from gan_dist.training.state import TrainState
from tests.helpers import (
    MLP,
    SMALL,
    Trained,
    assert_same_state,
    kill_at,
    request_of,
    rows_of,
    small,
    stop_at,
    train,
)

DIGITS = {"source": "digits", "size": 16}
DCGAN: dict[str, Any] = {
    "data": DIGITS,
    "generator": {"use": "dcgan", "width": 2, "z": 4},
    "discriminator": {"use": "dcgan", "width": 2},
    "precision": "fp32",
}
PLAIN_D = {"use": "dcgan", "width": 2, "norm": "none"}
LINE = {"linear": {"from": 1e-2, "to": 1e-3, "over": "5 steps"}}
STAGES = [
    {"name": "first", "objective": "hinge", "for": "2 steps", "penalties": []},
    {"name": "second", "objective": {"use": "non_saturating", "d_steps": 2}, "for": 21, "optimizer": {"lr": LINE}},
    {"name": "third", "objective": "least_squares", "for": "2 steps", "optimizer": {"betas": [0.0, 0.9]}},
]
JOBS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "dcgan with batch norm": DCGAN,
    "lazy r1": {**DCGAN, "discriminator": PLAIN_D, "penalties": [{"use": "r1", "every": 3}]},
    "ema with ramp-up": {**DCGAN, "ema": {"half_life": 100, "ramp_up": 0.5, "start": "1 steps"}},
    "ema of a schedule": {"ema": {"half_life": {"linear": {"from": 8, "to": 800, "over": "5 steps"}}}},
    "shared fakes": {**DCGAN, "objective": {"use": "hinge", "fakes": "shared"}},
    "several d steps": {"objective": {"use": "hinge", "d_steps": 2}},
    "conditional": {**DCGAN, "data": {**DIGITS, "labels": "source"}},
    "conditional on vectors": {**DCGAN, "data": {**DIGITS, "labels": "vectors"}},
    "warm-up and clip": {"optimizer": {"use": "adamw", "warmup": "5 steps", "clip": 0.1, "weight_decay": 0.1}},
    "schedules": {
        "optimizer": {"lr": LINE, "discriminator": {"lr": {"cosine": {"from": 0.02, "to": 0.001, "over": 40}}}},
        "objective": [{"use": "hinge"}, {"use": "least_squares", "weight": {"piecewise": [[0, 0], [20, 1]]}}],
        "penalties": [{"use": "r1", "gamma": {"exponential": {"from": 10, "to": 0.1, "over": "6 steps"}}}],
    },
    "fresh optimizers": {
        "objective": None,
        "until": None,
        "stages": [*STAGES[:2], {**STAGES[2], "fresh_optimizer": True}],
    },
    "stages": {"objective": None, "until": None, "stages": STAGES, "penalties": [{"use": "r1", "every": 2}]},
    "micro-batches": {**DCGAN, "micro_batch": 4},
    "more than an epoch": {"batch": 700, "objective": {"use": "hinge", "d_steps": 2}},
}


def spec_of(name: str, **changes: Any) -> JobSpec:
    """Seven iterations with a checkpoint every other one."""
    return small(**{"until": "7 steps", **JOBS[name], **changes})


@pytest.mark.parametrize(
    ("name", "k"), [*((name, 3) for name in JOBS), ("mlp", 4), ("stages", 5), ("fresh optimizers", 5), ("lazy r1", 6)]
)
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, name: str, k: int) -> None:
    spec = spec_of(name)
    straight = train(spec, tmp_path / "straight")
    first = train(spec, tmp_path / "twice", stop_at(k))
    assert first.result["ending"] == "stopped" and first.newest.seen == k * spec.batch
    second = train(spec, tmp_path / "twice", attempt=2)
    assert second.result["ending"] == "finished" and second.newest.seen == 7 * spec.batch
    assert_same_state(straight.newest, second.newest)


@pytest.mark.parametrize("name", ["dcgan with batch norm", "stages", "schedules"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    spec = spec_of(name)
    straight = train(spec, tmp_path / "straight")
    assert train(spec, tmp_path / "killed", kill_at(6)).newest.seen == 4 * spec.batch
    assert_same_state(straight.newest, train(spec, tmp_path / "killed", attempt=2).newest)


def test_a_checkpoint_that_is_asked_for_is_written_and_changes_nothing(tmp_path: Path) -> None:
    """As before a spot node is taken away: the iteration after the one that hears of it is stored."""
    spec = spec_of("dcgan with batch norm", keep={"last": 9}, every={"checkpoint": "1G"})
    straight = train(spec, tmp_path / "straight")
    asked = iter([False, False, True])
    warned = train(spec, tmp_path / "warned", saving=lambda: next(asked, False))
    seen = [checkpoint.seen // spec.batch for checkpoint in stored(warned.run.checkpoints())]
    assert seen == [4, 7]
    assert_same_state(straight.newest, warned.newest)


def test_runs_of_one_seed_are_equal_and_of_two_differ(tmp_path: Path) -> None:
    one, again = (train(small(), tmp_path / name).newest for name in ("a", "b"))
    assert_same_state(one, again)
    other = train(small(seed=1), tmp_path / "c").newest
    with pytest.raises(AssertionError):
        assert_same_state(one, other)


def test_a_finished_run_may_go_further(tmp_path: Path) -> None:
    straight = train(small(until="9 steps"), tmp_path / "straight")
    train(small(until="5 steps"), tmp_path / "twice")
    assert_same_state(straight.newest, train(small(until="9 steps"), tmp_path / "twice", attempt=2).newest)


def test_a_damaged_newest_checkpoint_costs_its_samples_only(tmp_path: Path) -> None:
    spec = small(until="7 steps")
    straight = train(spec, tmp_path / "straight")
    run = train(spec, tmp_path / "run", kill_at(6))
    (run.local / "checkpoints" / run.newest.name / "training.pt").unlink()
    again = train(spec, tmp_path / "run", attempt=2)
    (warning,) = [event["text"] for event in again.events if event["event"] == "warning"]
    assert "training.pt is missing; using the one before it" in warning
    assert_same_state(straight.newest, again.newest)


def test_a_damaged_meta_does_not_end_the_next_attempt(tmp_path: Path) -> None:
    spec = small(until="7 steps")
    run = train(spec, tmp_path / "run", kill_at(6))
    (run.local / "checkpoints" / run.newest.name / "meta.json").write_text("{")
    assert train(spec, tmp_path / "run", attempt=2).result["ending"] == "finished"


@pytest.mark.parametrize(("key", "value"), [("count", 5), ("size", 4), ("channels", 3), ("checksum", "x")])
def test_changed_data_are_refused(stopped: RunFolder, key: str, value: Any) -> None:
    facts = rows_of(small()).facts
    assert resume_problems(stopped, facts) == []
    assert resume_problems(stopped, dataclasses.replace(facts, **{key: value})) == [
        "data.source: the data are not those this run was trained on: "
        f"{key} was {getattr(facts, key)} and is now {value}"
    ]


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    assert ended(small(), tmp_path / "run")[0] == 0
    longer = small(until="9 steps", data={"source": "digits", "size": 8, "channels": 3})
    code, message = ended(longer, tmp_path / "run")
    assert code == 2 and "channels was 1 and is now 3" in message


def test_a_truncated_newest_meta_does_not_fail_the_preflight(tmp_path: Path) -> None:
    trained = train(small(), tmp_path / "run", stop_at(5))
    (trained.local / "checkpoints" / trained.newest.name / "meta.json").write_text("{")
    assert resume_problems(trained.run, rows_of(small()).facts) == []


def ended(spec: JobSpec, root: Path) -> tuple[int, str]:
    """A run with all that surrounds training: its exit code and message."""
    events: list[dict[str, Any]] = []
    code = run_local(request_of(spec, root), events.append)
    return code, events[-1]["message"]


def test_changed_networks_are_refused(tmp_path: Path) -> None:
    train(small(), tmp_path / "run", stop_at(3))
    wider = small(generator={**MLP, "hidden": 9, "z": 4})
    with pytest.raises(ValueError, match=r"^generator: the stored weights are of another network"):
        train(wider, tmp_path / "run", attempt=2)


def submitted(root: Path, steps: int, **changes: Any) -> Trained:
    """A run with its request, trained for some steps."""
    trained = train(small(**changes), root, stop_at(steps) if steps else lambda: False)
    job = small(**changes).model_dump(mode="json", by_alias=True)
    trained.run.folder.write_json("request.json", {"job": job})
    return trained


ALLOWED = [
    "until=9 steps",
    "optimizer.lr=1e-4",
    "optimizer.lr={linear: {from: 1e-3, to: 1e-4, over: 2k}}",
    "optimizer.discriminator.lr=1e-4",
    "optimizer.warmup=100",
    "optimizer.clip=1",
    "every.grid=64k",
    "every.metrics=9k",
    "metrics=[{use: frechet, samples: 1k}]",
    "keep.last=5",
    "resources.workers=1",
    "environment.env=[AWS_PROFILE]",
    "micro_batch=4",
    "compile=true",
    "storage=/elsewhere",
    "data.max_rejected=0.5",
    "data.source=/moved/data",
]
REFUSED = [
    "seed=1",
    "batch=16",
    "name=other",
    "data.size=16",
    "data.labels=source",
    "generator.hidden=9",
    "objective.0.use=hinge",
    "penalties=[{use: r1}]",
    "ema={half_life: 5k}",
    "optimizer.betas=[0, 0.9]",
    "optimizer.use=adamw",
    "optimizer.weight_decay=0.1",
    "precision=fp32",
]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was stopped after three steps; only looked at."""
    return submitted(tmp_path_factory.mktemp("stopped") / "run", 3).run


@pytest.mark.parametrize("change", ALLOWED)
def test_what_may_change_on_resume(stopped: RunFolder, change: str) -> None:
    assert resume_spec(stopped, [change]) != resume_spec(stopped, []) == small()


def test_both_folders_of_pairs_may_move(tmp_path: Path) -> None:
    pairs = {"modality": "pair", "source": "/a", "inputs": "/b", "size": 16}
    run = RunFolder(Folder.at(tmp_path / "run"))
    spec = small(data=pairs, generator={"use": "pix2pix"}, discriminator={"use": "pix2pix", "layers": 1})
    run.folder.write_json("request.json", request_of(spec, tmp_path / "run").record())
    moved = resume_spec(run, ["data.source=/c", "data.inputs=/d"]).data
    assert isinstance(moved, PairData) and (moved.source, moved.inputs) == ("/c", "/d")


def test_when_a_run_is_good_enough_may_change_on_resume(stopped: RunFolder) -> None:
    changed = resume_spec(stopped, ["metrics=[frechet]", "stop_when={metric: fd, below: 3}"])
    assert changed.stop_when is not None and changed.stop_when.below == 3
    with pytest.raises(JobError, match=r"unknown metric 'fd' .*the job has no `metrics`"):
        resume_spec(stopped, ["stop_when={metric: fd, below: 3}"])


@pytest.mark.parametrize("change", REFUSED)
def test_what_may_not_change_on_resume(stopped: RunFolder, change: str) -> None:
    with pytest.raises((ValueError, JobError)) as caught:
        resume_spec(stopped, [change])
    if not isinstance(caught.value, JobError):
        assert str(caught.value).startswith("--resume goes on with the same data, networks, objective, seed and batch")
        assert str(caught.value).endswith(
            f"May change: {', '.join(MAY_CHANGE)}. For another job with these weights: --from"
        )


def test_a_refused_change_is_shown(stopped: RunFolder) -> None:
    with pytest.raises(ValueError, match=r"changed: seed: 0 -> 1; batch: 8 -> 16\. May change"):
        resume_spec(stopped, ["seed=1", "batch=16"])


def test_stages_may_get_longer_but_not_other(tmp_path: Path) -> None:
    job = {"objective": None, "until": None, "stages": [{"objective": "hinge", "for": "6 steps"}]}
    run = submitted(tmp_path / "run", 3, **job).run
    assert resume_spec(run, ["stages.0.for=9 steps"]).phases_plan[0].length.value == 9
    with pytest.raises(ValueError, match=r"^--resume goes on with"):
        resume_spec(run, ["stages.0.objective=minimax"])


def test_a_stage_that_had_the_jobs_optimizer_may_get_its_own_rate_and_nothing_else(tmp_path: Path) -> None:
    job = {"objective": None, "until": None, "stages": [{"objective": "hinge", "for": "6 steps"}]}
    run = submitted(tmp_path / "run", 3, **job).run
    stages = resume_spec(run, ["stages.0.optimizer.lr=0.5"]).stages
    assert stages is not None and stages[0].optimizer is not None and stages[0].optimizer.lr == 0.5
    with pytest.raises(ValueError, match=r"changed: stages\.0\.optimizer\.eps: 1e-08 -> 0\.1\. May"):
        resume_spec(run, ["stages.0.optimizer.eps=0.1"])


def test_a_finished_run_wants_more_to_do(tmp_path: Path) -> None:
    run = submitted(tmp_path / "run", 0).run
    with pytest.raises(ValueError) as caught:
        resume_spec(run, ["optimizer.lr=1e-4"])
    assert str(caught.value) == (
        "run run is finished (48 of 48 samples seen); to go on, make it longer: "
        "gan-dist submit --resume run -o 'until=12 steps'"
    )
    assert resume_spec(run, ["until=7 steps"]).until is not None
    with pytest.raises(ValueError, match=r"\(48 of 8 samples seen\); .* -o until=96$"):
        resume_spec(run, ["until=8"])


def test_a_truncated_newest_meta_does_not_keep_a_run_from_resuming(tmp_path: Path) -> None:
    trained = submitted(tmp_path / "run", 5)
    (trained.local / "checkpoints" / trained.newest.name / "meta.json").write_text("{")
    assert resume_spec(trained.run, []) == small()


def test_a_run_never_starts_again_from_nothing(tmp_path: Path) -> None:
    trained = submitted(tmp_path / "run", 5)
    for name in trained.run.checkpoints().names():
        (trained.local / "checkpoints" / name / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match="no other checkpoint is stored"):
        resume_spec(trained.run, [])
    other = InitialWeights(train(small(), tmp_path / "other").newest.folder.uri)
    with pytest.raises(CheckpointError, match="no other checkpoint is stored"):
        train(small(), tmp_path / "run", attempt=2, start_from=other)
    (problem,) = resume_problems(trained.run, rows_of(small()).facts)
    assert problem.endswith("no other checkpoint is stored") and trained.run.checkpoints().names()[-1] in problem


def test_from_takes_the_weights_and_starts_a_new_clock(tmp_path: Path) -> None:
    ema = {"half_life": 64}
    source = train(small(ema=ema), tmp_path / "source").newest
    every = {"report": "1 steps", "grid": "1k", "checkpoint": "1 steps"}
    spec = small(ema=ema, until="1 steps", every=every, optimizer={"lr": 0.0}, seed=5)
    new = train(spec, tmp_path / "new", start_from=InitialWeights(source.folder.uri)).newest
    assert (new.seen, new.meta["clock"]["reals_drawn"]) == (8, 8)
    for name in ("generator", "discriminator"):
        torch.testing.assert_close(new.tensors(name), source.tensors(name), rtol=0, atol=0)
    beta = 0.5 ** (8 / 64)
    for name, average in new.tensors("generator_ema").items():
        expected = beta * source.tensors("generator_ema")[name] + (1 - beta) * source.tensors("generator")[name]
        torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-14)
    steps = new.training()["optimizers"]["generator"]["state"][0]["step"]
    assert steps.item() == 1


def test_from_takes_one_network_where_the_others_differ(tmp_path: Path) -> None:
    source = train(small(), tmp_path / "source").newest
    frozen = {"every": {"checkpoint": "1 steps"}, "until": "1 steps", "optimizer": {"lr": 0.0}, "seed": 5}
    other = small(discriminator={"use": "mlp", "hidden": 4, "layers": 1}, **frozen)
    with pytest.raises(ValueError, match="discriminator: the stored weights are of another network"):
        train(other, tmp_path / "both", start_from=InitialWeights(source.folder.uri))
    new = train(other, tmp_path / "one", start_from=InitialWeights(source.folder.uri, ("generator",))).newest
    torch.testing.assert_close(new.tensors("generator"), source.tensors("generator"), rtol=0, atol=0)

    judge = train(
        small(**frozen), tmp_path / "judge", start_from=InitialWeights(source.folder.uri, ("discriminator",))
    ).newest
    torch.testing.assert_close(judge.tensors("discriminator"), source.tensors("discriminator"), rtol=0, atol=0)
    fresh = train(small(**frozen), tmp_path / "fresh").newest
    torch.testing.assert_close(judge.tensors("generator"), fresh.tensors("generator"), rtol=0, atol=0)


@pytest.mark.parametrize(("only", "published"), [("generator", "source"), ("discriminator", "fresh")])
def test_the_average_comes_with_the_generator(tmp_path: Path, only: str, published: str) -> None:
    job = {"ema": {"half_life": 64}, "optimizer": {"lr": 0.0}}
    source = train(small(seed=9, **job), tmp_path / "source").newest
    fresh = train(small(seed=5, **job), tmp_path / "fresh").newest
    new = train(small(seed=5, **job), tmp_path / "new", start_from=InitialWeights(source.folder.uri, (only,))).newest
    expected = {"source": source, "fresh": fresh}[published].tensors("generator_ema")
    torch.testing.assert_close(new.tensors("generator_ema"), expected, rtol=1e-12, atol=1e-14)


def test_a_run_that_never_saved_begins_where_it_was_to_begin(tmp_path: Path) -> None:
    start = InitialWeights("file:///elsewhere/checkpoints/000000000064-a1", ("generator",))
    request = request_of(small(), tmp_path / "run", start_from=start)
    Folder.at(tmp_path / "run").write_json("request.json", request.record())
    assert plan_resume(str(tmp_path / "run"), []).request.start_from == start
    assert RunRequest.from_json(request.to_json()) == request


def test_from_is_not_repeated_on_resume(tmp_path: Path) -> None:
    source = InitialWeights(train(small(), tmp_path / "source").newest.folder.uri)
    straight = train(small(seed=2), tmp_path / "straight", start_from=source)
    train(small(seed=2), tmp_path / "twice", stop_at(3), start_from=source)
    twice = train(small(seed=2), tmp_path / "twice", attempt=2, start_from=source)
    assert_same_state(straight.newest, twice.newest)


@pytest.mark.parametrize("cadence", [1000, 10])
def test_what_the_clock_asks_for_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cadence: int) -> None:
    """A second passes whenever the clock is looked at: at each iteration, and at each checkpoint."""
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(seconds), perf_counter=time.perf_counter, time=time.time)
    monkeypatch.setattr(callbacks, "time", clock)
    monkeypatch.setattr(callbacks, "LONGEST_WITHOUT_CHECKPOINT_S", 9)
    every = {"report": "1 steps", "grid": "1000 steps", "checkpoint": f"{cadence} steps"}
    trained = train(small(until="60 steps", every=every, keep={"last": 60}), tmp_path / "run")
    steps = [int(one.name.split("-")[0]) // 8 for one in stored(trained.run.checkpoints())]
    assert len(steps) > 5
    assert [b for a, b in itertools.pairwise(steps) if b - a < 4 and b % cadence != 0 and b < 60] == []


def reported(root: Path) -> list[int]:
    return [json.loads(line)["seen"] for line in (root / "scalars.jsonl").read_text().splitlines()]


def board_of(root: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(root / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    board.Reload()
    return board


def on_the_board(root: Path, tag: str = "loss/D") -> list[int]:
    board = board_of(root)
    events = board.Images(tag) if tag in board.Tags()["images"] else board.Scalars(tag)
    return [event.step for event in events]


@pytest.mark.parametrize("killed_at", [6, 2])
def test_no_step_is_recorded_twice(tmp_path: Path, killed_at: int) -> None:
    """Killed after a checkpoint with reports beyond it, and before the first checkpoint."""
    every = {"report": "1 steps", "grid": "1 steps", "checkpoint": "4 steps"}
    spec = small(until="7 steps", every=every)
    train(spec, tmp_path, kill_at(killed_at))
    assert len(reported(tmp_path)) == killed_at - 1
    time.sleep(1.1)  # event files are ordered by the second they began in
    train(spec, tmp_path, attempt=2)
    steps = [step * 8 for step in range(1, 8)]
    assert reported(tmp_path) == steps
    assert on_the_board(tmp_path) == steps
    assert on_the_board(tmp_path, "samples") == [0, *steps]
    assert on_the_board(tmp_path, "real") == [0]
    for shown in board_of(tmp_path).Images("samples"):
        assert shown.encoded_image_string == (tmp_path / "grids" / f"{shown.step:012d}.png").read_bytes()
        assert (shown.width, shown.height) == Image.open(BytesIO(shown.encoded_image_string)).size


def test_a_half_written_line_is_dropped(tmp_path: Path) -> None:
    spec = small(until="7 steps")
    train(spec, tmp_path, stop_at(3))
    with (tmp_path / "scalars.jsonl").open("a") as stream:
        stream.write('{"seen": 8, "loss/')
    train(spec, tmp_path, attempt=2)
    assert reported(tmp_path) == [8, 16, 24, 32, 40, 48, 56]


def test_curves_hold_every_term_and_scheduled_value(tmp_path: Path) -> None:
    spec = spec_of("schedules", every={"report": "1 steps", "grid": "1k", "checkpoint": "1k"})
    train(spec, tmp_path)
    last = json.loads((tmp_path / "scalars.jsonl").read_text().splitlines()[-1])
    for name in (
        "loss/D",
        "loss/G",
        "D/hinge/adversarial",
        "D/hinge/real_logits",
        "D/hinge/fake_logits",
        "D/hinge/accuracy",
        "G/least_squares/adversarial",
        "D/r1",
        "gradient_norm/generator",
        "gradient_norm/discriminator",
        "lr/generator",
        "lr/discriminator",
        "schedule/least_squares.weight",
        "schedule/r1.gamma",
        "speed/samples_per_s",
        "speed/step_samples_per_s",
        "speed/data_wait_share",
        "memory/gib",
    ):
        assert name in last, name
    assert last["schedule/least_squares.weight"] == 1 and 0 <= last["speed/data_wait_share"] < 1


def test_the_speed_of_steps_is_without_grids_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause_s, plain = 0.2, RunCallbacks.grid

    def slow(self: RunCallbacks, state: TrainState) -> None:
        time.sleep(pause_s)
        plain(self, state)

    monkeypatch.setattr(RunCallbacks, "grid", slow)
    every = {"report": "2 steps", "grid": "2 steps", "checkpoint": "2 steps"}
    train(small(every=every), tmp_path)
    for line in (tmp_path / "scalars.jsonl").read_text().splitlines()[1:]:
        record = json.loads(line)
        seconds, stepping = (16 / record[f"speed/{name}"] for name in ("samples_per_s", "step_samples_per_s"))
        assert 0 < stepping < seconds - pause_s


@pytest.mark.parametrize(("labels", "columns", "rows"), [("none", 8, 8), ("source", 8, 10)])
def test_grids_are_pictures_of_the_expected_size(tmp_path: Path, labels: str, columns: int, rows: int) -> None:
    spec = small(data={"source": "digits", "size": 8, "labels": labels}, until="2 steps")
    trained = train(spec, tmp_path)
    names = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert names == ["000000000000.png", "000000000016.png", "real.png"]
    for name in names:
        with Image.open(tmp_path / "grids" / name) as picture:
            picture.load()
            # 8-pixel samples with 2 pixels between them, enlarged by the whole factor nearest to 480 across.
            assert picture.size == (6 * (columns * 10 - 2), 6 * (rows * 10 - 2)) and picture.mode == "L"
    assert [event["seen"] for event in trained.events if event["event"] == "grid"] == [0, 16]


def test_the_first_grids_come_early(tmp_path: Path) -> None:
    every = {"report": "100k", "grid": "100k", "checkpoint": "100k"}
    train(small(batch=256, until=5000, every=every), tmp_path)
    grids = sorted(int(path.stem) for path in (tmp_path / "grids").glob("0*.png"))
    assert grids == [0, 1024, 2048, 4096, 5120]


def test_the_best_checkpoints_are_kept_by_a_metric(tmp_path: Path) -> None:
    every = {"report": "1 steps", "grid": "1k", "checkpoint": "1 steps"}
    keep = {"last": 1, "best": 2, "metric": "loss/G", "mode": "min"}
    trained = train(small(until="8 steps", every=every, keep=keep, optimizer={"lr": 0.05}), tmp_path)
    losses = {}
    for line in (tmp_path / "scalars.jsonl").read_text().splitlines():
        record = json.loads(line)
        losses[record["seen"]] = record["loss/G"]
    best = sorted(losses, key=lambda seen: losses[seen])[:2]
    assert [checkpoint.seen for checkpoint in stored(trained.run.checkpoints())] == sorted({*best, 64})


def test_a_run_in_this_process_leaves_its_records(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    assert run_local(request_of(small(), tmp_path / "run"), events.append) == 0
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["seen"], status["exit_code"], status["attempt"]) == ("succeeded", 48, 0, 1)
    assert RunFolder(Folder(str(tmp_path / "run"))).lease_holder() is None
    assert JobSpec.model_validate(json.loads((tmp_path / "run" / "request.json").read_text())["job"]) == small()
    assert [event["event"] for event in events].count("checkpoint") == 3
    assert events[-1]["event"] == "end" and events[-1]["exit_code"] == 0


def test_a_run_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    trained = Trained(submitted(tmp_path / "run", 3).run)
    take(trained.run.folder, 1)
    events: list[dict[str, Any]] = []
    assert run_local(request_of(small(), tmp_path / "run", attempt=2), events.append) == 2
    assert "is being written by attempt 1" in events[-1]["message"] and trained.newest.seen == 24


def test_helpers_say_what_they_do() -> None:
    assert SMALL["batch"] == 8 and [stop_at(3)() for _ in range(3)] == [False] * 3
    stop = stop_at(3)
    assert [stop(), stop(), stop()] == [False, True, True]


def test_another_micro_batch_is_said_to_differ_in_the_last_bits(
    tmp_path: Path,
) -> None:
    assert run_local(request_of(small(), tmp_path / "run"), lambda event: None) == 0
    told: list[str] = []
    plan_resume(str(tmp_path / "run"), ["until=8 steps"], warn=told.append)
    assert told == []
    plan_resume(str(tmp_path / "run"), ["until=8 steps", "micro_batch=4"], warn=told.append)
    assert len(told) == 1 and "micro_batch was auto and is 4" in told[0] and "the last bits may differ" in told[0]

"""Weighted classes: their shares in every epoch, fairness within a class, exact resume at any position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_dist.data.conditioning import Conditioning
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import choose_ingest, load_into_memory
from gan_dist.data.order import WeightedPlan, class_quotas, epoch_samples, resolve_class_weights
from gan_dist.data.prepare import prepare_or_load
from gan_dist.errors import DataError, JobError
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import ImageData
from gan_dist.spec.job import JobSpec
from tests.helpers import CPU, small

LABELS = np.array([0] * 50 + [1] * 7 + [2] * 3)


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    weights=st.data(),
    batch=st.integers(1, 12),
    seed=st.integers(0, 5),
)
def test_every_epoch_has_the_shares_and_no_sample_waits(
    counts: list[int], weights: st.DataObject, batch: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    asked = weights.draw(st.lists(st.floats(0.1, 10), min_size=len(counts), max_size=len(counts)))
    if len(labels) < batch:
        return
    plan = WeightedPlan(seed, batch, labels, asked)
    served = [plan._epoch(epoch) for epoch in range(4)]
    expected = class_quotas(len(labels), asked)
    for epoch in served:
        assert np.bincount(labels[epoch], minlength=len(counts)).tolist() == expected
    times = np.bincount(np.concatenate(served), minlength=len(labels))
    for number in range(len(counts)):
        of_class = times[labels == number]
        assert of_class.max() - of_class.min() <= 1


def test_batches_are_the_epochs_and_any_position_can_be_asked_first() -> None:
    plan, again = (WeightedPlan(3, 8, LABELS, (1, 1, 1)) for _ in range(2))
    whole = [plan.positions(drawn) for drawn in range(0, 56 * 3, 8)]
    assert [again.positions(drawn).tolist() for drawn in reversed(range(0, 56 * 3, 8))] == [
        one.tolist() for one in reversed(whole)
    ]
    assert epoch_samples(60, 8) == 56
    first, second = np.concatenate(whole[:7]), np.concatenate(whole[7:14])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.concatenate([WeightedPlan(4, 8, LABELS, (1, 1, 1)).positions(0)] * 7))


def test_quotas_sum_up() -> None:
    assert class_quotas(10, (1, 1, 1)) == [4, 3, 3]
    assert class_quotas(10, (0, 3, 1)) == [0, 8, 2]
    assert class_quotas(7, (5,)) == [7]


def test_weights_by_name() -> None:
    names, counts = ("cat", "dog", "eel"), (5, 5, 0)
    assert resolve_class_weights("data", names, counts) == ()
    assert resolve_class_weights("equal", names, counts) == (1.0, 1.0, 0.0)
    assert resolve_class_weights({"dog": 3}, names, counts) == (1.0, 3.0, 0.0)
    for asked, said in (
        ({"dgo": 1}, r"data.class_weights.dgo: no such class; did you mean 'dog'\?"),
        ({"eel": 2}, "data.class_weights.eel: the data have no sample of that class"),
        ({"cat": 0, "dog": 0}, "data.class_weights: all are 0"),
    ):
        with pytest.raises(DataError, match=said):
            resolve_class_weights(asked, names, counts)
    with pytest.raises(DataError, match=r"data.class_weights: the data have no classes; set data.labels"):
        resolve_class_weights("equal", (), ())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("equall", r"data.class_weights: 'equall' is not allowed; did you mean 'equal'\?"),
        ({"3": -1}, r"data.class_weights: 3: -1 is no weight; must be a number from 0 on"),
        ({}, "data.class_weights"),
    ],
)
def test_wrong_weights_are_named(written: Any, said: str, tmp_path: Any) -> None:
    from gan_dist.launch.load_job import load_job

    (tmp_path / "job.yaml").write_text(small().model_dump_json(by_alias=True))
    with pytest.raises(JobError, match=said):
        load_job(tmp_path / "job.yaml", {"data.labels": "source", "data.class_weights": written})


def test_real_and_generated_classes_follow_the_weights_and_metrics_the_data(tmp_path: Any) -> None:
    data = ImageData(source="digits", size=8, labels="source", class_weights={"7": 9.0, "0": 0})
    found = prepare_or_load(data, Folder.at(tmp_path), executor=write_shards_on_processes, progress=lambda *_: None)
    rows = load_into_memory(found, 0, 64)
    _, labels = rows.rows(np.concatenate([rows.positions(drawn) for drawn in range(0, 1792, 64)]))
    counts = np.bincount(labels.numpy(), minlength=10)
    assert counts[0] == 0 and counts[7] == pytest.approx(1792 * 9 / 17, abs=8)
    weighted, of_data = (Conditioning.of(rows.facts, rows, CPU, weights) for weights in (rows.facts.class_weights, ()))
    assert weighted is not None and of_data is not None
    shares = weighted.shares
    assert shares[7] - shares[6] == pytest.approx(9 / 17) and shares[0] == 0
    assert of_data.shares[0] == pytest.approx(178 / 1797)
    with pytest.raises(DataError, match=r"a stream serves .* of shards as they lie; set data.ingest: memory"):
        choose_ingest(data.model_copy(update={"ingest": "stream"}), 10, 1000, None)
    assert choose_ingest(data, 10, 1000, None).kind == "memory"


def test_a_weighted_run_resumes_exactly(tmp_path: Any) -> None:
    from gan_dist.runs.checkpoint import stored
    from tests.helpers import assert_same_state, train

    spec = small(data={"source": "digits", "size": 8, "labels": "source", "class_weights": "equal"}, batch=600)
    rows = load_into_memory(
        prepare_or_load(
            spec.data, Folder.at(tmp_path / "c"), executor=write_shards_on_processes, progress=lambda *_: None
        ),
        spec.seed,
        spec.batch,
    )
    whole = train(spec, tmp_path / "whole", rows=rows)
    train(JobSpec.model_validate(spec.model_dump() | {"until": 2400}), tmp_path / "parts", rows=rows)
    parts = train(spec, tmp_path / "parts", attempt=2, rows=rows)
    assert_same_state(stored(whole.run.checkpoints())[-1], stored(parts.run.checkpoints())[-1])


def test_a_weight_that_serves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.class_weights.b: 0.0001 is so little that no sample would be served"):
        resolve_class_weights({"b": 1e-4}, ("a", "b"), (50, 50))

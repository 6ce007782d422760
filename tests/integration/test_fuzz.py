"""A few hundred damaged inputs, the same ones each time: none ends in an exception that is not ours, none is large."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["data"])
def test_damage_is_read_rejected_or_refused(subject: str) -> None:
    patient = fuzz.subject_of(subject)._replace(most_s=120.0)  # how long one takes is a matter of the machine
    results = list(fuzz.run(patient, range(300), seed=7))
    bad = [one for one in results if one.outcome in fuzz.BAD]
    assert not bad, "\n".join(f"case {one.number} ({one.kind}): {one.told}" for one in bad)
    outcomes = Counter(one.outcome for one in results)
    assert all(outcomes[outcome] > 30 for outcome in fuzz.GOOD), outcomes


@pytest.mark.slow
@pytest.mark.parametrize(("subject", "count"), [("jobs", 300), ("checkpoints", 40), ("mutants", 6)])
def test_damaged_jobs_and_runs_are_used_as_they_are_or_refused(subject: str, count: int) -> None:
    patient = fuzz.subject_of(subject)._replace(most_s=120.0)
    results = list(fuzz.run(patient, range(count), seed=7))
    bad = [one for one in results if one.outcome in fuzz.BAD]
    assert not bad, "\n".join(f"case {one.number} ({one.kind}): {one.told}" for one in bad)
    outcomes = Counter(one.outcome for one in results)
    assert outcomes["read"] > count // 10 and outcomes["refused"], outcomes

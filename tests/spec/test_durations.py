"""Lengths of time that are written are read again as they were."""

from __future__ import annotations

import pytest

from gan_dist.spec.durations import duration_text, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7200, "2h"), (5400, "90min"), (172_800, "2d"), (45, "45s"), (90_000, "25h"), (0.5, "0.5s"), (3661, "3661s")],
)
def test_what_is_written_is_read(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("written", ["20m", "2 h", "1.5 d", "0.1h", 600, "7.3min"])
def test_whatever_a_person_gives_comes_back(written: object) -> None:
    assert parse_duration(duration_text(parse_duration(written))) == pytest.approx(parse_duration(written), rel=1e-14)

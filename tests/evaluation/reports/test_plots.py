"""What pictures of curves say, and what TensorBoard is shown."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import pytest

from gan_dist.evaluation.reports.plots import Panel, render_png
from gan_dist.evaluation.reports.tensorboard import link_runs
from gan_dist.evaluation.temperature_sweep import CurveAxes, better_corner


def words_of(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every text in the picture."""
    figures: list[matplotlib.figure.Figure] = []
    saved = matplotlib.figure.Figure.savefig

    def kept(figure: matplotlib.figure.Figure, *args: object, **kwargs: object) -> None:
        figures.append(figure)
        saved(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", kept)
    assert render_png([panel]).startswith(b"\x89PNG")
    return {text.get_text() for text in figures[0].findobj(lambda part: hasattr(part, "get_text"))}


def test_a_picture_says_what_it_is_of_and_which_corner_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Panel(
        "bleu5",
        "self_bleu5",
        {"model": ([0.1, 0.2], [0.3, 0.5])},
        title="run-1",
        marks={"model": ["0.8", "1.2"]},
        better="right, down",
    )
    assert {"run-1", "bleu5", "self_bleu5", "model", "0.8", "1.2", "better"} <= words_of(panel, monkeypatch)
    assert "better" not in words_of(Panel("samples seen", "loss/D", {"run-1": ([0], [1])}), monkeypatch)


def test_the_good_corner_of_each_pair() -> None:
    assert better_corner(CurveAxes("bleu5_test_10k", "self_bleu5_10k")) == "right, down"
    assert better_corner(CurveAxes("nll_oracle_5k", "nll_test_4k")) == "left, down"


def test_tensorboard_of_a_storage_shows_each_trial_once(tmp_path: Path) -> None:
    storage, here = tmp_path / "runs", tmp_path / "board"
    for run in ("plain", "sweep-t000"):
        (storage / run / "tensorboard").mkdir(parents=True)
        (storage / run / "tensorboard" / "events.out.tfevents.1").write_bytes(b"")
    (storage / "sweep" / "tensorboard").mkdir(parents=True)
    (storage / "sweep" / "tensorboard" / "t000").symlink_to("../../sweep-t000/tensorboard")
    (storage / "just-begun" / "tensorboard").mkdir(parents=True)
    here.mkdir()
    link_runs(storage, here)
    link_runs(storage, here)
    assert sorted(path.name for path in here.iterdir()) == ["plain", "sweep-t000"]
    assert (here / "sweep-t000" / "events.out.tfevents.1").exists()

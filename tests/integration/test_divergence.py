"""A loss that becomes NaN ends the run, says which term it was, and leaves the last good checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import torch

from gan_dist.errors import TrainingDiverged
from gan_dist.execution.local import run_local
from gan_dist.runs.checkpoint import newest, stored
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import JobSpec
from tests.helpers import request_of, small, stop_at, train

OWN = """
import torch
from gan_dist.contracts import Phase, mean_over

class Fragile:
    phases = (Phase("D", ("discriminator",)), Phase("G", ("generator",), real=False))

    def __init__(self, *, broken: float = 0.0, how: str = "nan") -> None:
        self.broken, self.how, self.calls = broken, how, 0

    def terms(self, phase, nets, batch):
        logits = nets.D(batch.fakes)
        found = {"fine": mean_over(logits.square())}
        if phase == "D" and self.broken and self.how == "raise":
            raise KeyError("my own mistake")
        if phase == "D" and self.broken:
            # "slope" is a finite loss whose gradient is not.
            self.calls += 1
            bad = {"slope": "1", "first micro": "1" if self.calls > 1 else "nan"}.get(self.how, self.how)
            worse = (logits - logits.detach()).square().sqrt() if self.how == "slope" else logits * float(bad)
            found["fragile"] = mean_over(worse)
        elif phase == "D":
            found["fragile"] = mean_over(logits)
        return found
"""
SPIKE = {"use": "fragile_loss:Fragile"}


@pytest.fixture(autouse=True)
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fragile_loss.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))


def spec_breaking(at: int, how: str = "nan", every: str = "2 steps") -> JobSpec:
    """Breaks in the iteration that begins at `at` samples; 8 samples each, six iterations."""
    broken = {"piecewise": [[0, 0.0], [at, 1.0]]} if at else 1.0
    cadence = {"report": "100 steps", "grid": "100 steps", "checkpoint": every}
    return small(objective={**SPIKE, "broken": broken, "how": how}, every=cadence)


def ended(spec: JobSpec, root: Path) -> tuple[int, str]:
    events: list[dict[str, Any]] = []
    code = run_local(request_of(spec, root), events.append)
    assert events[-1]["event"] == "end" and events[-1]["exit_code"] == code
    return code, events[-1]["message"]


def good(root: Path) -> list[int]:
    """The checkpoints that are left; all of them whole, and the newest with finite weights."""
    parent, warnings = RunFolder(Folder.at(root)).checkpoints(), []
    found = newest(parent, warnings.append)
    assert not warnings
    if found is not None:
        assert all(torch.isfinite(tensor).all() for tensor in found.tensors("discriminator").values())
        assert found.training()["optimizers"]
    return [checkpoint.seen for checkpoint in stored(parent)]


@pytest.mark.parametrize("how", ["nan", "inf", "-inf"])
def test_the_term_is_named_and_the_last_good_checkpoint_kept(tmp_path: Path, how: str) -> None:
    code, message = ended(spec_breaking(32, how), tmp_path / "run")
    assert code == 1 and message.startswith("training diverged near 4")
    assert good(tmp_path / "run") == [16, 32]
    status = RunFolder(Folder.at(tmp_path / "run")).status()
    assert (status["status"], status["exit_code"], status["message"]) == ("failed", 1, message)
    assert message.split("not finite: ")[1] == "D/fragile, loss/D, gradient_norm/discriminator", "the first bad phase"


@pytest.mark.parametrize(
    ("at", "every", "left"), [(24, "2 steps", [16]), (40, "3 steps", [24]), (32, "1 steps", [24, 32])]
)
def test_the_term_is_named_where_a_checkpoint_is_due_at_once(
    tmp_path: Path, at: int, every: str, left: list[int]
) -> None:
    code, message = ended(spec_breaking(at, every=every), tmp_path / "run")
    assert good(tmp_path / "run") == left and code == 1
    assert message.endswith("not finite: D/fragile, loss/D, gradient_norm/discriminator")
    names = RunFolder(Folder.at(tmp_path / "run")).checkpoints().names()
    assert [int(name[:12]) for name in names] == left, "nothing half written"


def test_a_stop_does_not_save_what_diverged(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="not finite: D/fragile"):
        train(spec_breaking(24, every="3 steps"), tmp_path / "run", stop_at(4))
    assert good(tmp_path / "run") == [24]


def test_a_stop_is_heard_after_a_checkpoint_in_between(tmp_path: Path) -> None:
    every = {"report": "1 steps", "grid": "1k", "checkpoint": "1 steps"}
    assert train(small(every=every), tmp_path / "run", stop_at(4)).result == {
        "ending": "stopped",
        "seen": 32,
        "values": ANY,
    }


def test_one_bad_micro_batch_of_several_is_named(tmp_path: Path) -> None:
    code, message = ended(spec_breaking(24, "first micro").model_copy(update={"micro_batch": 4}), tmp_path / "run")
    assert code == 1 and message.endswith("not finite: D/fragile, loss/D, gradient_norm/discriminator")


def test_the_first_iteration_may_be_the_bad_one(tmp_path: Path) -> None:
    code, message = ended(spec_breaking(0, every="100 steps"), tmp_path / "run")
    assert code == 1 and "D/fragile" in message and good(tmp_path / "run") == []


def test_the_last_iteration_may_be_the_bad_one(tmp_path: Path) -> None:
    code, message = ended(spec_breaking(40, every="4 steps"), tmp_path / "run")
    assert code == 1 and "D/fragile" in message and good(tmp_path / "run") == [32]


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    code, message = ended(spec_breaking(32, "slope"), tmp_path / "run")
    assert code == 1 and message.endswith("not finite: gradient_norm/discriminator")
    assert good(tmp_path / "run") == [16, 32]


def test_a_good_loss_of_one_s_own_trains(tmp_path: Path) -> None:
    assert ended(small(objective=SPIKE), tmp_path / "run") == (0, "")


def test_an_error_in_a_person_s_code_shows_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = ended(spec_breaking(32, "raise"), tmp_path / "run")
    assert code == 1 and re.fullmatch(
        r"your code raised KeyError: 'my own mistake' \(.*/fragile_loss\.py:15\)", message
    )
    shown = capsys.readouterr().err
    assert 'fragile_loss.py", line 15, in terms' in shown and "gan_dist/training/loop.py" not in shown
    assert "my own mistake" in (tmp_path / "run" / "logs" / "attempt-1.log").read_text()

"""Checkpoints: they hold what was put in, exist once their meta is there, and are never trusted when damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_dist.errors import CheckpointError, StorageError
from gan_dist.runs.checkpoint import FORMAT, Checkpoint, name_of, newest, newest_described, prune, ranked, stored, write
from gan_dist.runs.storage import Folder

META: dict[str, Any] = {"clock": {"seen": 2, "reals_drawn": 2}, "metrics": {}, "data": {}, "job": {}}
FILES = ["generator.safetensors", "training.pt", "meta.json"]


def networks() -> dict[str, dict[str, Tensor]]:
    weight = torch.arange(6.0).view(2, 3)
    return {
        "generator": {
            "weight": weight,
            "tied": weight,
            "turned": weight.t(),
            "part": torch.arange(10.0)[::3],
            "empty": torch.empty(0),
            "also_empty": torch.empty(0),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "double": torch.full((2,), 1 / 3, dtype=torch.float64),
            "count": torch.tensor(7),
        }
    }


def save(parent: Folder, seen: int, loss: float = 0.0, attempt: int = 1, **state: Any) -> Checkpoint:
    meta = {"clock": {"seen": seen, "reals_drawn": seen}, "metrics": {"loss": loss}, "data": {}, "job": {}}
    tensors: Mapping[str, Mapping[str, Tensor]] = state.get("networks", networks())
    return write(parent, name_of(seen, attempt), networks=tensors, training={"seen": torch.tensor(seen)}, meta=meta)


def kept(parent: Folder) -> list[int]:
    return [checkpoint.seen for checkpoint in stored(parent)]


def test_round_trip(tmp_path: Path) -> None:
    written = save(Folder.at(tmp_path), 64)
    back, put = Checkpoint(written.folder).tensors("generator"), networks()["generator"]
    assert back.keys() == put.keys()
    for name, tensor in put.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name
    assert written.meta["ties"]["generator"] == {"tied": "weight"} and written.seen == 64


def test_a_transposed_view_is_not_taken_for_a_tie(tmp_path: Path) -> None:
    square = torch.arange(4.0).view(2, 2)
    written = save(Folder.at(tmp_path), 1, networks={"generator": {"a": square, "b": square.t()}})
    assert torch.equal(written.tensors("generator")["b"], square.t())


def test_training_state_is_read_without_running_anything(tmp_path: Path) -> None:
    adam = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    adam.param_groups[0]["params"][0].grad = torch.ones(3)
    adam.step()
    state = {
        "optimizers": {"generator": adam.state_dict()},
        "objectives": {},
        "buffers": {"generator": [torch.ones(2)]},
    }
    written = write(Folder.at(tmp_path), "a", networks={}, training=state, meta=META)
    loaded = torch.load(tmp_path / "a" / "training.pt", weights_only=True)
    assert torch.equal(
        loaded["optimizers"]["generator"]["state"][0]["exp_avg"], adam.state_dict()["state"][0]["exp_avg"]
    )
    assert written.training().keys() == state.keys()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_written(tmp_path: Path, bad: float) -> None:
    parent = Folder.at(tmp_path)
    broken = {"generator": {"weight": torch.ones(2)}, "discriminator": {"bias": torch.tensor([1.0, bad])}}
    with pytest.raises(CheckpointError, match=r"^discriminator: bias is not finite; the checkpoint was not written$"):
        save(parent, 64, networks=broken)
    assert stored(parent) == []


def test_it_exists_once_its_meta_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, order = Folder.at(tmp_path), []
    original = Folder.write

    def write_until_meta(self: Folder, name: str, content: bytes) -> None:
        order.append(name)
        if name == "meta.json":
            raise StorageError("full")
        original(self, name, content)

    monkeypatch.setattr(Folder, "write", write_until_meta)
    with pytest.raises(StorageError):
        save(parent, 64)
    assert order == FILES and stored(parent) == [] and newest(parent, pytest.fail) is None


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    altered = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    path.unlink() if how == "missing" else path.write_bytes(altered[how])


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("how", ["missing", "cut", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(tmp_path: Path, name: str, how: str) -> None:
    parent, warnings = Folder.at(tmp_path), []
    save(parent, 64)
    last = save(parent, 128)
    damage(tmp_path / last.name / name, how)
    found = newest(parent, warnings.append)
    assert found is not None and found.seen == 64
    reason = f"{name} is missing" if how == "missing" else f"{name} is damaged (its checksum differs)"
    assert warnings == [f"checkpoint {last.folder.uri}: {reason}; using the one before it"]
    with pytest.raises(CheckpointError, match=name):
        Checkpoint(last.folder).verify()


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "checks', b"{}", b'{"format": 1}', b"[]", b"\xff"])
def test_a_damaged_meta_is_passed_over(tmp_path: Path, content: bytes) -> None:
    parent, warnings = Folder.at(tmp_path), []
    save(parent, 64)
    last = save(parent, 128)
    (tmp_path / last.name / "meta.json").write_bytes(content)
    found = newest(parent, warnings.append)
    assert found is not None and found.seen == 64
    assert len(warnings) == 1 and last.folder.uri in warnings[0] and "meta.json" in warnings[0]


def test_any_byte_of_the_meta_may_be_altered_without_a_crash(tmp_path: Path) -> None:
    parent, warnings = Folder.at(tmp_path), []
    save(parent, 64)
    path = tmp_path / save(parent, 128).name / "meta.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        assert newest(parent, warnings.append) is not None


def test_one_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    written = save(Folder.at(tmp_path), 64)
    path = tmp_path / written.name / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": FORMAT + 1}))
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(written.folder).tensors("generator")
    assert str(caught.value) == f"checkpoint {written.folder.uri} has format 2; this gan-dist reads up to 1"


def test_order_is_by_samples_then_attempt(tmp_path: Path) -> None:
    parent = Folder.at(tmp_path)
    for seen, attempt in ((10**12, 1), (128, 2), (128, 10), (64, 3)):
        save(parent, seen, attempt=attempt)
    assert [checkpoint.name for checkpoint in stored(parent)] == [
        "000000000064-a3",
        "000000000128-a2",
        "000000000128-a10",
        "1000000000000-a1",
    ]


@pytest.mark.parametrize(
    ("last", "best", "mode", "left"),
    [
        (2, 0, "min", [4, 5]),
        (1, 1, "min", [2, 5]),
        (1, 2, "max", [1, 3, 5]),
        (2, 1, "max", [3, 4, 5]),
        (9, 0, "min", [1, 2, 3, 4, 5]),
    ],
)
def test_pruning_keeps_the_last_and_the_best(tmp_path: Path, last: int, best: int, mode: str, left: list[int]) -> None:
    parent = Folder.at(tmp_path)
    for seen, loss in enumerate((0.7, 0.1, 0.9, 0.5, 0.6), 1):
        save(parent, seen, loss)
    prune(parent, last=last, best=best, metric="loss", mode=mode)
    assert kept(parent) == left == [int(name[:12]) for name in parent.names()]


def test_ranking_passes_over_those_without_the_metric(tmp_path: Path) -> None:
    parent = Folder.at(tmp_path)
    save(parent, 1, 0.5)
    write(parent, name_of(2, 1), networks={}, training={}, meta=META)
    assert [checkpoint.seen for checkpoint in ranked(stored(parent), "loss", "min")] == [1]


def test_pruning_survives_a_damaged_one(tmp_path: Path) -> None:
    parent = Folder.at(tmp_path)
    for seen in (1, 2, 3, 4):
        save(parent, seen)
    (tmp_path / name_of(2, 1) / "meta.json").write_text('{"cut')
    prune(parent, last=2, best=0, metric=None, mode="min")
    assert [name[:12].lstrip("0") for name in parent.names()] == ["2", "3", "4"]
    assert [checkpoint.seen for checkpoint in ranked(stored(parent), "loss", "min")] == [3, 4]


def test_pruning_removes_what_was_left_half_written(tmp_path: Path) -> None:
    parent = Folder.at(tmp_path)
    for seen in (1, 2, 3):
        save(parent, seen)
    for half in (name_of(2, 1), name_of(4, 1)):
        parent.child(half).delete("meta.json")
        parent.child(half).write("generator.safetensors.part", b"ha")
    parent.write("notes/mine.txt", b"")
    prune(parent, last=9, best=0, metric=None, mode="min")
    assert parent.names() == [name_of(1, 1), name_of(3, 1), name_of(4, 1), "notes"], "4 may be in the making"


def test_pruning_keeps_what_was_written_last(tmp_path: Path) -> None:
    """The newest is damaged, an attempt goes on from the one before and saves at another place."""
    parent = Folder.at(tmp_path)
    save(parent, 64)
    (tmp_path / save(parent, 128).name / "training.pt").unlink()
    written = save(parent, 96, attempt=2)
    prune(parent, last=1, best=0, metric=None, mode="min")
    found = newest(parent, pytest.fail)
    assert found is not None and found.name == written.name


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, original = Folder.at(tmp_path), Folder.write

    def full_at_training(self: Folder, name: str, content: bytes) -> None:
        if name == "training.pt":
            raise StorageError("full")
        original(self, name, content)

    monkeypatch.setattr(Folder, "write", full_at_training)
    with pytest.raises(StorageError):
        save(parent, 64)
    assert parent.names() == []


def test_where_none_is_whole_nothing_is_silent(tmp_path: Path) -> None:
    parent, warnings = Folder.at(tmp_path), []
    assert newest(parent, pytest.fail) is None and newest_described(parent) is None
    first, second = save(parent, 64), save(parent, 128)
    damage(tmp_path / first.name / "training.pt", "cut")
    damage(tmp_path / second.name / "meta.json", "cut")
    with pytest.raises(CheckpointError) as caught:
        newest(parent, warnings.append)
    assert str(caught.value) == (
        f"checkpoint {second.folder.uri}: meta.json is missing or damaged; "
        f"checkpoint {first.folder.uri}: training.pt is damaged (its checksum differs); no other checkpoint is stored"
    )
    assert warnings == []
    described = newest_described(parent)
    assert described is not None and described.seen == 64
    damage(tmp_path / first.name / "meta.json", "cut")
    with pytest.raises(CheckpointError, match=f"{second.name}.*{first.name}"):
        newest_described(parent)


def test_several_damaged_ones_are_named_together(tmp_path: Path) -> None:
    parent, warnings = Folder.at(tmp_path), []
    for seen in (1, 2, 3):
        save(parent, seen)
    for seen in (2, 3):
        (tmp_path / name_of(seen, 1) / "meta.json").write_text("{}")
    found = newest(parent, warnings.append)
    assert found is not None and found.seen == 1
    (warning,) = warnings
    assert warning.index(name_of(3, 1)) < warning.index(name_of(2, 1)) and warning.endswith("; using the one before it")


def test_the_meta_has_a_checksum_of_its_own(tmp_path: Path) -> None:
    written = save(Folder.at(tmp_path), 64)
    path = tmp_path / written.name / "meta.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items()))))
    assert Checkpoint(written.folder).seen == 64, "order and white space are not content"
    for changed in ({**content, "clock": {"seen": 65}}, {k: v for k, v in content.items() if k != "meta_checksum"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match=r"meta\.json is missing or damaged$"):
            Checkpoint(written.folder).verify()

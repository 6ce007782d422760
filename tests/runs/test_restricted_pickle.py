"""Pickles that would do something do nothing here, and are refused by the name of what they wanted."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_dist.runs.restricted_pickle import DEEPEST, Record, read_pickle, tensors_of
from tests.published import PERSISTENT, nvidia_module, stand_in, write


class Calls:
    """An object whose pickle calls something when it is loaded."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> Any:
    return stand_in(monkeypatch, PERSISTENT, "_reconstruct_persistent_obj")


def test_tensors_and_plain_values_are_read(nvidia: Any, tmp_path: Path) -> None:
    weight = torch.randn(3, 4).T  # not contiguous
    half = torch.randn(2, dtype=torch.float32).bfloat16()
    module = nvidia_module({"a.weight": weight, "a.b.resample_filter": torch.ones(4), "scale": half}, "Generator")
    holds = {"G": module, "size": np.float64(2.0), "shape": np.ones(3), "cur_nimg": 5, "numbers": {1, 2}}
    found = read_pickle(write(tmp_path / "a.pkl", holds))
    assert found["cur_nimg"] == 5 and found["numbers"] == {1, 2} and found["G"].kind == "Generator"
    read = tensors_of(found["G"])
    assert set(read) == {"a.weight", "a.b.resample_filter", "scale"}
    assert torch.equal(read["a.weight"], weight) and torch.equal(read["scale"], half)
    assert isinstance(found["size"], Record) and isinstance(found["shape"], Record)


def test_source_code_is_not_run(nvidia: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = "open('ran', 'w').write('x')\nclass Layer: ...\nclass Generator: ..."
    module = nvidia_module({"fc.weight": torch.ones(2)}, "Generator", source)
    assert list(tensors_of(read_pickle(write(tmp_path / "a.pkl", {"G": module}))["G"])) == ["fc.weight"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("evil", "named"),
    [
        (Calls(os.system, "touch ran"), "posix.system"),
        (Calls(eval, "open('ran', 'w')"), "builtins.eval"),
        (Calls(exec, "open('ran', 'w')"), "builtins.exec"),
        (Calls(getattr, "ran", "upper"), "builtins.getattr"),
        (Calls(torch.load, "ran"), "torch.serialization.load"),
        (Calls(torch.hub.load, "a/b", "c"), "torch.hub.load"),
        (Calls(np.load, "ran"), "numpy.load"),
        (Calls(Path, "ran"), "pathlib.Path"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
@pytest.mark.parametrize("where", ["alone", "in the dict", "in a module"])
def test_what_would_run_is_refused(
    evil: Calls, named: str, where: str, nvidia: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = {"alone": evil, "in the dict": {"G": 1, "x": evil}, "in a module": {"G": nvidia_module({}, "G", x=evil)}}
    write(tmp_path / "a.pkl", inside[where])
    with pytest.raises(ValueError, match=f"it names {named}, which no snapshot of a network needs; nothing of it"):
        read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()


def test_what_would_run_inside_a_tensor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of a tensor are a file of torch of their own, which may hold a pickle too."""
    monkeypatch.chdir(tmp_path)
    from torch.storage import _load_from_bytes

    for content in (pickle.dumps(Calls(os.system, "touch ran")), b"PK\x03\x04", b""):
        write(tmp_path / "a.pkl", {"G": Calls(_load_from_bytes, content)})
        with pytest.raises(ValueError, match=r"a\.pkl"):
            read_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()


def test_few_numbers_do_not_stand_for_many(tmp_path: Path) -> None:
    write(tmp_path / "a.pkl", torch.ones(1).expand(1 << 40))
    with pytest.raises(ValueError, match="a tensor of more numbers than are stored"):
        read_pickle(tmp_path / "a.pkl")


def test_what_is_no_pickle_of_networks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pkl").write_bytes(b"no pickle")
    with pytest.raises(ValueError, match="is no pickle of networks"):
        read_pickle(tmp_path / "a.pkl")
    whole = write(tmp_path / "b.pkl", {"G": torch.ones(100)}).read_bytes()
    (tmp_path / "b.pkl").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="nothing of it was run"):
        read_pickle(tmp_path / "b.pkl")
    with pytest.raises(ValueError, match="cannot be read"):
        read_pickle(tmp_path / "nowhere.pkl")
    monkeypatch.setattr("gan_dist.runs.restricted_pickle.LARGEST_FILE", 10)
    with pytest.raises(ValueError, match="more than the 10 that are read"):
        read_pickle(tmp_path / "b.pkl")


def test_pickles_of_tensorflow_name_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = stand_in(monkeypatch, "dnnlib.tflib.network", "Network")
    write(tmp_path / "a.pkl", (theirs.Network(), theirs.Network()))
    with pytest.raises(ValueError, match=r"TensorFlow pickle.*legacy\.py"):
        read_pickle(tmp_path / "a.pkl")


def test_nesting_has_an_end(nvidia: Any, tmp_path: Path) -> None:
    deep = ".".join(["a"] * (DEEPEST + 2)) + ".weight"
    found = read_pickle(write(tmp_path / "a.pkl", nvidia_module({deep: torch.ones(1)}, "G")))
    with pytest.raises(ValueError, match="nested more than"):
        tensors_of(found)
    found.state["_modules"] = {"itself": found}
    with pytest.raises(ValueError, match="nested more than"):
        tensors_of(found)


def test_references_to_elsewhere_are_refused(tmp_path: Path) -> None:
    content = b"\x80\x04" + b"\x8c\x01xQ."  # a persistent id
    assert "BINPERSID" in [opcode.name for opcode, _, _ in pickletools.genops(content)]
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ValueError, match="outside the file"):
        read_pickle(tmp_path / "a.pkl")

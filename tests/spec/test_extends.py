"""`extends` and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.spec.job_file import Document, merge_documents, merge_values, overrides_document, read_job_file
from gan_dist.spec.problems import Origin


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"g": {"use": "dcgan", "width": 64}}, {"g": {"use": "mlp"}}, {"g": {"use": "mlp"}}),
        (
            {"g": {"use": "dcgan", "width": 64}},
            {"g": {"use": "dcgan", "z": 8}},
            {"g": {"use": "dcgan", "width": 64, "z": 8}},
        ),
        ({"g": {"use": "dcgan", "width": 64}}, {"g": {"width": 8}}, {"g": {"use": "dcgan", "width": 8}}),
        (
            {"lr": {"cosine": {"from": 1, "to": 2}}},
            {"lr": {"linear": {"to": 3}}},
            {"lr": {"linear": {"to": 3}}},
        ),
        (
            {"lr": {"cosine": {"from": 1, "to": 2}}},
            {"lr": {"cosine": {"to": 3}}},
            {"lr": {"cosine": {"from": 1, "to": 3}}},
        ),
        ({"p": [{"use": "r1", "gamma": 1}]}, {"p": {"0": {"gamma": 2}}}, {"p": [{"use": "r1", "gamma": 2}]}),
    ],
)
def test_merge(base: dict[str, Any], over: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge_values(base, over) == merged


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_extends_keeps_where_each_value_came_from(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, base="a: 1\ng:\n  use: dcgan\n  width: 64\n")
    write(tmp_path / "sub", middle="extends: ../base.yaml\nb: 2\n", top="extends: middle.yaml\ng: {use: mlp}\n")
    document = read_job_file(tmp_path / "sub" / "top.yaml")
    assert document.value == {"a": 1, "b": 2, "g": {"use": "mlp"}}
    assert document.origins[("a",)] == Origin(str(tmp_path / "sub" / ".." / "base.yaml"), 1)
    assert document.origins[("g", "use")] == Origin(str(tmp_path / "sub" / "top.yaml"), 2)
    assert ("g", "width") not in document.origins


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nextends: x.yaml", "x.yaml:2: extends: goes in a circle: x.yaml -> x.yaml"),
        ("extends: other.yaml", "other.yaml:1: extends: goes in a circle: x.yaml -> other.yaml -> x.yaml"),
        ("extends: othr.yaml", "x.yaml:1: extends: no such file 'othr.yaml'; did you mean 'other.yaml'?"),
        ("extends: [a.yaml]", "x.yaml:1: extends: must be the path of one job file, relative to this one"),
    ],
)
def test_extends_refused(text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(), x=text, other="extends: x.yaml")
    with pytest.raises(JobError) as error:
        read_job_file(Path("x.yaml"))
    assert str(error.value) == problem


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_are_one_tree_whatever_their_order(order: int) -> None:
    base = overrides_document({"generator": {"use": "dcgan", "width": 64}})
    over = overrides_document(["generator.use=mlp", "generator.hidden=64"][::order])
    assert merge_documents(base, over).value == {"generator": {"use": "mlp", "hidden": 64}}


def test_the_last_of_two_overrides_wins() -> None:
    assert overrides_document(["a.b=1", "a.b=2"]).value == {"a": {"b": 2}}
    assert overrides_document(["a=1", "a.b=2"]).value == {"a": {"b": 2}}
    assert overrides_document(["a.b=2", "a=1"]).value == {"a": 1}


def test_an_override_of_a_list_element_is_where_the_element_is() -> None:
    base = overrides_document({"p": [{"use": "r1"}]})
    merged = merge_documents(base, overrides_document(["p.0.gamma=1"]))
    assert merged.value == {"p": [{"use": "r1", "gamma": 1}]}
    assert merged.origins[("p", 0, "gamma")] == Origin("-o", None)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("batch", "-o: 'batch' is no override; write key=value, such as optimizer.lr=1e-4"),
        ("=3", "-o: '=3' is no override; write key=value, such as optimizer.lr=1e-4"),
        ("a..b=3", "-o: 'a..b=3' is no override; write key=value, such as optimizer.lr=1e-4"),
        ("a=[1", "-o: a: not valid YAML: while parsing a flow sequence, "
                 "expected ',' or ']', but got '<stream end>'"),
        ("p.1.gamma=3", "-o: p: there is no element 1; the list has 1, counted from 0"),
    ],
)  # fmt: skip
def test_overrides_refused(override: str, problem: str) -> None:
    with pytest.raises(JobError) as error:
        merge_documents(overrides_document({"p": [{"use": "r1"}]}), overrides_document([override]))
    assert str(error.value) == problem


def test_a_key_of_a_space_is_one_key_and_replaces_what_was_tried() -> None:
    base = {"sweep": {"metric": "fd", "space": {"optimizer.lr": {"choice": [1]}, "batch": {"choice": [8, 16]}}}}
    changed = overrides_document(["sweep.space.optimizer.lr={uniform: [0, 1]}", "sweep.trials=3"])
    assert merge_documents(Document(base, {}), changed).value == {
        "sweep": {
            "metric": "fd",
            "trials": 3,
            "space": {"optimizer.lr": {"uniform": [0, 1]}, "batch": {"choice": [8, 16]}},
        }
    }

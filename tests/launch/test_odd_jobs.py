"""Values that no key means anything by, and paths that no file can have: each is a problem of the job, by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.launch.load_job import load_job
from gan_dist.spec.job_file import MAX_DEPTH
from tests.helpers import SMALL


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (r'"a\0b"', "cannot be read: embedded null byte"),
        ("a" * 5000, "cannot be read: File name too long"),
        ("circle", "cannot be read: Symlink loop"),
        (r'"\ud800"', "cannot be read: 'utf-8' codec can't encode character"),
        (".", "is no file"),
    ],
)
def test_what_cannot_be_extended_is_said_of_extends(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    file = tmp_path / "job.yaml"
    file.write_text(f"extends: {name}\n")
    with pytest.raises(JobError) as found:
        load_job(file)
    (problem,) = found.value.problems
    assert (problem.key, problem.line) == ("extends", 1)
    assert told in problem.message and len(problem.message) < 5200


@pytest.mark.parametrize("modality", [["pair"], {"a": 1}, [], 3, "\0"])
def test_a_modality_of_any_type_is_refused_by_its_key(modality: Any) -> None:
    with pytest.raises(JobError) as found:
        load_job({**SMALL, "data": {**SMALL["data"], "modality": modality}})
    assert "data.modality" in {problem.key for problem in found.value.problems}


@pytest.mark.parametrize(
    ("section", "key", "told"),
    [
        ({"storage": "a\0b"}, "storage", "'a\\x00b' holds U+0000, which is no character of a text; remove it"),
        ({"name": "\ud800"}, "name", "'\\ud800' holds U+D800, which is no character of a text; remove it"),
        ({"batch": 10**400}, "batch", "is a number of more than 300 digits"),
        ({"networks": {5: {"use": "mlp"}}}, "networks.5", "a key must be a word"),
        ({"networks": {"\0": {"use": "mlp"}}}, "networks.'\\x00'", "'\\x00' holds U+0000"),
        ({"environment": {"pip": ["torch", "a\0"]}}, "environment.pip[1]", "'a\\x00' holds U+0000"),
    ],
)
def test_values_that_nothing_holds_are_refused_wherever_they_stand(section: Any, key: str, told: str) -> None:
    with pytest.raises(JobError) as found:
        load_job({**SMALL, **section})
    (problem,) = found.value.problems
    assert problem.key == key
    assert problem.message.startswith(told)


def test_overrides_are_looked_at_too() -> None:
    with pytest.raises(JobError, match=r"-o: generator\.folder: 'a\\x00b' holds U\+0000"):
        load_job(SMALL, [r'generator.folder="a\0b"'])


def test_nesting_has_an_end() -> None:
    nested: Any = 1
    for _ in range(3 * MAX_DEPTH):
        nested = [nested]
    with pytest.raises(JobError, match=f"nested deeper than {MAX_DEPTH} levels"):
        load_job({**SMALL, "generator": {"use": "mlp", "hidden": nested}})


def test_no_character_beyond_unicode() -> None:
    with pytest.raises(JobError, match="not valid YAML"):
        load_job(SMALL, [r'name="\Uffffffff"'])


def test_an_optimizer_of_another_type_in_a_stage_is_refused_by_its_key() -> None:
    job = {key: value for key, value in SMALL.items() if key not in ("objective", "until")}
    stage = {"objective": "non_saturating", "for": "1 steps", "optimizer": {"use": ["adam"]}}
    with pytest.raises(JobError) as found:
        load_job({**job, "optimizer": {"lr": 1e-3}, "stages": [stage]})
    assert "stages[0].optimizer.use" in {problem.key for problem in found.value.problems}


def test_paths_stay_as_they_are_written_where_nobody_has_that_home() -> None:
    spec = load_job({**SMALL, "data": {"source": "~nobody-of-that-name/x", "size": 8}}).with_absolute_paths()
    assert spec.data.source.endswith("/~nobody-of-that-name/x")


@pytest.mark.parametrize("use", ["x" * 5000 + ":C", "a/b:C", "os.path:C" * 3])
def test_a_component_of_an_impossible_name_is_refused_by_its_key(use: str) -> None:
    with pytest.raises(JobError) as found:
        load_job({**SMALL, "generator": {"use": use}})
    assert found.value.problems[0].key.startswith("generator")


def test_whole_numbers_count_alike_however_they_are_written() -> None:
    with pytest.raises(JobError) as found:
        load_job({**SMALL, "resources": {"workers": 1e18}})
    (problem,) = found.value.problems
    assert problem.key == "resources.workers"
    assert problem.message.endswith("workers cannot share a batch of 8; each needs a sample")


@pytest.mark.parametrize("place", [(), ("data",), ("optimizer",), ("generator",)])
def test_keys_in_brackets_are_keys(place: tuple[str, ...]) -> None:
    job: dict[str, Any] = {**SMALL, "optimizer": {"lr": 1e-3}}
    for key in place:
        job[key] = {**job[key], "[image]": 5}
    with pytest.raises(JobError) as found:
        load_job(job if place else {**job, "[image]": 5})
    assert found.value.problems[0].key.startswith(".".join((*place, ""))[:-1])


def test_a_file_of_brackets_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("x:\n  " + "[" * 200_000)
    with pytest.raises(JobError, match=r"job\.yaml:2: nested deeper than 100 levels"):
        load_job(tmp_path / "job.yaml")

"""Reading YAML: scalars by YAML 1.2, lines, and everything that is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gan_dist.errors import JobError
from gan_dist.spec.job_file import parse_value, read_document, scalar
from gan_dist.spec.problems import Origin


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1.5e6", 1.5e6),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("64", 64),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("64k", "64k"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("e5", "e5"),
        (".", "."),
        ("9" * 5000, math.inf),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    read = scalar(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[0.0, 0.9]", [0.0, 0.9]),
        ("{cosine: {from: 2e-4, to: 0, over: 2M}}", {"cosine": {"from": 2e-4, "to": 0, "over": "2M"}}),
        ("'5'", "5"),
        ("64k", "64k"),
        ("", None),
    ],
)
def test_override_values_follow_the_same_rules(text: str, value: Any) -> None:
    assert parse_value(text) == value


def test_every_key_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: 1\nb:\n  c: [1,\n    2]\n")
    origins = read_document(file).origins
    assert origins[("a",)] == Origin(str(file), 1)
    assert origins[("b", "c")] == Origin(str(file), 3)
    assert origins[("b", "c", 1)] == Origin(str(file), 4)


def test_aliases_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: &net {use: mlp}\nb: *net\n")
    assert read_document(file).value == {"a": {"use": "mlp"}, "b": {"use": "mlp"}}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (BOMB, "x.yaml:1: more than 20,000 values once its aliases are followed"),
        ("a: [" + "1," * 30_000 + "]", "x.yaml:1: more than 20,000 values; no job file is that long"),
        ("[" * 3000, "x.yaml:1: nested deeper than 100 levels"),
        ("a: &a [*a]", "x.yaml:1: alias *a contains itself"),
        ("a: *b", "x.yaml:1: alias *b names nothing; no &b comes before it"),
        (
            "a: 1\nb: !!python/object:os.system x\nc: !mine 1",
            "x.yaml:2: tag !!python/object:os.system: tags that build objects are not allowed; remove it\n"
            "x.yaml:3: tag !mine: tags that build objects are not allowed; remove it",
        ),
        ("a: 1\nb: 2\na: 3", "x.yaml:3: key 'a' is given twice (first on line 1)"),
        ("a: 1\n---\nb: 2", "x.yaml:2: several documents in one file; a job is one document"),
        ("<<: {a: 1}", "x.yaml:1: merge keys (<<) are not supported; use `extends: base.yaml`"),
        ("? [a]\n: 1", "x.yaml:1: a key must be a word, not a list or mapping"),
        ("- 1", "x.yaml:1: is no mapping of keys; a job is written as `key: value` lines"),
        ("# nothing", "x.yaml:1: is empty; a job is written as `key: value` lines"),
        (
            "a:\n\t- 1",
            "x.yaml:2: not valid YAML: while scanning for the next token, "
            "found character '\\t' that cannot start any token",
        ),
    ],
)
def test_refused(text: str, problems: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(text)
    with pytest.raises(JobError) as error:
        read_document(Path("x.yaml"))
    assert str(error.value) == problems


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dcgan.yaml").write_text("a: 1")
    Path("dup.yaml").write_text("a: 1")
    Path("latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    Path("huge.yaml").write_bytes(b"#" * 300_000)
    texts = {}
    for name in ("dcgan.yml", "nope.yaml", "nowhere/x.yaml", "latin.yaml", "huge.yaml", "."):
        with pytest.raises(JobError) as error:
            read_document(Path(name))
        texts[name] = str(error.value)
    assert texts == {
        "dcgan.yml": "dcgan.yml: no such file; did you mean 'dcgan.yaml'?",
        "nope.yaml": "nope.yaml: no such file",
        "nowhere/x.yaml": "nowhere/x.yaml: no such file (there is no folder nowhere)",
        "latin.yaml": "latin.yaml:2: is not UTF-8 text",
        "huge.yaml": "huge.yaml: is larger than 256,000 bytes; no job file",
        ".": ".: is a folder, not a job file",
    }

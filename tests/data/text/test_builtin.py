"""Text that is always there: what is taken of Python's manual, and that jobs read it like any other."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from gan_dist.data.text import builtin
from gan_dist.data.text.builtin import built_in_text, manual_sentences, read_built_in_text
from gan_dist.errors import DataError
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data
from tests.data.text.test_corpus import read, spec, texts
from tests.helpers import Cli

TOPIC = """The "frob" statement
********************

A "frob" statement (see *frobbing*) turns one thing into another,
however non-
obvious. [2] Things that stand still are left as "things()", e.g.
Stones are. What is it?

   frob_stmt ::= "frob" thing

For example, this does what it says:

   >>> frob(1)
   2

frob.turn(thing)

   Return what the thing became.  It is **never** changed in place.

* a point of a list, which is no sentence that stands alone.

1. Another one of these is numbered and left out as well.

+----------+-------------------------------------------------+
| A table  | Holds sentences that nobody reads as a whole.   |
+----------+-------------------------------------------------+

Changed in version 3.1: Things may be turned as often as wanted.

Braces {in a sentence} are code and make it go.
"""


def test_prose_alone_is_taken_of_a_manual() -> None:
    assert list(manual_sentences({"frob": TOPIC})) == [
        "A frob statement (see frobbing) turns one thing into another, however non-obvious.",
        "Things that stand still are left as things, e.g. Stones are.",
        "Return what the thing became.",
        "It is never changed in place.",
    ]


def test_topics_are_read_in_one_order() -> None:
    one, other = {"a": "The first topic says this.", "b": "The second topic says that."}, {}
    other |= {name: one[name] for name in reversed(one)}
    assert list(manual_sentences(one)) == list(manual_sentences(other))


def test_the_manual_of_this_python() -> None:
    text = built_in_text("manual")
    assert text.origin == f"Python {platform.python_version()}"
    assert 1_000 < len(text.sentences) == len(set(text.sentences)) < 3_000
    joined = "\n".join(text.sentences)
    assert not [mark for mark in ("::=", ">>>", '"', "{", "*", "|", "  ", "`") if mark in joined]
    assert all(one[0].isupper() and one[-1] in ".?!" for one in text.sentences)
    assert text.sentences == built_in_text.__wrapped__("manual").sentences


def test_a_job_reads_the_manual_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert spec("manual").with_absolute_paths().source == "manual"
    found = read("manual", length=60, test=0.05)
    all_of_it = len(built_in_text("manual").sentences)
    assert 0.88 * all_of_it < found.facts.count < 0.92 * all_of_it, "5 % are for the test, and 5 % for validation"
    assert any("statement" in text for text in texts(found))


def test_a_folder_of_that_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "a.txt").write_text("my own words\n")
    assert texts(read("./manual")) == ["my own words"]
    assert spec("./manual").with_absolute_paths().source == str(tmp_path / "manual")
    assert read("manual", length=60).facts.count > 1_000


def test_the_version_is_in_the_key_and_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    from gan_dist.data.sources.registry import find_source

    data = spec("manual", length=60)
    source = find_source(data)
    assert cli("prepare", "manual", tmp_path / "ready", "--length", 60)[0] == 0
    manifest = Folder.at(tmp_path / "ready").read_json("manifest.json")
    assert manifest is not None and manifest["source"] == f"manual (Python {platform.python_version()})"
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    built_in_text.cache_clear()
    assert find_source(data).key != source.key
    with pytest.raises(DataError, match=r"listed on a machine with Python 3\.1.*read on one with Python 3\.99\.0"):
        list(read_built_in_text(source.parts[0]))
    built_in_text.cache_clear()


@pytest.mark.parametrize("name", ["manual", "pyjokes"])
def test_built_in_text_has_no_labels(name: str) -> None:
    with pytest.raises(DataError, match=f"^data.labels: 'files', but the sentences of '{name}' have none; use 'none'$"):
        read(name, labels="files")


def test_built_in_text_is_no_pictures() -> None:
    from gan_dist.data.sources.registry import find_source

    with pytest.raises(DataError, match=r"^data.source: 'manual' is text; set data.modality: text, or name a folder"):
        find_source(validate_data({"source": "manual", "size": 8}))


def test_jokes_that_are_installed() -> None:
    pytest.importorskip("pyjokes")
    found = read("pyjokes", length=60, too_long="cut", test=0.05)
    assert 230 < found.facts.count < 300
    assert "\n" not in "".join(built_in_text("pyjokes").sentences)


def test_jokes_that_are_not_installed_say_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyjokes", None)
    built_in_text.cache_clear()
    with pytest.raises(
        DataError, match=r"^data.source: 'pyjokes' is a package that is not installed here: pip install"
    ):
        read("pyjokes")
    assert read("pyjokes", stand_in_of=4).facts.stand_in, "a rehearsal goes on without"
    built_in_text.cache_clear()


def test_init_knows_the_manual(cli: Cli) -> None:
    code, job, _ = cli("init", "manual")
    assert code == 0 and "\n  source: manual\n" in job and "\nname: text-manual\n" in job


def test_every_built_in_text_can_be_read() -> None:
    from gan_dist.spec.data import BUILT_IN_TEXTS

    assert tuple(builtin._TEXTS) == BUILT_IN_TEXTS

"""A person's own data set: read like every source, and what goes wrong in it told as theirs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gan_dist
from gan_dist.data.executors import write_shards_on_processes
from gan_dist.data.ingest import load_into_memory
from gan_dist.data.prepare import Prepared, prepare_or_load
from gan_dist.data.prepare import open_prepared as prepared_in
from gan_dist.errors import DataError, DataNotFound, JobError
from gan_dist.launch.load_job import load_job
from gan_dist.runs.storage import Folder
from gan_dist.spec.check import validate_data
from gan_dist.spec.job import JobSpec
from gan_dist.testing.checks import problems
from tests.helpers import Cli

COUNT = 40
OWN = '''
import os

import numpy as np
import torch
from PIL import Image

def pixels(at):
    return np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8)

class Faces:
    """Random pictures.

    Args:
        form: what an item is.
        count: how many there are.
    """

    def __init__(self, form: str = "uint8", *, count: int = 40, labelled: bool = False):
        self.form, self.count, self.labelled = form, count, labelled

    def __len__(self):
        return self.count

    def __getitem__(self, at):
        sample = self.made(at)
        return (sample, "odd" if at % 2 else "even") if self.labelled else sample

    def made(self, at):
        values = pixels(at)
        if self.form == "tensor":
            return torch.from_numpy(values).permute(2, 0, 1).float() / 255
        if self.form == "tensor uint8":
            return torch.from_numpy(values).permute(2, 0, 1)
        if self.form == "floats":
            return values / 255
        if self.form == "pil":
            return Image.fromarray(values)
        if self.form == "int64":
            return values.astype(np.int64)
        if self.form == "signed":
            return values / 127.5 - 1
        if self.form == "nan":
            return np.full((8, 8), np.nan)
        if self.form == "flat":
            return values.ravel()
        if self.form == "dict":
            return {"image": values}
        if self.form == "text":
            return "a text"
        return values

class Numbered(Faces):
    def __getitem__(self, at):
        return self.made(at), torch.tensor(at % 3)

class Listed(Faces):
    targets = [at % 3 for at in range(40)]

    def __getitem__(self, at):
        if at < 0 or self.form == "broken":
            raise RuntimeError("not for labels")
        return super().__getitem__(at)

class Holes(Faces):
    def __getitem__(self, at):
        if at % 20 == 3:
            raise KeyError(at)
        return super().__getitem__(at)

class Attached(Faces):
    def __init__(self):
        super().__init__("tensor", count=100)
        self.process = os.getpid()

    def __getitem__(self, at):
        assert os.getpid() == self.process, "made in another process"
        return super().__getitem__(at)

class Dice(Faces):
    def made(self, at):
        return torch.rand(3, 8, 8)

class Sentences:
    def __init__(self, count: int = 40, holes: bool = False, labelled: bool = False):
        self.count, self.holes, self.labelled = count, holes, labelled

    def __len__(self):
        return self.count

    def __getitem__(self, at):
        if self.holes and at == 5:
            raise ValueError("no sentence")
        text = f"the {'cat' if at % 2 else 'dog'} sees bird {at % 7}"
        return (text, at % 2) if self.labelled else text

def portraits(count: int):
    return Faces("pil", count=count)

class Broken:
    def __init__(self):
        self.what = {}["nothing"]

class Absent:
    def __init__(self, root: str):
        open(root)

class Endless:
    def __getitem__(self, at):
        return 0

class Empty(Faces):
    def __len__(self):
        return 0
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_data.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_data", raising=False)
    monkeypatch.chdir(tmp_path)
    from gan_dist.data.sources import own_datasets

    own_datasets._made.cache_clear()
    return tmp_path


@pytest.fixture
def prepared(own: Path) -> Callable[..., Prepared]:
    def call(**written: Any) -> Prepared:
        shape = {"length": 8} if written.get("modality") == "text" else {"size": 8}
        data = validate_data({"source": "own_data:Faces", **shape, **written})
        return prepare_or_load(
            data, Folder.at(str(own / "cache")), executor=write_shards_on_processes, progress=lambda done, total: None
        )

    return call


def rows(found: Prepared) -> np.ndarray:
    return np.asarray(load_into_memory(found, 0, 1).blocks[0])


def read_at(folder: Path) -> Prepared:
    found = prepared_in(Folder.at(str(folder)))
    assert found is not None
    return found


def expected(count: int = COUNT) -> np.ndarray:
    made = [np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8) for at in range(count)]
    return np.stack(made).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("form", ["uint8", "tensor", "tensor uint8", "floats", "pil", "int64"])
def test_items_of_every_type_become_the_same_pixels(prepared: Callable[..., Prepared], form: str) -> None:
    found = prepared(args={"form": form})
    assert (found.facts.count, found.facts.classes) == (COUNT, ())
    assert np.array_equal(rows(found), expected())


def test_a_function_may_make_one(prepared: Callable[..., Prepared]) -> None:
    assert np.array_equal(rows(prepared(source="own_data:portraits", args={"count": 5})), expected(5))


@pytest.mark.parametrize(
    ("source", "args", "classes", "counts"),
    [
        ("Faces", {"labelled": True}, ("even", "odd"), (20, 20)),
        ("Numbered", {}, ("0", "1", "2"), (14, 13, 13)),
        ("Listed", {}, ("0", "1", "2"), (14, 13, 13)),
    ],
)
def test_labels_come_with_the_items_or_as_targets(
    prepared: Callable[..., Prepared], source: str, args: dict[str, Any], classes: Any, counts: Any
) -> None:
    found = prepared(source=f"own_data:{source}", args=args, labels="source")
    assert (found.facts.classes, found.facts.class_counts) == (classes, counts)
    assert np.array_equal(found.column("label"), np.arange(COUNT) % len(classes))
    assert prepared(source=f"own_data:{source}", args=args).facts.classes == ()


@pytest.mark.slow
def test_every_process_makes_its_own(prepared: Callable[..., Prepared]) -> None:
    found = prepared(source="own_data:Attached", size=256)
    assert len(found.shards) == 2 and found.facts.count == 100
    again = prepared(args={"count": 100}, size=256)
    assert np.array_equal(rows(found), rows(again))


def test_the_command_prepares_one(own: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(own)])
    monkeypatch.chdir(own.parent)
    words = ("own_data:Faces", "ready", "--size", "8", "-o", "args={form: tensor}", "--code", str(own))
    code, _, told = cli("prepare", *words)
    assert code == 0, told
    assert np.array_equal(rows(read_at(own.parent / "ready")), expected())


def test_a_preparation_is_found_again_until_code_arguments_or_length_change(
    prepared: Callable[..., Prepared], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared().folder.uri
    assert prepared().folder.uri == first
    assert prepared(args={"form": "pil"}).folder.uri != first
    assert prepared(args={"count": 39}).folder.uri != first
    (own / "own_data.py").write_text(OWN + "\n# changed\n")
    monkeypatch.delitem(sys.modules, "own_data")
    from gan_dist.data.sources import own_datasets

    own_datasets._made.cache_clear()
    assert prepared().folder.uri != first


def test_what_raises_is_rejected_counted_and_told_with_its_line(prepared: Callable[..., Prepared], own: Path) -> None:
    line = OWN.splitlines().index("            raise KeyError(at)") + 1
    with pytest.raises(DataError) as told:
        prepared(source="own_data:Holes")
    assert str(told.value) == (
        "data.source: 2 of 40 samples in 'own_data:Holes' cannot be used, more than data.max_rejected: 0.01 allows:\n"
        f"  item 3: {own}/own_data.py:{line}: KeyError: 3\n  item 23: {own}/own_data.py:{line}: KeyError: 23"
    )
    found = prepared(source="own_data:Holes", max_rejected=0.1)
    assert (found.facts.count, len(found.facts.rejected)) == (38, 2)
    labelled = prepared(source="own_data:Holes", max_rejected=0.1, labels="source", args={"labelled": True})
    assert labelled.facts.class_counts == (20, 18)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("nan", "holds values that are not finite"),
        ("flat", r"has the shape \[192\]; an image is \[H, W\], \[C, H, W\] or \[H, W, C\]"),
        ("dict", "gives a dict, which is no tensor, array, picture of PIL, or text"),
        ("text", "is a text, but data.modality wants an image"),
    ],
)
def test_what_is_no_image_is_rejected(prepared: Callable[..., Prepared], form: str, why: str) -> None:
    with pytest.raises(DataError) as told:
        prepared(args={"form": form})
    assert re.search(f"\n  item 0: {why}\n", str(told.value))


@pytest.mark.parametrize(
    ("written", "error", "expected"),
    [
        (
            {"source": "own_data:Broken"},
            DataError,
            "'own_data:Broken' cannot be made: {own}:{line}: KeyError: 'nothing'",
        ),
        ({"source": "own_data:Absent", "args": {"root": "x"}}, DataNotFound, "No such file or directory: 'x'"),
        ({"source": "own_data:Endless"}, DataError, "'own_data:Endless' is no data set: it has no __len__"),
        ({"source": "own_data:Empty"}, DataError, "'own_data:Empty' holds nothing; its length is 0"),
        ({"labels": "folders"}, DataError, "data.labels: 'folders' needs a folder of images; for your own data set"),
        ({"labels": "source"}, DataError, "data.labels: 'source', but the items of 'own_data:Faces' are no (sample, "),
        ({"modality": "text"}, DataError, "item 0: is an image, but data.modality wants a text"),
        ({"modality": "text", "labels": "files"}, DataError, "data.labels: 'files' is of files; for your own data set"),
    ],
)
def test_faults_of_a_data_set_are_told(
    prepared: Callable[..., Prepared], own: Path, written: dict[str, Any], error: type[Exception], expected: str
) -> None:
    line = OWN.splitlines().index('        self.what = {}["nothing"]') + 1
    with pytest.raises(error) as told:
        prepared(**written)
    assert expected.format(own=own / "own_data.py", line=line) in str(told.value)


def test_texts_become_sentences(prepared: Callable[..., Prepared], own: Path) -> None:
    text: dict[str, Any] = {"modality": "text", "source": "own_data:Sentences"}
    found = prepared(**text)
    codec = found.facts.codec  # type: ignore[attr-defined]
    assert [codec.text(row) for row in rows(found)] == [
        f"the {'cat' if at % 2 else 'dog'} sees bird {at % 7}" for at in range(COUNT)
    ]
    labelled = prepared(**text, labels="source", args={"labelled": True})
    assert (labelled.facts.classes, labelled.facts.class_counts) == (("0", "1"), (20, 20))
    holes = prepared(**text, args={"holes": True}, max_rejected=0.1)
    (where, why) = holes.facts.rejected[0]
    assert holes.facts.count == 39 and where == "item:6" and why.endswith("ValueError: no sentence")
    kept = prepared(**text, test=0.2)
    assert kept.facts.count + kept.manifest["held_out"]["test"] + kept.manifest["held_out"]["validation"] == COUNT


def test_source_labels_of_text_are_of_own_data_sets_alone(prepared: Callable[..., Prepared], own: Path) -> None:
    (own / "text.txt").write_text("a b\nc d\n")
    with pytest.raises(
        DataError, match=r"data\.labels: 'source' is for your own data set; for files use folders, files"
    ):
        prepared(modality="text", source="text.txt", labels="source")


JOB = """\
name: own
data: DATA
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: hinge
batch: 8
until: 3 steps
"""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("{source: 'own_data:Face', size: 8}", "job.yaml:2: data.source: no 'Face' in module 'own_data'; did you mean "
         "'Faces'? (it has: Absent, Attached, Broken, Dice, Empty, "
             "Endless, Faces, Holes, Listed, Numbered, Sentences, pixels, "
         "portraits)"),
        ("{source: 'own_dat:Faces', size: 8}", "job.yaml:2: data.source: no module 'own_dat'; did you mean "
            "'own_data'?"),
        ("{source: 'own_data:Faces', size: 8, args: {cuont: 3}}", "job.yaml:2: data.args.cuont: unknown key; did you "
         "mean 'count'? (allowed: count, form, labelled)"),
        ("{source: 'own_data:Faces', size: 8, args: {count: many}}", "job.yaml:2: data.args.count: 'many' must be a "
         "whole number"),
        ("{source: 'own_data:portraits', size: 8}", "job.yaml:2: data.args.count: 'own_data:portraits' needs "
            "this argument"),
        ("{source: digits, size: 8, args: {count: 3}}", "job.yaml:2: data.args: only your own data set, "
         "`package.module:Name`, takes arguments; remove this key"),
        ("{modality: pair, source: 'own_data:Faces', size: 8}", "job.yaml:2: data.source: 'own_data:Faces' is your own "
         "data set, which gives images or text, but no pairs"),
    ],
)  # fmt: skip
def test_faults_of_a_job_are_told_before_anything_runs(own: Path, data: str, expected: str) -> None:
    (own / "job.yaml").write_text(JOB.replace("DATA", data))
    with pytest.raises(JobError) as told:
        load_job("job.yaml")
    assert expected in str(told.value).splitlines()


def test_a_job_trains_on_one_and_its_paths_travel(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_DIST_HOME", str(own / "home"))
    data = "{source: 'own_data:Faces', size: 8, labels: source, args: {labelled: true, form: tensor}}"
    (own / "job.yaml").write_text(JOB.replace("DATA", data))
    run = gan_dist.train("job.yaml", **{"every.report": "1 steps"})
    assert run.status == "succeeded"
    model = gan_dist.load(run)
    assert model.classes == ("even", "odd") and model.sample(2).shape == (2, 3, 8, 8)
    sent = JobSpec.model_validate(
        {
            **run.folder.request()["job"],
            "data": {"source": "own_data:Absent", "size": 8, "args": {"root": "x", "form": "x"}},
        }
    ).with_absolute_paths()
    assert json.loads(sent.model_dump_json())["data"]["args"] == {"root": str(own / "x"), "form": "x"}
    assert sent.data.source == "own_data:Absent"


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("Faces", {"form": "tensor", "labelled": True}, []),
        ("Sentences", {}, []),
        ("Dice", {}, ["item 0 is another one when it is read again", "item 39 is another one"]),
        ("Faces", {"form": "dict"}, ["item 0: gives a dict", "item 39: gives a dict"]),
        ("Faces", {"cuont": 1}, ["cuont: unknown key; did you mean 'count'?"]),
        ("Empty", {}, ["holds nothing; its length is 0"]),
        ("Broken", {}, ["cannot be made: "]),
    ],
)
def test_check_finds_what_would_go_wrong(own: Path, name: str, args: dict[str, Any], expected: list[str]) -> None:
    found = problems(f"own_data:{name}", "dataset" if name == "Broken" else None, (own,), **args)
    assert len(found) == len(expected), found
    for text, part in zip(found, expected, strict=True):
        assert part in text


def test_pictures_are_turned_upright(own: Path, prepared: Callable[..., Prepared]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[0] = 255
    Image.fromarray(picture).save(own / "turned.png", exif=exif)
    (own / "turned_data.py").write_text(
        "from PIL import Image\n\nclass One(list):\n    def __init__(self):\n"
        "        super().__init__([Image.open('turned.png')])\n"
    )
    found = rows(prepared(source="turned_data:One"))
    assert torch.from_numpy(found[0, 0]).float().mean(0).argmax() == 7

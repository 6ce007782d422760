"""`gan-dist init`: jobs for real folders load, and say why; what holds no images is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gan_dist.launch.init.images import ImageSurvey, Machine, choose_recipe, render_job, survey_images, write_job
from gan_dist.launch.load_job import load_job
from gan_dist.spec.job import JobSpec, TextData
from tests.helpers import SHARED

DATA = SHARED / "images"


def loaded(text: str, folder: Path) -> JobSpec:
    (folder / "job.yaml").write_text(text)
    return load_job(folder / "job.yaml")


def images(folder: Path, count: int, side: int = 40, mode: str = "RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new(mode, (side, side + 5)).save(folder / f"{number}.png")


@pytest.mark.parametrize(
    ("name", "count", "side", "channels", "labels"),
    [
        ("pomological", 7580, 64, 3, "folders"),
        ("crawl_tiles", 3984, 32, 3, "folders"),
        ("us_congress_faces", 536, 64, 3, "none"),
        ("vangogh_128", 843, 128, 3, "none"),
        ("fashion_mnist", 60_000, 28, 1, "source"),
    ],
)
def test_real_folders(name: str, count: int, side: int, channels: int, labels: str, tmp_path: Path) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not on this machine")
    found = survey_images(str(DATA / name))
    assert (found.count, found.side, found.channels, found.labels) == (count, side, channels, labels)
    for machine in (Machine(gpu=False, cpus=2), Machine(gpu=True, cpus=16)):
        spec = loaded(render_job(found, machine, choose_recipe(found, machine)), tmp_path)
        assert (spec.data.labels, spec.data.channels) == (labels, channels)


def test_digits(tmp_path: Path) -> None:
    spec = loaded(write_job("digits"), tmp_path)
    assert (spec.name, spec.data.source, spec.data.size, spec.data.labels) == (
        "dcgan-digits",
        "digits",
        16,
        "source",
    )


def test_a_folder_with_an_awkward_name(tmp_path: Path) -> None:
    folder = tmp_path / 'my "photos": #1 é'
    images(folder, 3, mode="L")
    (folder / "notes.txt").write_text("no image")
    spec = loaded(write_job(str(folder)), tmp_path)
    assert spec.data.source == str(folder)
    assert (spec.name, spec.data.size, spec.data.channels, spec.batch) == ("dcgan-my-photos-1", 32, 1, 3)


@pytest.mark.parametrize(("smallest", "labels"), [(50, "folders"), (49, "none")])
def test_classes_need_enough_images(smallest: int, labels: str, tmp_path: Path) -> None:
    images(tmp_path / "set" / "a", 60, side=8)
    images(tmp_path / "set" / "b", smallest, side=8)
    assert survey_images(str(tmp_path / "set")).labels == labels


def test_numbers_follow_images_and_machine() -> None:
    few = ImageSurvey(source="x", count=500, side=200, channels=3, labels="none", classes=0, why="", others=0)
    many = ImageSurvey(source="x", count=200_000, side=200, channels=3, labels="none", classes=0, why="", others=0)
    cpu, gpu = Machine(False, 2), Machine(True, 16)
    assert (choose_recipe(few, cpu).size, choose_recipe(few, gpu).size, choose_recipe(few, cpu, 64).size) == (
        32,
        128,
        64,
    )
    assert choose_recipe(few, gpu).few and not choose_recipe(many, gpu).few
    assert choose_recipe(few, cpu).until < choose_recipe(many, gpu).until


def test_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("words")
    (tmp_path / "lines.txt").write_text("words")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="does not exist"):
        write_job(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="no images in"):
        write_job(str(tmp_path / "empty"))
    for name in ("notes", "lines.txt"):
        with pytest.raises(ValueError, match="holds 1 sentences that can be read; a job wants 16 or more"):
            write_job(str(tmp_path / name))
    with pytest.raises(ValueError, match="none of its images can be opened"):
        write_job(str(tmp_path / "torn"))
    for size, near in ((50, "48"), ((30, 48), "32x48")):
        with pytest.raises(
            ValueError, match=f"--size .*: dcgan makes images of 16 to 256 pixels, .*; {near} is nearest"
        ):
            write_job("digits", size)


def test_images_that_are_no_squares(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (60, 40)).save(tmp_path / f"{number}.png")
    text = write_job(str(tmp_path))
    assert loaded(text, tmp_path).data.size == 32 and "--size 32x48 would keep their shape" in text
    text = write_job(str(tmp_path), (32, 48))
    assert loaded(text, tmp_path).data.size == (32, 48) and "would keep" not in text


@pytest.mark.parametrize(
    ("content", "way", "length"),
    [
        ("The cat's hat.\n" * 30 + "A dog ran, and ran on.\n" * 30, "words", 8),
        ("the cat 's hat .\na dog ran , and ran .\n" * 30, "blanks", 7),
        ("\u5e8a \u524d \u660e \u6708 \u5149\n" * 30, "blanks", 5),
        ("\u5e8a\u524d\u660e\u6708\u5149\n" * 30, "characters", 5),
    ],
)
def test_text(content: str, way: str, length: int, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text(content)
    spec = loaded(write_job(str(tmp_path / "lines.txt")), tmp_path)
    assert isinstance(spec.data, TextData)
    assert (spec.data.tokens, spec.data.length, spec.name) == (way, length, "text-lines")


def test_a_folder_of_text_in_another_encoding(tmp_path: Path) -> None:
    for name in ("good.pos", "bad.neg"):
        (tmp_path / "two" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "two" / name).write_bytes("un caf\u00e9 noir\n".encode("latin-1") * 60)
    spec = loaded(write_job(str(tmp_path / "two")), tmp_path)
    assert isinstance(spec.data, TextData)
    assert (spec.data.encoding, spec.data.labels) == ("cp1252", "files")
    with pytest.raises(ValueError, match="--size 32: is for images"):
        write_job(str(tmp_path / "two"), 32)

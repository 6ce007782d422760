"""`gan-dist init`: jobs for real folders load, and say why; what holds no images is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_dist.errors import JobError, UsageError
from gan_dist.launch.init.image_survey import ImageSurvey, survey_images, upright_share
from gan_dist.launch.init.images import render_job, write_job
from gan_dist.launch.init.recipes import Machine, Wish, choose_recipe
from gan_dist.launch.init.timing import seconds_per_image_here
from gan_dist.launch.init.training_speed import R3GAN_SECONDS, seconds_per_image
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
    for machine in (Machine(gpus=0, cpus=2), Machine(gpus=1, cpus=16)):
        spec = loaded(render_job(found, machine, choose_recipe(found, machine, Wish(), False)), tmp_path)
        assert (spec.data.labels, spec.data.channels) == (labels, channels)


def test_digits(tmp_path: Path) -> None:
    spec = loaded(write_job("digits"), tmp_path)
    assert (spec.name, spec.data.source, spec.data.size, spec.data.labels) == (
        "dcgan-digits",
        "digits",
        16,
        "source",
    )


def test_two_domains_have_a_job_of_their_own(tmp_path: Path) -> None:
    for name in ("trainA", "trainB", "testA"):
        images(tmp_path / name, 2)
    with pytest.raises(UsageError, match=r"holds two domains, .*: gan-dist submit jobs/cut\.yaml -o data\.source="):
        survey_images(str(tmp_path))


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


SURVEY = ImageSurvey(source="x", count=500, side=200, channels=3, labels="none", classes=0, why="", others=0)
CPU, GPU = Machine(0, 2), Machine(1, 16)


def test_numbers_follow_images_and_machine() -> None:
    many = replace(SURVEY, count=200_000)
    by_cpu, by_gpu = (choose_recipe(SURVEY, machine, Wish(), False) for machine in (CPU, GPU))
    assert (by_cpu.size, by_gpu.size, choose_recipe(SURVEY, CPU, Wish(64), False).size) == (32, 128, 64)
    assert by_cpu.until < choose_recipe(many, GPU, Wish(), False).until
    # StyleGAN2-ADA's README: 0.0002 * 128 * 128 / 32 = 0.10.
    assert (by_gpu.name, by_gpu.batch, by_gpu.stylegan2_gamma) == ("stylegan2", 32, 0.1)


@pytest.mark.parametrize(("side", "gamma"), [(32, 0.05), (64, 2.0), (256, 150.0), (128, 17.0), (16, 0.05)])
def test_gamma_of_r3gan(side: int, gamma: float) -> None:
    """The authors' three, the geometric mean of two of them halfway, and below the least of them that one."""
    assert choose_recipe(SURVEY, GPU, Wish(side, recipe="r3gan"), False).r3gan_gamma == gamma


def test_a_run_fits_its_time() -> None:
    for recipe, machine in (("dcgan", CPU), ("stylegan2", CPU), ("stylegan2", GPU), ("r3gan", GPU), ("fastgan", GPU)):
        found = choose_recipe(SURVEY, machine, Wish(32, 7200, recipe), False)
        assert found.seconds == pytest.approx(7200, rel=0.06), recipe  # `until` has two digits


def test_a_run_without_a_gpu_is_timed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[JobSpec, int]] = []

    def measure(job: str, workers: int) -> float:
        asked.append((loaded(job, tmp_path), workers))
        return 0.01

    monkeypatch.setattr("gan_dist.launch.init.images.this_machine", lambda: Machine(0, 2))
    text = write_job("digits", lasts="20m", overrides=["batch=48"], measure=measure)
    spec = loaded(text, tmp_path)
    assert spec.until is not None and spec.until.value == 110_000  # 0.9 * 1200 / 0.01, in two digits
    assert "here, by iterations that were timed just now." in text
    ((guessed, workers),) = asked
    assert workers == 2 and guessed.batch == 48 and guessed.generator == spec.generator
    assert "going by other machines" in write_job("digits", measure=measure) and len(asked) == 1, "nobody is in a hurry"
    monkeypatch.setattr("gan_dist.launch.init.images.this_machine", lambda: Machine(1, 2))
    assert "going by other machines" in write_job("digits", lasts="20m", measure=measure) and len(asked) == 1


@pytest.mark.slow
def test_an_image_is_timed_by_training_on_noise(tmp_path: Path) -> None:
    job = write_job("digits", 16, overrides=["batch=16"])
    one, two = (seconds_per_image_here(job, workers) for workers in (1, 2))
    assert 0 < two < 10 and 0 < one < 10
    assert not list(tmp_path.iterdir())


def test_speeds() -> None:
    """R3GAN at full width: 250 million images of 32 pixels in 4 days of 8 GPUs; half of it is 27 % of the work."""
    assert 250e6 * seconds_per_image("r3gan", 32, 768, gpus=8, cpus=1) == pytest.approx(4 * 86400)
    narrow = seconds_per_image("r3gan", 256, 384, gpus=1, cpus=1)
    assert narrow == pytest.approx(0.27 * 57.6 * R3GAN_SECONDS / 1000)
    # NVIDIA's two rows of one A100.
    assert seconds_per_image("stylegan2", 256, 512, gpus=1, cpus=1) == pytest.approx(12.53e-3, rel=0.01)
    assert seconds_per_image("dcgan", 64, 32, gpus=0, cpus=2) == pytest.approx(2.8e-3 * 4 / 2)


def test_upright_share() -> None:
    """Bars on the left have their nearest as it is, bars whose mirror image is there too have it mirrored, and of equal
    images neither is nearer."""
    left = np.zeros((4, 4, 4))
    left[:, :, 0] = np.arange(4)[:, None] / 10 + 1
    assert upright_share(left) == 1
    assert upright_share(np.concatenate([left, left[:, :, ::-1]])) == 0
    assert upright_share(np.ones((5, 4, 4))) == 0.5


def test_a_recipe_of_the_users_own(tmp_path: Path) -> None:
    for recipe, generator in (("projected", "fastgan"), ("r3gan", "r3gan"), ("fastgan", "fastgan")):
        spec = loaded(write_job("digits", 32, recipe=recipe), tmp_path)
        assert (spec.generator.use, spec.name) == (generator, f"{recipe}-digits")
    assert loaded(write_job("digits", recipe="fastgan"), tmp_path).data.size == 32  # its D takes no less
    with pytest.raises(ValueError, match="--recipe 'stylegan': there is no such recipe; did you mean 'stylegan2'"):
        write_job("digits", recipe="stylegan")
    assert "r3gan makes 8 to 256" in write_job("digits", 8)  # which dcgan does not


def test_overrides(tmp_path: Path) -> None:
    """Laid on the text, whose comments stay; choices that depend on size and batch follow them."""
    text = write_job(
        "digits",
        lasts="20m",
        recipe="stylegan2",
        overrides=["data.size=32", "batch=16", "keep.last=3", "metrics.0.samples=3k", "seed=7", "ema=null"],
    )
    spec = loaded(text, tmp_path)
    assert (spec.data.size, spec.batch, spec.keep.last, spec.seed, spec.ema) == (32, 16, 3, 7, None)
    assert (spec.metrics[0].use, spec.metrics[0].samples.value, len(spec.metrics)) == ("kid", 3000, 2)
    assert spec.penalties[0].args["gamma"] == 0.013  # 0.0002 * 32 * 32 / 16
    assert "# lazy: applied seldom" in text and "seed: 7 # -o" in text and "--size 32 --for 20min" in text
    assert write_job("digits", overrides=["batch=64"]) == write_job("digits").replace(
        "but take fewer steps", ""
    ).replace("larger ones train more stably, ", "yours")
    with pytest.raises(JobError, match=r"optimizer.lrr: unknown key"):
        write_job("digits", overrides=["optimizer.lrr=1"])
    with pytest.raises(ValueError, match=r"-o data.size: 3 is out of range"):
        write_job("digits", overrides=["data.size=3"])
    with pytest.raises(ValueError, match=r"--for: unknown unit 'w' in '2w'"):
        write_job("digits", lasts="2w")


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
        with pytest.raises(ValueError, match="holds 1 sentence that can be read; a job wants 16 or more"):
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
    assert loaded(write_job(str(tmp_path / "two"), overrides=["batch=5"]), tmp_path).batch == 5
    with pytest.raises(ValueError, match="--size 32: is for images"):
        write_job(str(tmp_path / "two"), 32)
    with pytest.raises(ValueError, match="--recipe dcgan: is for images"):
        write_job(str(tmp_path / "two"), recipe="dcgan")

"""`gan-dist evaluate`: a run equals what it logged, folders are compared as they are, and faults are told in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_dist
from gan_dist.distributed.runtime import LocalRuntime
from gan_dist.evaluation.inputs import read_image_folder, samples_of_folder
from gan_dist.evaluation.metric_runner import MetricRunner
from gan_dist.evaluation.overlap import find_nearest_neighbors
from gan_dist.generation.export import export
from gan_dist.metrics.features.classifiers import SEED
from gan_dist.metrics.features.random_network import RandomNetwork
from gan_dist.runs.run_folder import RunFolder
from gan_dist.runs.storage import Folder
from gan_dist.spec.job import MetricSpec
from tests.helpers import CPU, Cli

PRDC = ("precision", "recall", "density", "coverage")
JOB = """
name: asked
data: {source: digits, size: 8, labels: source}
generator: {use: mlp, hidden: 8, layers: 1, z: 4}
discriminator: {use: mlp, hidden: 8, layers: 1}
objective: hinge
ema: {half_life: 100}
batch: 8
until: 4 steps
metrics: [{use: frechet, samples: 100}, {use: kid, samples: 200}]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    root = tmp_path_factory.mktemp("evaluate")
    (root / "job.yaml").write_text(JOB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_DIST_HOME", str(root / "home"))
        yield gan_dist.train(root / "job.yaml", storage=str(root / "runs")).folder


@pytest.fixture
def ask(cli: Cli) -> Cli:
    return partial(cli, "evaluate")


def pictures(folder: Path, count: int, size: int = 8, colour: bool = False, seed: int = 0) -> str:
    folder.mkdir()
    numbers = np.random.RandomState(seed)
    for number in range(count):
        pixels = numbers.randint(0, 256, (size, size, 3) if colour else (size, size)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(folder)


@pytest.mark.slow
def test_a_run_is_what_it_logged(run: RunFolder, ask) -> None:
    logged = json.loads(run.folder.read("scalars.jsonl").splitlines()[-1])
    code, out, err = ask(run.uri, "--json")
    assert code == 0, err
    found = json.loads(out)
    names = ["fd_random_100", "kid_all_pairs_random_200", "kid_all_pairs_se_random_200"]
    assert list(found["metrics"]) == names and found["samples_seen"] == 32 and found["samples_of_b"] == 1797
    assert found["metrics"] == pytest.approx({name: logged[f"metric/{name}"] for name in names}, rel=1e-9)
    checkpoint = f"{run.uri}/checkpoints/{run.checkpoints().names()[-1]}"
    assert json.loads(ask(checkpoint, "--json")[1])["metrics"] == found["metrics"]


@pytest.mark.slow
def test_real_images_stand_beside(run: RunFolder, ask) -> None:
    """One half of the digits against the other, by the same metrics; a run of four steps is far worse."""
    asked = ("--metric", "fd", "--metric", "kid", "--metric", "prdc", "--n", "800", "--json")
    found = json.loads(ask(run.uri, *asked)[1])
    metrics, real = found["metrics"], found["real"]
    assert metrics.keys() == real.keys()
    assert real["fd_random_800"] < metrics["fd_random_800"] / 20 and abs(real["kid_all_pairs_random_800"]) < 0.01
    assert real["precision_random_800"] > 0.8 and real["coverage_random_800"] > 0.8
    _, out, _ = ask(run.uri, "--metric", "fd")
    assert out.splitlines()[1].split() == ["metric", "model", "real"]


def test_halves_of_the_data_are_compared_as_two_folders_are(tmp_path: Path, ask) -> None:
    both = pictures(tmp_path / "both", 40)
    found = json.loads(ask(both, both, "--metric", "fd", "--n", "20", "--json")[1])["real"]
    order = np.random.RandomState(SEED).permutation(40)
    names = sorted(path.name for path in Path(both).iterdir())
    for half, places in (("a", order[20:]), ("b", order[:20])):
        (tmp_path / half).mkdir()
        for place in places:
            (tmp_path / half / names[place]).write_bytes((Path(both) / names[place]).read_bytes())
    halves = json.loads(ask(tmp_path / "a", tmp_path / "b", "--metric", "fd", "--json")[1])["metrics"]
    assert list(found.values()) == pytest.approx(list(halves.values()), rel=1e-6)


@pytest.mark.slow
def test_accuracy_and_paths_of_a_run(run: RunFolder, ask) -> None:
    code, out, err = ask(run.uri, "--metric", "cas", "--n", "100", "--json")
    found = json.loads(out)["metrics"]
    assert code == 0 and list(found) == ["cas_100", "cas_real_100"] and all(0 <= one <= 1 for one in found.values()), (
        err
    )
    code, _, err = ask(run.uri, "--metric", "ppl", "--n", "70")
    assert code == 2 and "'ppl' in w needs a generator with styles, such as stylegan2; take space: z" in err


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("{use: random, x: 3}", "--features: x: unknown key"),
        ("{random: 1}", "is no mapping with `use`"),
        ("{use: [", "is no mapping with `use`"),
        ("pixels:weights.pt", "pixels takes no file"),
        ("vgg16:/nowhere/w.pt", "'/nowhere/w.pt' is not there"),
        ("rndom", "unknown extractor 'rndom'; did you mean 'random'?"),
    ],
)
def test_features_are_a_name_a_file_or_a_mapping(run: RunFolder, ask, features: str, message: str) -> None:
    code, _, err = ask(run.uri, "--features", features)
    assert code == 2 and message in err


def test_features_as_a_mapping_are_those_of_the_job(run: RunFolder, ask) -> None:
    plain, mapped = (
        json.loads(ask(run.uri, "--metric", "fd", "--n", "50", "--features", features, "--json")[1])["metrics"]
        for features in ("random", "{use: random}")
    )
    assert plain == mapped


def test_fid_is_the_published_protocol_and_says_what_it_needs(
    run: RunFolder, ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("fid", "fid_legacy", "fid_clean", "inception_score_clean"):
        code, _, err = ask(run.uri, "--metric", name)
        assert code == 2 and "extractor 'inception': features 'inception' needs" in err
    code, _, err = ask(run.uri, "--metric", "fid_clen")
    assert code == 2 and "did you mean 'fid_clean'?" in err


def test_a_table_for_people(run: RunFolder, ask) -> None:
    code, out, _ = ask(run.uri, "--metric", "fd", "--metric", "precision", "--n", "50")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert names == ["metric", "fd_random_50", *(f"{name}_random_50" for name in PRDC), "real:"]


def test_folders(tmp_path: Path, run: RunFolder, ask) -> None:
    one, two = pictures(tmp_path / "one", 30), pictures(tmp_path / "two", 30, seed=1)
    code, out, err = ask(one, two, "--metric", "frechet", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"].keys() == {"fd_random_30_vs_two"}
    assert json.loads(ask(one, one, "--metric", "fd", "--json")[1])["metrics"]["fd_random_30_vs_one"] < 1e-4
    code, out, err = ask(run.uri, one, "--json")
    assert code == 0 and "fd_random_100_vs_one" in json.loads(out)["metrics"]


@pytest.mark.slow
def test_faults_are_told_in_words(tmp_path: Path, run: RunFolder, ask) -> None:
    few, large = pictures(tmp_path / "few", 3), pictures(tmp_path / "large", 3, size=16)
    colour, lone = pictures(tmp_path / "colour", 3, colour=True), pictures(tmp_path / "lone", 1)
    (tmp_path / "empty").mkdir()
    mixed = pictures(tmp_path / "mixed", 3)
    Image.new("L", (8, 9)).save(tmp_path / "mixed" / "other.png")
    broken = pictures(tmp_path / "broken", 3)
    (tmp_path / "broken" / "9.png").write_bytes(b"no picture")
    faults = [
        ((few,), "is a folder of images; name a second one"),
        ((few, few), "kid_all_pairs_random_3_vs_few needs at least 20 generated samples, and there are 3"),
        ((few, large), "images of 8x8 grey and images of 16x16 grey"),
        ((few, colour), "images of 8x8 grey and images of 8x8 RGB"),
        ((lone, few, "--metric", "fd"), "fd_random_1_vs_few needs at least 2 generated samples, and there are 1"),
        ((few, lone, "--metric", "fd"), "fd_random_3_vs_lone needs at least 2 real samples, and there are 1"),
        ((str(tmp_path / "empty"), few), "no images in"),
        ((mixed, few), "several sizes (height x width): 0.png is 8x8, other.png is 9x8"),
        ((broken, few), "9.png' cannot be read"),
        ((few, few, "--n", "4"), "--n 4: "),
        ((run.uri, "--metric", "frechett"), "unknown metric 'frechett'; did you mean 'frechet'?"),
        ((run.uri, "--features", "inceptoin"), "unknown extractor 'inceptoin'; did you mean 'inception'?"),
        ((run.uri, str(tmp_path / "nowhere")), "is no folder of images"),
    ]
    for words, message in faults:
        code, _, err = ask(*words)
        assert code == 2 and message in err, (words, err)
    assert ask("no-such-run")[0] == 4


@pytest.mark.slow
def test_what_has_left_its_run_is_what_the_run_logged(
    tmp_path: Path, run: RunFolder, ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exported generator prepares its data anew, in our home."""
    monkeypatch.setenv("GAN_DIST_HOME", str(tmp_path / "home"))
    export(run.uri, tmp_path / "out")
    names = ("--metric", "fd", "--metric", "class_fd")
    code, out, err = ask(str(tmp_path / "out"), *names, "--json")
    assert code == 0, err
    expected = json.loads(ask(run.uri, *names, "--json")[1])["metrics"]
    assert json.loads(out)["metrics"] == pytest.approx(expected, rel=1e-9)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "samples.png",
    ]


def test_every_metric_that_fits_two_folders(tmp_path: Path, ask) -> None:
    one, two = pictures(tmp_path / "one", 60), pictures(tmp_path / "two", 60, seed=1)
    code, out, err = ask(one, two, "--json")
    assert code == 0, err
    values = [
        "fd",
        "kid_all_pairs",
        "kid_all_pairs_se",
        *PRDC,
        "memorised",
        "nearest",
        "diversity",
        "diversity_of_real",
    ]
    assert list(json.loads(out)["metrics"]) == [f"{value}_random_60_vs_two" for value in values]
    assert "warning: fd_random_60_vs_two: 60 samples are too few for 384 features; it is far too high" in err


def test_folders_are_as_far_apart_as_a_peer_says(tmp_path: Path, ask) -> None:
    """torch-fidelity reads the same folders, and is given our features."""
    peer = pytest.importorskip("torch_fidelity", reason="torch-fidelity is not here")
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Ours(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.network = RandomNetwork(size=8)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("random",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "random"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.network(pixels),)

    peer.register_feature_extractor("ours", Ours)
    one = pictures(tmp_path / "one", 500, colour=True)
    two = pictures(tmp_path / "two", 500, colour=True, seed=1)
    for path in list(Path(two).iterdir())[:250]:
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)
    theirs = peer.calculate_metrics(
        input1=one,
        input2=two,
        feature_extractor="ours",
        fid=True,
        prc=True,
        prc_neighborhood=5,
        cuda=False,
        cache=False,
        verbose=False,
    )
    found = json.loads(ask(one, two, "--metric", "fd", "--metric", "prdc", "--json")[1])["metrics"]
    assert found["fd_random_500_vs_two"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert (tuple(found[f"{name}_random_500_vs_two"] for name in ("precision", "recall"))) == pytest.approx(
        (theirs["precision"], theirs["recall"]), abs=2e-3
    )


def test_neighbours_are_shown(tmp_path: Path, run: RunFolder, ask) -> None:
    path = tmp_path / "near.png"
    code, out, err = ask(run.uri, "--metric", "fd", "--n", "100", "--neighbours", str(path))
    assert code == 0 and f"neighbours: {path}" in out, err
    width, height = Image.open(path).size
    assert width > 400 and height > width


def test_a_sample_is_shown_beside_the_image_it_is_a_copy_of(tmp_path: Path) -> None:
    one = pictures(tmp_path / "one", 100)
    a, b = samples_of_folder(one, Folder.at(tmp_path / "cache")), read_image_folder(one)
    drawn: list[range] = []

    def draw(part: range) -> torch.Tensor:
        drawn.append(part)
        return samples.draw(part)

    samples, a = a, replace(a, draw=draw)
    spec = MetricSpec.model_validate({"use": "memorised", "samples": 100})
    found = find_nearest_neighbors(
        MetricRunner(
            metrics=[spec], facts=b.facts, cache=a.cache, run=LocalRuntime(CPU, lambda event: None, lambda: False)
        ),
        a,
        b,
    )
    assert (found.distances == 0).all() and sorted(found.places) == list(range(100))
    # What is shown is drawn in the chunks in which its features were: a generator's samples differ from one to another.
    assert set(drawn) == {range(64), range(64, 128)} and len(drawn) == 2 + 8
    assert np.array_equal(b.rows(found.places)[0], a.draw(range(100)))


@pytest.mark.slow
def test_without_metrics_what_does_not_go_with_the_data_is_left_out(tmp_path: Path, ask) -> None:
    """Ten samples of each class cannot be expected of so rare a one, and a folder has no classes to compare by."""
    for name, many in (("often", 60), ("rarely", 3)):
        (tmp_path / "data").mkdir(exist_ok=True)
        pictures(tmp_path / "data" / name, many)
    job = JOB.replace("source: digits", f"source: {tmp_path / 'data'}").replace("labels: source", "labels: folders")
    (tmp_path / "job.yaml").write_text(job[: job.index("metrics:")])
    run = gan_dist.train(tmp_path / "job.yaml", storage=str(tmp_path / "runs")).folder
    for others in ((), (str(tmp_path / "data" / "often"),)):
        code, out, err = ask(run.uri, *others, "--n", "50", "--json")
        assert code == 0, err
        assert {name.partition("_random")[0] for name in json.loads(out)["metrics"]} >= {
            "fd",
            "kid_all_pairs",
            "memorised",
        }
        assert "class_fd" not in out
    code, _, err = ask(run.uri, "--n", "1")
    assert code == 2 and "needs at least" in err

"""What images are compared by: shapes, sizes, sameness, training, and honest refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_dist.metrics.features.classifiers import DigitClassifier
from gan_dist.metrics.features.pretrained import INCEPTION_KNOWN, Inception, clean_resize
from gan_dist.metrics.features.random_network import RandomNetwork
from tests.helpers import rows_of, small


def pixels(count: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    numbers = np.random.RandomState(seed).randint(0, 256, (count, channels, size, size))
    return torch.from_numpy(numbers.astype(np.uint8))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "dim"), [(8, 384), (16, 512), (20, 512), (64, 768)])
def test_random_features_of_any_size(size: int, channels: int, dim: int) -> None:
    found = RandomNetwork(size=size)(pixels(3, channels, size))
    assert found.shape == (3, dim) and torch.isfinite(found).all() and found.std(0).min() > 0


def test_random_features_are_the_same_everywhere() -> None:
    """The first weights and one number, as they were on the machine that wrote this test."""
    network = RandomNetwork(size=8)
    digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in network.buffers())).hexdigest()
    assert digest[:16] == "d07e75d00c65c948"
    assert network(pixels(1, 3, 8)).mean().item() == pytest.approx(0.181275, abs=1e-5)


def test_grey_is_the_same_as_grey_in_three_channels() -> None:
    grey = pixels(2, 1, 16)
    network = RandomNetwork(size=16)
    assert torch.equal(network(grey), network(grey.expand(-1, 3, -1, -1)))


def test_random_features_of_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 7 pixels are too small for features 'random'; at least 8"):
        RandomNetwork(size=7)


@pytest.mark.parametrize("size", [4, 8, 33])
def test_classifier_takes_any_size(size: int) -> None:
    assert DigitClassifier(channels=1, classes=2)(pixels(3, 1, size)).shape == (3, 128)


@pytest.mark.slow
def test_classifier_learns_the_digits_and_says_how_well() -> None:
    rows = rows_of(small(data={"source": "digits", "size": 16, "labels": "source"}))
    torch.manual_seed(0)
    found = DigitClassifier(channels=1, classes=10).fit(rows.rows, rows.facts.count)
    assert found["accuracy"] > 0.95


def test_classifier_needs_labels() -> None:
    with pytest.raises(ValueError, match="learns from labels, and the data have none; use features: random"):
        DigitClassifier(channels=1, classes=0)


def test_inception_says_which_file_goes_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError) as error:
        Inception()
    wanted = tmp_path / "hub" / "checkpoints" / INCEPTION_KNOWN.file
    assert f"{str(wanted)!r} is not there; get them: gan-dist download inception" in str(error.value)


def test_inception_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.pth").write_bytes(b"anything")
    with pytest.raises(ValueError, match="its SHA-256 does not begin with 6726825d"):
        Inception(weights=str(tmp_path / "other.pth"))


def test_inception_by_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way there, with weights of no meaning: those that mean something are not at hand here."""
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not here")
    blank = {}
    monkeypatch.setattr(package.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: blank.update(state))
    path = tmp_path / "blank.pth"
    torch.save({"fc.bias": torch.zeros(1008)}, path)
    found = Inception(weights=str(path), checksum=sha256(path))(pixels(2, 1, 16))
    assert found.shape == (2, 2048) and blank.keys() == {"fc.bias"}


def test_clean_features_are_those_of_the_same_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 299 pixels nothing is resized, and both ways are one; torch-fidelity's own forward takes bytes alone."""
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not here")
    monkeypatch.setattr(package.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    path = tmp_path / "blank.pth"
    torch.save({"fc.bias": torch.zeros(1008)}, path)
    torch.manual_seed(0)
    legacy = Inception(weights=str(path), checksum=sha256(path))
    clean = Inception(resize="clean", weights=str(path), checksum=sha256(path))
    clean.network = legacy.network
    shown = pixels(1, 3, 299)
    assert torch.allclose(clean(shown), legacy(shown), rtol=1e-5)
    assert not torch.allclose(clean(pixels(1, 1, 16)), legacy(pixels(1, 1, 16)), rtol=1e-3)


@pytest.mark.parametrize("side", [16, 320, 700])
def test_clean_resizing_is_pillow_s_in_floating_point(side: int) -> None:
    shown = pixels(1, 3, side)
    found = clean_resize(shown, 299)[0]
    for channel, one in zip(shown[0], found, strict=True):
        picture = Image.fromarray(channel.numpy().astype(np.float32), mode="F")
        wanted = np.asarray(picture.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
        assert np.abs(one.numpy() - wanted).max() < 2e-3
    assert (found != found.round()).any() and found.min() >= 0 and found.max() <= 255

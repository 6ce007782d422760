"""Extractors by published weights, end to end with files that the test makes: the way there, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gan_dist.metrics.features import pretrained
from gan_dist.metrics.features.pretrained import Clip, Dinov2, Lpips, Resnet50, Vgg16
from gan_dist.registry.metric_names import metric_value_names
from gan_dist.spec.job import MetricSpec
from tests.metrics.features.test_extractors import pixels, sha256

EXTRACTORS: dict[str, Callable[..., nn.Module]] = {
    "vgg16": Vgg16,
    "resnet50": Resnet50,
    "clip": Clip,
    "dinov2": Dinov2,
    "lpips": Lpips,
}
FILES = {
    "vgg16": "vgg16-397923af.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "clip": "ViT-B-32.pt",
    "dinov2": "dinov2-large-399fba97.safetensors",
    "lpips": "alexnet-owt-7be5be79.pth",
}


def constant(network: nn.Module) -> dict[str, Tensor]:
    """Weights of a network on the meta device: one number each, seen as a whole tensor, so that the file is small."""
    return {name: torch.full((), 0.01, device="cpu").expand(one.shape) for name, one in network.state_dict().items()}


def saved(tensors: dict[str, Any], path: Path) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_message_says_which_file_goes_where(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, so that it is the same with and without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError) as error:
        EXTRACTORS[name]()
    wanted = tmp_path / "hub" / "checkpoints" / FILES[name]
    assert f"'{wanted!s}' is not there; get them: gan-dist download {name}, or" in str(error.value)
    assert f"features: {{use: {name}, weights: FILE}}" in str(error.value)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_wrong_or_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    path = saved({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"is not {FILES[name]}: its SHA-256 does not begin with"):
        EXTRACTORS[name](weights=str(path))
    right = sha256(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is another file or damaged: its SHA-256 does not begin with"):
        EXTRACTORS[name](weights=str(path), checksum=right)
    with pytest.raises(ValueError, match="must be the first 8 or more digits of a SHA-256"):
        EXTRACTORS[name](weights=str(path), checksum=right[:7])


@pytest.mark.parametrize("name", ["resnet50", "dinov2", "lpips"])
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    if (package := {"dinov2": "timm", "lpips": "lpips"}.get(name)) is not None:
        pytest.importorskip(package, reason=f"{package} is not here")
    path = saved({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"holds the weights of another network: \d+ of \d+ are absent"):
        EXTRACTORS[name](weights=str(path), checksum=sha256(path))
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(ValueError, match="cannot be read as weights of torch"):
        EXTRACTORS[name](weights=str(tmp_path / "text.pth"), checksum=sha256(tmp_path / "text.pth"))


@pytest.mark.slow
def test_resnet50(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50().eval()
    path = saved(network.state_dict(), tmp_path / "resnet50.pth")
    ours = Resnet50(weights=str(path), checksum=sha256(path)).eval()
    shown = pixels(2, 3, 224)
    found = ours(shown)
    assert found.shape == (2, 2048) and ours(pixels(2, 1, 16)).shape == (2, 2048)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    theirs = network((shown / 255 - mean) / deviation)
    assert torch.allclose(ours.logits(found), theirs, atol=1e-4)


def test_vgg16(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity", reason="torch-fidelity is not here")
    from torchvision.models import vgg16

    with torch.device("meta"):
        path = saved(constant(vgg16()), tmp_path / "vgg16.pth")
    found = Vgg16(weights=str(path), checksum=sha256(path))(pixels(1, 1, 16))
    assert found.shape == (1, 4096) and torch.isfinite(found).all()


def test_clip(tmp_path: Path) -> None:
    package = pytest.importorskip("torch_fidelity.feature_extractor_clip", reason="torch-fidelity is not here")

    class Whole(nn.Module):
        """A small network of both halves, as the published file holds them."""

        def __init__(self) -> None:
            super().__init__()
            self.visual = package.VisionTransformer(32, 8, 64, 1, 1, 16)
            self.text_projection = nn.Parameter(torch.zeros(8, 16))

        def forward(self, x: Tensor) -> Tensor:
            return x

    torch.manual_seed(0)
    path = tmp_path / "clip.pt"
    torch.jit.trace_module(Whole(), {"forward": torch.zeros(1)}).save(str(path))
    network = Clip(weights=str(path), checksum=sha256(path))
    assert network(pixels(2, 3, 40)).shape == (2, 16) and network(pixels(2, 1, 16)).shape == (2, 16)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="holds no weights of CLIP"):
        Clip(weights=str(path), checksum=sha256(path))


def test_dinov2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the smallest of its networks, and weights as its authors name them."""
    timm = pytest.importorskip("timm", reason="timm is not here")
    monkeypatch.setattr(pretrained, "NETWORK", "vit_small_patch14_dinov2")
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch14_dinov2", img_size=224, num_classes=0)
    path = saved({**network.state_dict(), "mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2.pth")
    found = Dinov2(weights=str(path), checksum=sha256(path)).eval()(pixels(1, 1, 16))
    assert found.shape == (1, 384) and torch.isfinite(found).all() and found.std() > 0


@pytest.mark.slow
def test_dinov2_by_the_names_of_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that `gan-dist download dinov2` fetches has these names; its library sees the same."""
    pytest.importorskip("timm", reason="timm is not here")
    transformers = pytest.importorskip("transformers", reason="transformers is not here")
    monkeypatch.setattr(pretrained, "NETWORK", "vit_small_patch14_dinov2")
    torch.manual_seed(0)
    form = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224, patch_size=14)
    theirs = transformers.Dinov2Model(form).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)  # none is 0 or 1, so that each has to be in its place
    theirs.save_pretrained(tmp_path)  # names of its own objects have changed since; those of files have not
    path = tmp_path / "model.safetensors"
    shown = pixels(2, 3, 224)
    found = Dinov2(weights=str(path), checksum=sha256(path)).eval()(shown)
    with torch.no_grad():
        wanted = theirs(pretrained.normalize_imagenet(shown, 224)).last_hidden_state[:, 0]
    assert found.shape == (2, 384) and torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))
    lacking = {name: one for name, one in load_file(path).items() if "layer.3.attention.attention.key" not in name}
    save_file(lacking, path)
    with pytest.raises(ValueError, match="holds no weights of DINOv2"):
        Dinov2(weights=str(path), checksum=sha256(path))


def test_the_squared_distance_of_features_is_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("lpips", reason="lpips is not here")
    from torchvision.models import alexnet

    torch.manual_seed(0)
    trunk = alexnet()
    path = saved(trunk.state_dict(), tmp_path / "alexnet.pth")
    ours = Lpips(size=40, weights=str(path), checksum=sha256(path)).eval()
    # The library's own way to the weights is a download; it is given the same file.
    monkeypatch.setattr("torchvision.models.alexnet", lambda **_: trunk)
    theirs = package.LPIPS(net="alex", verbose=False)
    one, other = pixels(3, 3, 40), pixels(3, 3, 40, seed=1)
    wanted = theirs(one / 127.5 - 1, other / 127.5 - 1).flatten()
    assert wanted.min() > 0 and torch.allclose((ours(one) - ours(other)).square().sum(1), wanted, rtol=1e-4)
    with pytest.raises(ValueError, match="images of 16 pixels are too small for features 'lpips'; at least 32"):
        Lpips(size=16)


def test_a_checksum_of_ones_own_is_in_the_name() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    features = {"use": "inception", "weights": "my.pth", "checksum": digest}
    spec = MetricSpec.model_validate({"use": "frechet", "features": features, "samples": "50k"})
    assert list(metric_value_names(spec)) == [f"fd_inception-{digest[:8]}-legacy_50k"]
    published = MetricSpec.model_validate({"use": "class_score", "features": "inception", "samples": "50k"})
    assert list(metric_value_names(published)) == ["inception_score_legacy", "inception_score_sd_legacy"]
    fewer = MetricSpec.model_validate({"use": "class_score", "features": "classifier", "samples": "5k"})
    assert list(metric_value_names(fewer)) == ["class_score_classifier_5k", "class_score_sd_classifier_5k"]

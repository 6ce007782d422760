"""The codec of latents: between the maps that networks see and pictures that people and metrics see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from gan_dist.data.encoding import image
from gan_dist.data.facts import DataFacts, ImageFacts, LatentFacts
from gan_dist.data.ingest import Ingest
from gan_dist.data.latents import DEVIATION
from gan_dist.data.sources.own_datasets import told
from gan_dist.distributed.randomness import Rng
from gan_dist.errors import DataError, StorageError, UsageError
from gan_dist.networks.image.autoencoder import KlAutoencoder
from gan_dist.registry.lookup import build_component, check_arguments
from gan_dist.runs.storage import Folder
from gan_dist.spec.data import CodecSpec
from gan_dist.spec.image_size import Size

WEIGHTS, CONFIG = "codec.safetensors", "codec.json"
AT_ONCE = 64
LEAST_PSNR = 12.0  # dB; grey noise of the same spread as a picture has about 8
TRIED = 64
NO_NUMBER = torch.zeros(())


def codec_files(network: nn.Module, config: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the record of latents says of their codec, and the files of it that lie beside them.

    Args:
        config: by what `built_codec` builds it: its `arguments`, and of a person's own class the name as `use`.
    """
    content = save({name: one.detach().clone().contiguous() for name, one in network.state_dict().items()})
    written = json.dumps(config).encode()
    known = {"source": source, "checksum": _checksum(content, written)}
    return known | ({"use": config["use"]} if "use" in config else {}), {WEIGHTS: content, CONFIG: written}


def _checksum(content: bytes, config: bytes) -> str:
    return hashlib.sha256(content + config).hexdigest()


def built_codec(config: Mapping[str, Any], size: Size, channels: int) -> nn.Module:
    """An autoencoder of pictures of a size and channels, whose weights are to come. A class of a person's own is
    imported: whoever calls has seen to it that the job names it.

    Raises:
        UsageError: there is no such class, or it takes other arguments.
        DataError: their class cannot be made, or lacks what an autoencoder has.
    """
    arguments = config["arguments"]
    if "use" not in config:
        return KlAutoencoder(**arguments)
    use = config["use"]
    spec = CodecSpec.model_validate({"use": use, **arguments})
    if wrong := check_arguments("network", use, spec.args):
        raise UsageError("; ".join(f"data.encode.{key}: {text}" for key, text in wrong))
    try:
        network: nn.Module = build_component("network", use, spec.args, {"size": size, "channels": channels})
    except UsageError:
        raise
    except Exception as error:  # it is somebody else's code
        raise DataError(f"data.encode: {use!r} cannot be made: {told(error, use)}") from error
    if missing := [name for name in ("encode", "decode") if not callable(getattr(network, name, None))]:
        raise DataError(f"data.encode: {use!r} is no autoencoder: it has no method {missing[0]}")
    return network


class LatentCodec:
    """A trained autoencoder, and how its maps are scaled for networks.

    Args:
        network: frozen, in evaluation mode.
        mean, deviation: of each channel of what it makes.
    """

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        self.network: Any = network
        self.shift, self.scale = mean.view(-1, 1, 1), (DEVIATION / deviation).view(-1, 1, 1)

    @classmethod
    def of(cls, facts: LatentFacts, device: torch.device) -> LatentCodec:
        """The codec of prepared latents, as it lies beside them.

        Raises:
            DataError: it is gone, or another one.
        """
        record, folder = facts.codec_record, Folder.at(facts.codec_record["where"])
        try:
            content, written = folder.read(WEIGHTS), folder.read(CONFIG)
        except (OSError, StorageError) as error:
            raise DataError(
                f"data.source: the codec of these latents is no longer in {folder.uri!r} ({error}); put that folder "
                "back, or prepare the latents anew"
            ) from error
        config = json.loads(written) if _checksum(content, written) == record["checksum"] else {}
        if config.get("use") != record.get("use") or "arguments" not in config:
            raise DataError(f"data.source: {folder.uri!r} holds another codec than that of these latents")
        network = built_codec(config, facts.picture_size, facts.picture_channels)
        try:
            network.load_state_dict(load(content))
        except RuntimeError as error:
            raise DataError(
                f"data.encode: {record.get('use')!r} is built otherwise now than when these latents were made; prepare "
                f"them anew: {error}"
            ) from error
        numbers = (torch.tensor(record[name], device=device) for name in ("mean", "deviation"))
        return cls(network.to(device).eval().requires_grad_(False), *numbers)

    def draw(self, stored: Tensor, rng: Rng) -> Tensor:
        """Stored means and deviations [B, 2c, h, w] to what networks see [B, c, h, w], drawn anew each time."""
        mean, deviation = stored.chunk(2, 1)
        return self.normalised(mean + deviation * rng.normal(*mean.shape[1:]).to(mean.dtype))

    def normalised(self, z: Tensor) -> Tensor:
        """Maps as the network makes them to those that generators are trained on: mean 0, deviation 0.5."""
        return (z - self.shift.to(z)) * self.scale.to(z)

    def decode(self, z: Tensor) -> Tensor:
        """What generators make [B, c, h, w] to pictures [B, C, H, W], about in [-1, 1], some at a time; differentiable
        by z."""
        like = _first_number(self.network, self.shift)
        raw = (z / self.scale.to(z) + self.shift.to(z)).to(like.device, like.dtype)
        # A program is for any batch, which could not be cut into a number of parts.
        parts = [raw] if torch.compiler.is_exporting() else torch.split(raw, AT_ONCE)
        return torch.cat([self.network.decode(part) for part in parts])

    def pictures(self, stored: Tensor) -> Tensor:
        """Stored latents to pictures, uint8 [B, C, H, W]: those of the means."""
        mean, _ = stored.float().chunk(2, 1)
        return image.decode(self.decode(self.normalised(mean.to(self.shift.device))))


def encoder_of(network: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Pictures uint8 [N, C, H, W] to means and deviations [N, 2c, h, w]."""
    like = _first_number(network)

    @torch.no_grad()
    def encode(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        mean, log_variance = network.encode(image.encode(torch.from_numpy(pictures), like.device, like.dtype)).chunk(
            2, 1
        )
        found: NDArray[np.float32] = torch.cat([mean, (log_variance / 2).exp()], 1).float().cpu().numpy()
        return found

    return encode


def _first_number(network: nn.Module, otherwise: Tensor = NO_NUMBER) -> Tensor:
    """A tensor of the device and type that a network computes in; one of a person's own may have none."""
    own = (one for one in chain(network.parameters(), network.buffers()) if one.is_floating_point())
    return next(own, otherwise)


def check_inverts(network: Any, pictures: NDArray[np.uint8], source: str) -> float:
    """The peak signal-to-noise ratio of what comes back of pictures uint8 [N, C, H, W], in dB.

    Raises:
        DataError: the codec does not take them, what it makes is no map of means and log-variances or no such
            pictures, or too little of them comes back.
    """
    chosen = torch.from_numpy(pictures[:TRIED])
    like = _first_number(network)
    given = image.encode(chosen, like.device, like.dtype)
    try:
        with torch.no_grad():
            known = network.encode(given)
            if wrong := map_problem(known, given):
                raise DataError(f"encode: {source!r} {wrong}")
            back = network.decode(known.chunk(2, 1)[0])
    except DataError:
        raise
    except Exception as error:  # it may be somebody else's code
        why = told(error, source)
        raise DataError(f"encode: {source!r} does not take images of {list(chosen.shape[1:])}: {why}") from error
    if back.shape != given.shape:
        raise DataError(f"encode: {source!r} makes {list(back.shape[1:])} of images of {list(given.shape[1:])}")
    apart = (image.decode(back).float() - chosen.float()).square().mean().item()
    found = float("inf") if apart == 0 else 10 * float(np.log10(255**2 / apart))
    if not found >= LEAST_PSNR:
        raise DataError(
            f"encode: {source!r} does not bring these images back: {found:.1f} dB, at least {LEAST_PSNR:g} are wanted; "
            "train the autoencoder longer, or on such images"
        )
    return found


def map_problem(known: Tensor, given: Tensor) -> str:
    """What is wrong with what an autoencoder makes of pictures [B, C, H, W], in words; empty where nothing is."""
    if known.ndim == 4 and len(known) == len(given) and known.shape[1] % 2 == 0:
        return ""
    return (
        f"makes {list(known.shape)} of {len(given)} images; [{len(given)}, 2c, h, w] is wanted, c means and then c "
        "log-variances for each place of a map"
    )


class DecodedGenerator(nn.Module):
    """A generator of latents whose samples are pictures, for grids, metrics, samples and what is done with styles.

    It has whatever the generator has. Of that, `synthesis` is decoded too; options are set on the generator itself.
    """

    def __init__(self, generator: nn.Module, codec: LatentCodec) -> None:
        super().__init__()
        self.generator, self._codec = generator, [codec]  # in a list, so that it is no part of this network

    def draw(self, n: int, rng: Rng) -> Any:
        """The generator's noise."""
        generator: Any = self.generator
        return generator.draw(n, rng)

    def forward(self, noise: Any, cond: Tensor | None = None) -> Tensor:
        return self._codec[0].decode(self.generator(noise, cond))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            found = getattr(super().__getattr__("generator"), name)
        if name != "synthesis":
            return found
        return lambda styles, noise: self._codec[0].decode(found(styles, noise))


@dataclass(frozen=True)
class DecodedRows:
    """Stored latents as the pictures that metrics compare with. `own` are their facts."""

    whole: Ingest
    codec: LatentCodec
    own: ImageFacts

    @property
    def facts(self) -> DataFacts:
        return self.own

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.whole.labels

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        return self.whole.vectors

    def positions(self, reals_drawn: int) -> NDArray[np.int64]:
        return self.whole.positions(reals_drawn)

    def rows(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        stored, labels = self.whole.rows(positions)
        return self.codec.pictures(stored), labels

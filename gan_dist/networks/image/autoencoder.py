"""An autoencoder of pictures with a small map of normal numbers in its middle, as latent diffusion has it (Rombach et
al. 2022, arXiv 2112.10752, section 3.1): convolutions, group normalisation and one attention at the smallest size.

Its parts are named and built as `AutoencoderKL` of the library diffusers, so that the weights of one can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_dist.distributed.randomness import Rng
from gan_dist.spec.image_size import Size, SizeRule, sides

EPS, WIDEST, MOST_GROUPS = 1e-6, 4, 32
LOWEST, HIGHEST = -30.0, 20.0  # of log-variances


class KlAutoencoder(nn.Module):
    """Encoder and decoder.

    Args:
        channels: of pictures.
        latent: channels of the map in the middle.
        widths: channels at each size; between two sizes pictures are halved.
        layers: residual blocks at each size of the encoder; the decoder has one more.
        groups: of the normalisation.
        attention: whether places of the smallest map attend to each other.
        quant: whether a layer of its own stands on each side of the latent map.
    """

    def __init__(
        self,
        *,
        channels: int,
        latent: int,
        widths: Sequence[int],
        layers: int,
        groups: int,
        attention: bool = True,
        quant: bool = True,
    ) -> None:
        super().__init__()
        if wrong := [width for width in widths if width % groups]:
            raise ValueError(f"groups: {groups} does not divide {wrong[0]} channels")
        self.latent, self.halvings = latent, len(widths) - 1
        common: dict[str, Any] = {"layers": layers, "groups": groups, "attention": attention}
        self.encoder = _Encoder(channels, 2 * latent, widths, **common)
        self.decoder = _Decoder(latent, channels, widths, **common)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1) if quant else nn.Identity()
        self.post_quant_conv = nn.Conv2d(latent, latent, 1) if quant else nn.Identity()

    def encode(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] to means and log-variances [B, 2 latent, h, w]."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, 1)
        return torch.cat([mean, log_variance.clamp(LOWEST, HIGHEST)], 1)

    def decode(self, z: Tensor) -> Tensor:
        """Latent maps [B, latent, h, w] to pictures [B, C, H, W], about in [-1, 1]."""
        made: Tensor = self.decoder(self.post_quant_conv(z))
        return made


class Autoencoder(KlAutoencoder):
    """Pictures [B, input_channels, H, W] in [-1, 1] to themselves, by way of a map that is drawn; for `modality: pair`
    with `inputs: same`.

    Args:
        size: N or (height, width) in pixels, supplied by the data.
        channels: of what is made, supplied by the data.
        input_channels: of what it is made of, the same, supplied by the data.
        width: channels at full size; they double with each halving, up to 4 times.
        latent: channels of the map in the middle; 4 in latent diffusion.
        halvings: of the picture's sides; 3 in latent diffusion, a map of an eighth.
        layers: residual blocks at each size; 2 in latent diffusion.
        attention: whether places of the map attend to each other.
    """

    sizes: ClassVar[dict[str, int]] = {"least": 8, "most": 1024, "multiple": 4}

    def __init__(
        self,
        *,
        size: Size,
        channels: int,
        input_channels: int,
        width: int = 32,
        latent: int = 4,
        halvings: int = 2,
        layers: int = 1,
        attention: bool = True,
    ) -> None:
        SizeRule.of(self.sizes).check(size, "autoencoder")
        if input_channels != channels:
            raise ValueError(f"an autoencoder makes {input_channels} channels of {channels}; set data.inputs: same")
        if halvings < 1 or any(side % 2**halvings or side >> halvings < 2 for side in sides(size)):
            raise ValueError(f"halvings: {halvings} do not leave whole maps of at least 2 of {size} pixels")
        widths = [width * min(2**step, WIDEST) for step in range(halvings + 1)]
        own: dict[str, Any] = {"latent": latent, "widths": widths, "layers": layers, "attention": attention}
        own |= {"channels": channels, "groups": _groups_of(width)}
        super().__init__(**own)
        self.arguments = {**own, "quant": True}
        self.map_shape = (latent, *(side >> halvings for side in sides(size)))

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Normal noise of the map in the middle, [n, latent, h, w]."""
        return rng.normal(*self.map_shape)

    def forward(self, noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """Pictures decoded from the map of `cond`, drawn by `noise`; without, from `noise` alone."""
        return self.decode(noise if cond is None else drawn_latent(self.encode(cond), noise))


def _groups_of(width: int) -> int:
    """At most 32 groups of at least 4 channels, as latent diffusion has them: in groups of one channel each map would
    lose its mean, and pictures their colours."""
    return next(groups for groups in range(max(1, min(MOST_GROUPS, width // 4)), 0, -1) if width % groups == 0)


def drawn_latent(known: Tensor, noise: Tensor) -> Tensor:
    """Means and log-variances [B, 2c, h, w] to a draw [B, c, h, w] by normal noise of that shape."""
    mean, log_variance = known.chunk(2, 1)
    return mean + (log_variance / 2).exp() * noise.to(mean.dtype)


class _Resnet(nn.Module):
    """x + f(x), f two normalised convolutions."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs, EPS), nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs, EPS), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x)))
        found = self.conv2(F.silu(self.norm2(found)))
        made: Tensor = self.conv_shortcut(x) + found
        return made


class _Attention(nn.Module):
    """x + attention of places to each other, one head."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        rows = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (layer(rows)[:, None] for layer in (self.to_q, self.to_k, self.to_v))
        found = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        made: Tensor = x + found.transpose(1, 2).reshape(x.shape)
        return made


class _Middle(nn.Module):
    def __init__(self, width: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Resnet(width, width, groups) for _ in range(2))
        self.attentions = nn.ModuleList([_Attention(width, groups)] if attention else [])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        made: Tensor = self.resnets[1](x)
        return made


class _Resized(nn.Module):
    """A convolution that halves a picture, or one of a picture that is doubled first."""

    def __init__(self, width: int, double: bool) -> None:
        super().__init__()
        self.doubles = double
        self.conv = nn.Conv2d(width, width, 3, 1, 1) if double else nn.Conv2d(width, width, 3, 2, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest") if self.doubles else F.pad(x, (0, 1, 0, 1))
        made: Tensor = self.conv(x)
        return made


class _Level(nn.Module):
    """Residual blocks of one size, and the way to the next; the module that resizes is called as diffusers has it."""

    def __init__(self, inputs: int, outputs: int, *, layers: int, groups: int, resize: str | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Resnet(inputs if at == 0 else outputs, outputs, groups) for at in range(layers))
        self.resize = resize
        if resize is not None:
            self.add_module(resize, nn.ModuleList([_Resized(outputs, resize == "upsamplers")]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        if self.resize is None:
            return x
        made: Tensor = self.get_submodule(f"{self.resize}.0")(x)
        return made


class _Encoder(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, widths: Sequence[int], *, layers: int, groups: int, attention: bool
    ) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(inputs, widths[0], 3, 1, 1)
        self.down_blocks = nn.ModuleList(
            _Level(
                widths[max(at - 1, 0)],
                width,
                layers=layers,
                groups=groups,
                resize=None if at == last else "downsamplers",
            )
            for at, width in enumerate(widths)
        )
        self.mid_block = _Middle(widths[-1], groups, attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        found: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return found


class _Decoder(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, widths: Sequence[int], *, layers: int, groups: int, attention: bool
    ) -> None:
        super().__init__()
        upwards, last = list(reversed(widths)), len(widths) - 1
        self.conv_in = nn.Conv2d(inputs, upwards[0], 3, 1, 1)
        self.mid_block = _Middle(upwards[0], groups, attention)
        self.up_blocks = nn.ModuleList(
            _Level(
                upwards[max(at - 1, 0)],
                width,
                layers=layers + 1,
                groups=groups,
                resize=None if at == last else "upsamplers",
            )
            for at, width in enumerate(upwards)
        )
        self.conv_norm_out = nn.GroupNorm(groups, upwards[-1], EPS)
        self.conv_out = nn.Conv2d(upwards[-1], outputs, 3, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        z = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            z = level(z)
        made: Tensor = self.conv_out(F.silu(self.conv_norm_out(z)))
        return made

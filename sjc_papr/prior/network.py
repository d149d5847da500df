"""The small pose-conditioned denoiser: a UNet that sees one image of an object and is asked for
another view of it.

Everything it knows about cameras comes as rays: each pixel of both views carries the Plücker
coordinates of its ray, in a frame turned about the world's vertical so that the conditioning camera
stands at azimuth 0. Elevations, distances and fields of view are then all in the input, and only
what cannot matter, the absolute azimuth, is not.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training_core.checks import at_least
from training_core.config import option

RAY_CHANNELS = 6


@dataclass
class PriorNetworkConfig:
    size: int = option(64, "side of the pictures in pixels")
    patch: int = option(4, "side of the squares of pixels that become one position of the UNet")
    width: int = option(64, "channels of the first level")
    multipliers: list[int] = option([1, 2, 3], "channels of each level over the first's")
    blocks: int = option(1, "residual blocks per level")
    heads: int = option(4, "attention heads")

    def validate(self) -> None:
        """Raises ValueError on sizes that do not divide."""
        at_least(1, patch=self.patch, blocks=self.blocks, heads=self.heads)
        at_least(2, levels=len(self.multipliers))
        stride = self.patch * 2 ** (len(self.multipliers) - 1)
        if self.size < stride or self.size % stride:
            raise ValueError(f"size must be a multiple of {stride} (patch and levels)")
        if self.width % (8 * self.heads):
            raise ValueError("width must be a multiple of 8 times heads")


class _Block(nn.Module):
    """A residual block whose scale and shift come from the embedding."""

    def __init__(self, channels_in: int, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels)
        self.norm_out = nn.GroupNorm(8, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = (
            nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()
        )
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm_out(hidden) * (1.0 + scale) + shift
        return self.skip(x) + self.conv_out(F.silu(hidden))


class _Attention(nn.Module):
    """Attention from every position to its own image and to the conditioning one."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.query = nn.Linear(channels, channels)
        self.own = nn.Linear(channels, 2 * channels)
        self.other = nn.Linear(context, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        keys = torch.cat([self.own(tokens), self.other(context)], dim=1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(tokens), *keys.chunk(2, dim=-1))
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.out(seen).transpose(1, 2).reshape(batch, channels, height, width)


class _Encoder(nn.Module):
    """The conditioning image and its rays → context tokens at the coarse levels' width."""

    def __init__(self, channels_in: int, widths: list[int], embedding: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels_in, widths[0], 3, padding=1)
        self.fine = _Block(widths[0], widths[0], embedding)
        self.down = nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(widths[1], widths[1], embedding) for _ in range(2))
        self.norm = nn.GroupNorm(8, widths[1])

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.down(self.fine(self.stem(image), embedding))
        for block in self.coarse:
            hidden = block(hidden, embedding)
        return self.norm(hidden).flatten(2).transpose(1, 2)


class PriorNetwork(nn.Module):
    """Predicts v = sqrt(abar) eps - sqrt(1 - abar) x_0 of a noisy view.

    The UNet works on squares of ``patch`` pixels, so that 64-pixel images cost what 32-pixel ones
    would. Self- and cross-attention stand at every level but the first.
    """

    def __init__(self, config: PriorNetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * m for m in config.multipliers]
        colours = 3 * config.patch**2
        embedding = 4 * config.width
        self.embed = nn.Sequential(
            nn.Linear(config.width + 6 + 36, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        # The last channel says whether there is a condition at all.
        self.encoder = _Encoder(colours + RAY_CHANNELS + 1, widths, embedding)
        self.stem = nn.Conv2d(2 * colours + RAY_CHANNELS + 1, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, channels = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(self._stage(channels, width, embedding, widths[1], level))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.middle = self._stage(channels, channels, embedding, widths[1], len(widths) - 1)
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                stage = self._stage(channels + skips.pop(), width, embedding, widths[1], level)
                self.up.append(stage)
                channels = width
            if level:
                self.up.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.out = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, colours, 3, padding=1)
        )

    def _stage(
        self, channels_in: int, channels: int, embedding: int, context: int, level: int
    ) -> nn.ModuleList:
        stage = nn.ModuleList([_Block(channels_in, channels, embedding)])
        if level:
            stage.append(_Attention(channels, context, self.config.heads))
        return stage

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        image: Tensor,
        rays: Tensor,
        image_rays: Tensor,
        camera_centers: Tensor,
        given: Tensor,
    ) -> Tensor:
        """v of the noisy views.

        Args:
            noisy: [B, 3, S, S]. time: log(abar / (1 - abar)), [B].
            image: conditioning views, [B, 3, S, S] in [-1, 1].
            rays, image_rays: Plücker coordinates of target and condition,
                [B, 6, S / patch, S / patch].
            camera_centers: target's and condition's camera centres, [B, 6], object lengths.
            given: 1 where there is a condition, 0 where it was dropped, [B].
        """
        patch, keep = self.config.patch, given.view(-1, 1, 1, 1)
        condition = F.pixel_unshuffle(image, patch) * keep
        flag = keep.expand(-1, 1, *rays.shape[-2:])
        embedding = F.silu(self.embed(self._facts(time, camera_centers)))
        context = self.encoder(torch.cat([condition, image_rays, flag], 1), embedding)
        x = torch.cat([F.pixel_unshuffle(noisy, patch), condition, rays, flag], 1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        skips = [x]
        for stage in self.down:
            x = _run(stage, x, embedding, context)
            skips.append(x)
        x = _run(self.middle, x, embedding, context)
        for stage in self.up:
            if isinstance(stage, nn.Conv2d):
                x = stage(F.interpolate(x, scale_factor=2.0))
            else:
                x = _run(stage, torch.cat([x, skips.pop()], 1), embedding, context)
        return F.pixel_shuffle(self.out(x), patch)

    def _facts(self, time: Tensor, camera_centers: Tensor) -> Tensor:
        half = self.config.width // 2
        octaves = torch.exp(
            torch.linspace(math.log(0.05), math.log(10.0), half, device=time.device)
        )
        phase = time[:, None] * octaves
        turned = torch.cat([camera_centers * 2.0**k for k in range(3)], dim=1)
        return torch.cat(
            [phase.sin(), phase.cos(), camera_centers, turned.sin(), turned.cos()], dim=1
        )


def _run(stage: nn.Module, x: Tensor, embedding: Tensor, context: Tensor) -> Tensor:
    if isinstance(stage, nn.Conv2d):
        return stage(x)
    block, *attention = stage.children()
    x = block(x, embedding)
    for layer in attention:
        x = layer(x, context)
    return x

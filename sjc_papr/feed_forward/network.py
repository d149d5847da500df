"""The six-view depth network: a small UNet over each view, with attention over all six where it is
coarsest.

It sees what geometry alone says (depth of the visual hull, and how well neighbouring views agree on
colours behind it) and answers with a correction of that depth and how far off it may be.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training_core.checks import at_least
from training_core.config import option

VIEWS = 6
# RGBA, direction of the ray, place on the hull, its depth, its thickness.
_PLAIN_CHANNELS = 4 + 3 + 3 + 1 + 1
# Corrections are about this large, world units; the last layer's numbers are near one.
CORRECTION_UNIT = 0.1
# Of the logarithm of the expected error, world units: a thousandth of the object to all of it.
_LOG_ERROR_RANGE = (-7.0, 0.0)


@dataclass
class DepthNetworkConfig:
    size: int = option(64, "side of the pictures in pixels")
    guesses: list[float] = option(
        [0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.125, 0.15, 0.18, 0.22, 0.27, 0.33, 0.4],
        "distances behind the hull at which the colours of neighbouring views are compared",
    )
    widths: list[int] = option([48, 96, 192], "channels at half, a quarter, an eighth of the size")
    coarse_blocks: int = option(2, "blocks with attention over all views, at the coarsest level")
    heads: int = option(4, "attention heads")

    def validate(self) -> None:
        """Raises ValueError on sizes that do not divide."""
        at_least(1, coarse_blocks=self.coarse_blocks, heads=self.heads, guesses=len(self.guesses))
        if len(self.widths) != 3 or any(width % 8 for width in self.widths):
            raise ValueError("widths needs three multiples of 8")
        if self.widths[-1] % self.heads:
            raise ValueError("the last of widths must be a multiple of heads")
        if self.size < 16 or self.size % 8:
            raise ValueError("size must be a multiple of 8, at least 16")


class DepthInputs(NamedTuple):
    """B sets of six views.

    Attributes:
        pictures: RGBA in [0, 1], straight alpha, [B, 6, 4, S, S].
        toward: rays with unit part along the optical axis, [B, 6, 3, S, S].
        entry: depth of the hull relative to the camera's distance from the origin, world units,
            [B, 6, 1, S, S]. place: the points there, [B, 6, 3, S, S].
        thickness: of the hull along the ray, [B, 6, 1, S, S].
        disagreement: see ``geometry.colour_disagreement``, [B, 6, 2K, S, S].
        shown: bool, where the object is, [B, 6, 1, S, S].
    """

    pictures: Tensor
    toward: Tensor
    entry: Tensor
    place: Tensor
    thickness: Tensor
    disagreement: Tensor
    shown: Tensor


class DepthGuess(NamedTuple):
    """What the network says of every pixel, meaningful where the object is shown.

    Attributes:
        correction: to be added to the hull's depth, world units, [B, 6, S, S].
        log_error: logarithm of the expected absolute error, world units, [B, 6, S, S].
    """

    correction: Tensor
    log_error: Tensor


class ResidualBlock(nn.Module):
    """A residual block that begins as the identity (of its skip)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(8, channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.norm_out = nn.GroupNorm(8, channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        same = channels_in == channels
        self.skip = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        return self.skip(x) + self.conv_out(F.silu(self.norm_out(hidden)))


class _AcrossViews(nn.Module):
    """Attention from every position of every view to all positions of all six."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.parts = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        views, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        tokens = tokens.reshape(views // VIEWS, VIEWS * height * width, channels)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.parts(tokens).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        seen = self.out(seen).reshape(views, height * width, channels)
        return x + seen.transpose(1, 2).reshape(x.shape)


class DepthNetwork(nn.Module):
    """Six views in, a correction of the hull's depth and its expected error out.

    Works on squares of 2 x 2 pixels, so that 64-pixel pictures cost what 32-pixel ones would. The
    last layer begins at zero: an untrained network answers with the hull.
    """

    def __init__(self, config: DepthNetworkConfig) -> None:
        super().__init__()
        self.config = config
        fine, middle, coarse = config.widths
        channels = 4 * (_PLAIN_CHANNELS + 2 * len(config.guesses))
        # Which of the six a view is; the rig is the same for all.
        self.view = nn.Parameter(torch.zeros(VIEWS, coarse))
        self.stem = nn.Conv2d(channels, fine, 1)
        self.fine_in = ResidualBlock(fine, fine)
        self.to_middle = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.middle_in = ResidualBlock(middle, middle)
        self.to_coarse = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(coarse, coarse) for _ in range(config.coarse_blocks)
        )
        self.across = nn.ModuleList(
            _AcrossViews(coarse, config.heads) for _ in range(config.coarse_blocks)
        )
        self.middle_out = ResidualBlock(coarse + middle, middle)
        self.fine_out = ResidualBlock(middle + fine, fine)
        last = nn.Conv2d(fine, 4 * 2, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(nn.GroupNorm(8, fine), nn.SiLU(), last)

    def forward(self, inputs: DepthInputs) -> DepthGuess:
        sets = len(inputs.pictures)
        shown = inputs.shown.flatten(0, 1)
        # Depths are about a tenth of a unit apart: the network's numbers should be near one.
        parts = (
            inputs.pictures * 2.0 - 1.0,
            inputs.toward,
            inputs.place * 2.0,
            inputs.entry * 2.0,
            inputs.thickness * 2.0,
            inputs.disagreement * 2.0,
        )
        x = torch.cat([part.flatten(0, 1) for part in parts], dim=1)
        x = torch.where(shown, x, 0.0)
        x = self.stem(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        fine = self.fine_in(x)
        middle = self.middle_in(self.to_middle(fine))
        x = self.to_coarse(middle) + self.view.repeat(sets, 1)[:, :, None, None]
        for block, across in zip(self.blocks, self.across, strict=True):
            x = across(block(x))
        x = self.middle_out(torch.cat([F.interpolate(x, scale_factor=2.0), middle], 1))
        x = self.fine_out(torch.cat([F.interpolate(x, scale_factor=2.0), fine], 1))
        answer = F.pixel_shuffle(self.out(x), 2).float().unflatten(0, (sets, VIEWS))
        # An error of about exp(-3), a twentieth of the object, is what the hull begins with.
        log_error = (answer[:, :, 1] - 3.0).clamp(*_LOG_ERROR_RANGE)
        return DepthGuess(answer[:, :, 0] * CORRECTION_UNIT, log_error)


def depth_loss(guess: DepthGuess, correction: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of the true correction under a Laplace distribution, and the mean
    absolute error; both means over the pixels ``known`` [B, 6, S, S] bool.

    Its best correction is the median of what may be, not a mean between two surfaces.
    """
    error = (guess.correction - correction).abs()
    likelihood = error * (-guess.log_error).exp() + guess.log_error
    count = known.sum().clamp_min(1)
    return (
        torch.where(known, likelihood, 0.0).sum() / count,
        torch.where(known, error, 0.0).sum() / count,
    )

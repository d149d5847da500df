"""The network that turns what six pictures show of a new view into its picture: a small UNet.

It begins with the picture that geometry alone gives, and learns to correct colours and outline.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sjc_papr.feed_forward.network import VIEWS, ResidualBlock
from sjc_papr.pseudo_views.gathering import Gathered, channel_count
from training_core.config import option

# Corrections of colour are about this large; the last layer's numbers are near one.
_COLOUR_UNIT = 0.25
# Logit of alpha where geometry has a surface (and, negative, where it has none).
_SURE = 2.5
# Weight of alpha beside the colours on white, and the error below which nothing is gained.
_ALPHA, _LEAST = 0.3, 3e-4
# Halvings from the picture to the coarsest level.
_HALVINGS = 4


@dataclass
class ViewNetworkConfig:
    size: int = option(128, "side of the pictures in pixels")
    widths: list[int] = option(
        [48, 96, 160, 160], "channels at half, a quarter, an eighth, a sixteenth of the size"
    )

    def validate(self) -> None:
        """Raises ValueError on sizes that do not divide."""
        if len(self.widths) != _HALVINGS or any(w <= 0 or w % 8 for w in self.widths):
            raise ValueError(f"widths needs {_HALVINGS} multiples of 8")
        if self.size < 16 or self.size % 2**_HALVINGS:
            raise ValueError(f"size must be a multiple of {2**_HALVINGS}")


class ViewInputs(NamedTuple):
    """B new views.

    Attributes:
        channels: see ``Gathered``, 0 where a pixel shows no object, [B, C, S, S].
        colour: RGB in [0, 1], [B, 3, S, S]. found: 1 or 0, [B, 1, S, S].
        possible: 1 where a pixel may show the object, else 0, [B, 1, S, S].
    """

    channels: Tensor
    colour: Tensor
    found: Tensor
    possible: Tensor


def spread_out(gathered: Gathered, size: int) -> ViewInputs:
    """The pixels of one view in their places, a batch of one."""

    def place(values: Tensor) -> Tensor:
        picture = torch.zeros(values.shape[1], size * size)
        picture[:, gathered.pixels.long()] = values.float().T
        return picture.view(1, -1, size, size)

    return ViewInputs(
        place(gathered.channels),
        place(gathered.colour),
        place(gathered.found[:, None]),
        place(torch.ones(len(gathered.pixels), 1)),
    )


class ViewNetwork(nn.Module):
    """What is gathered of a view in, its picture out.

    Works on squares of 2 x 2 pixels. The last layer begins at zero: an untrained network answers
    with the colours of geometry, about opaque where it found a surface.
    """

    def __init__(self, config: ViewNetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(4 * (channel_count(VIEWS) + 1), widths[0], 1)
        self.down = nn.ModuleList(
            nn.Conv2d(wide, narrow, 3, stride=2, padding=1)
            for wide, narrow in itertools.pairwise(widths)
        )
        self.blocks_in = nn.ModuleList(ResidualBlock(width, width) for width in widths)
        self.coarse = ResidualBlock(widths[-1], widths[-1])
        self.blocks_out = nn.ModuleList(
            ResidualBlock(below + own, own)
            for own, below in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        last = nn.Conv2d(widths[0], 4 * 4, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), last)

    def forward(self, inputs: ViewInputs) -> Tensor:
        """Straight RGBA [B, 4, S, S]; alpha in [0, 1], colours about so."""
        x = F.pixel_unshuffle(torch.cat([inputs.channels, inputs.possible], dim=1), 2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        levels = [self.blocks_in[0](x)]
        for down, block in zip(self.down, self.blocks_in[1:], strict=True):
            levels.append(block(down(levels[-1])))
        x = self.coarse(levels.pop())
        for block in self.blocks_out:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), levels.pop()], dim=1))
        answer = F.pixel_shuffle(self.out(x), 2).float()
        colour = inputs.colour + _COLOUR_UNIT * answer[:, :3]
        logit = 2.0 * answer[:, 3:] + _SURE * (2.0 * inputs.found - 1.0)
        return torch.cat([colour, torch.sigmoid(logit) * inputs.possible], dim=1)


def on_white(picture: Tensor) -> Tensor:
    """RGB [B, 3, S, S] of straight RGBA [B, 4, S, S]."""
    return 1.0 + picture[:, 3:] * (picture[:, :3] - 1.0)


def view_loss(picture: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and the PSNR on white in dB, both means over the views, of RGBA [B, 4, S, S].

    The logarithm of each view's mean squared error is what is averaged, as PSNR does, so that small
    and dark objects count as much as large and bright ones.
    """
    colour = (on_white(picture) - on_white(truth)).square().mean((1, 2, 3))
    alpha = (picture[:, 3] - truth[:, 3]).square().mean((1, 2))
    loss = (colour + _LEAST).log() + _ALPHA * (alpha + _LEAST).log()
    return loss.mean(), (-10.0 * colour.clamp_min(1e-10).log10()).mean().detach()

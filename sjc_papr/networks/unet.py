"""The small UNet that turns a feature map into an image (zvict/papr models/unet.py: SmallUNet)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SmallUNet(nn.Module):
    """Two levels down, two up, one convolution each, no normalisation.

    Args:
        inputs: channels of the feature map.
        base: channels of the first level (128 in PAPR); the next have twice and four times as many.
    """

    # Edge of what two poolings make one pixel of, and how far a pixel of the image looks: one row
    # for each full-size convolution, two and four for those further down, rounded up to the stride.
    STRIDE = 4
    REACH = 16

    def __init__(self, inputs: int, base: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, base, 3, padding=1)
        self.down1 = nn.Conv2d(base, 2 * base, 3, padding=1)
        self.down2 = nn.Conv2d(2 * base, 4 * base, 3, padding=1)
        self.raise1 = nn.ConvTranspose2d(4 * base, 2 * base, 2, stride=2)
        self.up1 = nn.Conv2d(4 * base, 2 * base, 3, padding=1)
        self.raise2 = nn.ConvTranspose2d(2 * base, base, 2, stride=2)
        self.up2 = nn.Conv2d(2 * base, base, 3, padding=1)
        self.leave = nn.Conv2d(base, 3, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 3, H, W], not clamped; any height and width from 4 up."""
        level1 = F.relu(self.enter(features))
        level2 = F.relu(self.down1(F.max_pool2d(level1, 2)))
        level3 = F.relu(self.down2(F.max_pool2d(level2, 2)))
        up = torch.cat([level2, _pad_to(self.raise1(level3), level2)], dim=1)
        up = F.relu(self.up1(up))
        up = torch.cat([level1, _pad_to(self.raise2(up), level1)], dim=1)
        return self.leave(F.relu(self.up2(up)))


def _pad_to(x: Tensor, like: Tensor) -> Tensor:
    """Zero-pad the row or column that halving an odd size lost."""
    rows, columns = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
    if rows == 0 and columns == 0:
        return x
    return F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])

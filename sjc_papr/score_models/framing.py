"""Views of any shape as the square ones that score models see."""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera


def square_view(image: Tensor, camera: Camera, side: int) -> tuple[Tensor, Camera]:
    """The same view, white beside it where it is not square, at another size.

    Args:
        image: [3, H, W] in [0, 1], on white; differentiable. camera: of H x W pixels.

    Returns:
        Image [3, S, S] and its camera.
    """
    height, width = image.shape[-2:]
    longer = max(height, width)
    if height != width:
        across, down = longer - width, longer - height
        left, top = across // 2, down // 2
        image = F.pad(image, (left, across - left, top, down - top), value=1.0)
        camera = replace(
            camera, width=longer, height=longer, cx=camera.cx + left, cy=camera.cy + top
        )
    if longer == side:
        return image, camera
    resized = F.interpolate(
        image[None],
        (side, side),
        mode="bilinear",
        align_corners=False,
        antialias=side < longer,
    )
    return resized[0], camera.resized(side, side)

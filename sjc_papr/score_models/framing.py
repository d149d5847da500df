"""Views of any shape as the square ones that score models see."""

import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera


def square_view(picture: Tensor, camera: Camera, side: int) -> tuple[Tensor, Camera]:
    """The same view, white beside it where it is not square, at another size.

    Args:
        picture: [3, H, W] in [0, 1], on white; differentiable. camera: of H x W pixels.

    Returns:
        Picture [3, S, S] and its camera.
    """
    height, width = picture.shape[-2:]
    longer = max(height, width)
    if height != width:
        across, down = longer - width, longer - height
        left, top = across // 2, down // 2
        picture = F.pad(picture, (left, across - left, top, down - top), value=1.0)
        camera = Camera(
            camera.cam_to_world,
            longer,
            longer,
            camera.fl_x,
            camera.fl_y,
            camera.cx + left,
            camera.cy + top,
        )
    if longer == side:
        return picture, camera
    resized = F.interpolate(
        picture[None],
        (side, side),
        mode="bilinear",
        align_corners=False,
        antialias=side < longer,
    )
    return resized[0], camera.resized(side, side)

"""Pictures of one moment together with the depths that a network guesses of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import resize_rgba
from sjc_papr.data.eyes import Eye
from sjc_papr.feed_forward.guess import guess_depth
from sjc_papr.feed_forward.network import VIEWS, DepthNetwork
from training_core.config import ConfigError

# Degrees by which neighbours may stand otherwise than 60 degrees apart around the object.
_STEP_TOLERANCE_DEG = 5.0
# Pixels by which outlines are widened where the hull is sought on few rays.
_WIDER = 3
# Added to the expected error of a depth, world units, before its square divides the view's weight.
_LEAST_ERROR = 0.01


@dataclass(frozen=True, eq=False)
class DepthViews:
    """Pictures of one moment with what is known or guessed of their depth.

    Attributes:
        images: [V, H, W, 4]. cameras: V, of H x W pictures, all looking at the origin.
        depth: planar, world units, [V, H, W]; 0 where a pixel shows no object.
        error: expected absolute error of it, world units, [V, H, W].
    """

    images: Tensor
    cameras: tuple[Camera, ...]
    depth: Tensor
    error: Tensor

    @cached_property
    def eyes(self) -> list[Eye]:
        """The cameras as tensors."""
        return [Eye.of(camera) for camera in self.cameras]

    @cached_property
    def premultiplied(self) -> Tensor:
        """Colours times alpha, and alpha, [V, 4, H, W]."""
        colours, alpha = self.images[..., :3], self.images[..., 3:]
        return torch.cat([colours * alpha, alpha], dim=-1).permute(0, 3, 1, 2)

    @cached_property
    def wide_masks(self) -> Tensor:
        """Alpha, its outline a few pixels farther out, [V, H, W]."""
        alpha = self.images[..., 3]
        return F.max_pool2d(alpha[:, None], 2 * _WIDER + 1, 1, _WIDER)[:, 0]

    @cached_property
    def weight(self) -> Tensor:
        """What a view's word on a pixel's depth counts, [V, H, W]; 0 where it has none."""
        return torch.where(self.depth > 0, (self.error + _LEAST_ERROR).pow(-2), 0.0)


def require_six(views: Views) -> None:
    """Raises ConfigError unless these are six square pictures of a rig, in its order."""
    height, width = views.images.shape[1:3]
    if len(views) != VIEWS or height != width:
        raise ConfigError(
            f"pseudo-views need the six square pictures of a rig, but there are {len(views)} of "
            f"{width}x{height} that show something"
        )
    # About their own middle, for the object need not be at the origin of the dataset's world.
    places = np.stack([camera.position for camera in views.cameras])
    places = places - places.mean(0)
    azimuths = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
    steps = np.mod(np.diff(azimuths, append=azimuths[:1]), 360.0)
    if np.abs(steps - 60.0).max() > _STEP_TOLERANCE_DEG:
        raise ConfigError(
            "pseudo-views need the six square pictures of a rig, in its order, 60 degrees apart; "
            f"these are {', '.join(f'{step:.0f}' for step in steps)} degrees apart"
        )


def guessed_views(network: DepthNetwork, views: Views, size: int) -> DepthViews:
    """The six pictures of a rig with sides of ``size`` pixels, and their depths as guessed.

    Raises:
        ConfigError: see ``require_six``.
    """
    require_six(views)
    images = torch.stack([resize_rgba(image, size, size) for image in views.images])
    cameras = tuple(camera.resized(size, size) for camera in views.cameras)
    guess = guess_depth(network, Views(images, cameras, None, views.names))
    return DepthViews(images, cameras, guess.depth, guess.error)

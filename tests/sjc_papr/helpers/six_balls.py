"""A body of four balls as six cameras see it, and the same with its pictures moved."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from six_spheres import rig
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera

SIDE = 64
# Pixels to the right and down by which the pictures of some tests are moved.
SHIFTS = [(2, 0), (0, -3), (1, 2), (-2, 1), (0, 3), (-1, -2)]
# A trunk, a head to one side of it and two unequal legs: no two of its outlines are alike.
Balls = Sequence[tuple[tuple[float, float, float], float]]
BALLS: Balls = [
    ((0.0, 0.0, 0.0), 0.2),
    ((0.28, 0.08, 0.22), 0.11),
    ((-0.12, 0.1, -0.3), 0.08),
    ((0.1, -0.2, -0.25), 0.06),
]


def outline(camera: Camera, balls: Balls = BALLS) -> Tensor:
    """Alpha [H, W] of the balls, soft over a pixel."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    local = np.stack(
        [(x - camera.cx) / camera.fl_x, (camera.cy - y) / camera.fl_y, -np.ones_like(x)], axis=-1
    )
    rays = local @ camera.cam_to_world[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    alpha = np.zeros(x.shape)
    for centre, radius in balls:
        to = np.array(centre) - camera.position
        along = rays @ to
        beside = np.linalg.norm(to - along[..., None] * rays, axis=-1)
        pixels = (radius - beside) * camera.fl_x / along
        alpha = np.maximum(alpha, np.clip(pixels + 0.5, 0.0, 1.0))
    return torch.tensor(alpha, dtype=torch.float32)


def body(side: int = SIDE, depth: bool = False, balls: Balls = BALLS) -> Views:
    """Six views, each in a colour of its own."""
    cameras = rig(side)
    alpha = torch.stack([outline(camera, balls) for camera in cameras])
    colour = torch.rand(6, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    images = torch.cat([colour.expand(-1, side, side, -1), alpha[..., None]], dim=-1)
    planar = (alpha > 0.5) * torch.arange(1.0, 1.0 + side) if depth else None
    return Views(images, cameras, planar, tuple(f"view_{i}/000" for i in range(6)))


def rolled(views: Views, shifts: list[tuple[int, int]]) -> Views:
    """Pictures moved by whole pixels to the right and down."""
    pairs = zip(views.images, shifts, strict=True)
    return replace(views, images=torch.stack([i.roll((y, x), (0, 1)) for i, (x, y) in pairs]))


def with_mirrored(views: Views, *odd: int) -> Views:
    """Some of the pictures left for right."""
    images = views.images.clone()
    for view in odd:
        images[view] = images[view].flip(1)
    return replace(views, images=images)

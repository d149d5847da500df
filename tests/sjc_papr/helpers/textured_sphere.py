"""Exact images of smoothly coloured spheres, as views of ``sjc_papr.novel_view.near_view``."""

import numpy as np
import torch
from ball_scene import unproject
from tiny_scene import ORIGIN, RADIUS, Centre, draw_sphere
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks.rays import RayBundle, camera_rays
from sjc_papr.novel_view.geometry_config import NearConfig
from sjc_papr.novel_view.near_view import RenderedView, near_camera

LENGTH = 2.0 * RADIUS
# Past the origin, principal points and focal lengths all their own, images not square.
ODD = (
    Camera(look_at((2.1, -1.2, 0.9), target=(0.2, 0.1, -0.1)), 11, 8, 17.0, 15.0, 4.3, 5.1),
    Camera(look_at((2.3, -0.9, 0.7), target=(-0.1, 0.2, 0.1)), 9, 10, 14.0, 16.0, 5.2, 4.4),
)
# Of the colour over space: three directions, one wave in about 0.4 units.
_WAVES = np.array([[14.0, 3.0, -5.0], [-4.0, 12.0, 6.0], [5.0, -6.0, 13.0]])


def colour_at(points: np.ndarray) -> np.ndarray:
    """A smooth colour [..., 3] in [0, 1] at points [..., 3]."""
    return 0.5 + 0.4 * np.sin(points @ _WAVES.T)


def surface_points(camera: Camera, depth: np.ndarray) -> np.ndarray:
    """World points [H, W, 3] of planar depth [H, W]."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    return unproject(camera, pixels, depth.ravel()).reshape(*depth.shape, 3)


def draw_view(
    camera: Camera, centres: tuple[Centre, ...] = (ORIGIN,), background: float = 1.0
) -> RenderedView:
    """Spheres as a perfect renderer would give them, in float64; the background's depth is 9."""
    depth = np.full((camera.height, camera.width), np.inf)
    for centre in centres:
        drawn = draw_sphere(camera, centre)[1]
        depth = np.where((drawn > 0.0) & (drawn < depth), drawn, depth)
    alpha = np.isfinite(depth)
    depth = np.where(alpha, depth, 9.0)
    colour = np.where(alpha[..., None], colour_at(surface_points(camera, depth)), background)
    return RenderedView(
        camera, *(torch.tensor(x, dtype=torch.float64) for x in (colour, depth, alpha))
    )


def sees(eye: np.ndarray, points: np.ndarray, centres: tuple[Centre, ...]) -> np.ndarray:
    """Bool [N]: nothing of the spheres lies between an eye and points [N, 3], by 2000 samples."""
    clear = np.ones(len(points), dtype=bool)
    for share in np.linspace(0.0, 0.995, 2000):
        between = eye + share * (points - eye)
        for centre in centres:
            clear &= np.linalg.norm(between - np.asarray(centre), axis=-1) > RADIUS * 0.999
    return clear


def exact_rays(camera: Camera) -> RayBundle:
    """Rays of a camera in float64."""
    rays = camera_rays(camera)
    return RayBundle(rays.origins.double(), rays.directions.double(), rays.forward.double())


def neighbour(camera: Camera, seed: int = 0) -> Camera:
    """A near camera of the spheres' world, 0.05 object lengths away."""
    return near_camera(camera, NearConfig(), LENGTH, torch.Generator().manual_seed(seed))


def random_view(camera: Camera, dtype: torch.dtype = torch.float64) -> RenderedView:
    """Noise, with depth between 2 and 3."""
    size = (camera.height, camera.width)
    depth = 2.0 + torch.rand(size, dtype=dtype)
    return RenderedView(
        camera, torch.rand(*size, 3, dtype=dtype), depth, torch.rand(size, dtype=dtype)
    )


def leaf(view: RenderedView) -> RenderedView:
    """The same view with tensors that collect gradients."""
    tensors: list[Tensor] = [t.detach().clone().requires_grad_(True) for t in view[1:]]
    return RenderedView(view.camera, *tensors)

"""A coloured sphere drawn with NumPy, and models small enough to train in a second."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera, multiview_cameras
from blender_render.imaging.depth import depth_scale_for, encode_depth
from blender_render.imaging.images import encode_png
from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.networks.rays import RayBundle, camera_rays

SIZE = (20, 16)
RADIUS = 0.4
DEPTH_SCALE = depth_scale_for(10.0)
Centre = tuple[float, float, float]
ORIGIN = (0.0, 0.0, 0.0)

# Of the commands: as small and as steady as they can be.
TINY_MODEL = (
    "model.attention.width=16",
    "model.attention.score_width=16",
    "model.attention.value_width=8",
    "model.attention.frequencies=2",
    "model.point_features=8",
    "model.unet_base=8",
    "model.neighbours=6",
    "points.count=150",
    "points.hull_resolution=24",
    "threads=1",
    "device=cpu",
    "precision=float32",
)


def cameras(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> tuple[Camera, ...]:
    """Cameras all around the origin, at distance 2.5."""
    return multiview_cameras(count, 2.5, 0.6, size, seed=seed)


def draw_sphere(camera: Camera, centre: Centre = ORIGIN) -> tuple[np.ndarray, np.ndarray]:
    """Image [H, W, 4] in [0, 1] and planar depth [H, W] (0 = nothing), a ray a pixel centre."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    x, y = (x - camera.cx) / camera.fl_x, (camera.cy - y) / camera.fl_y
    # One unit along such a ray is one unit of planar depth.
    rays = np.stack([x, y, -np.ones_like(x)], -1) @ camera.cam_to_world[:3, :3].T
    offset = camera.position - np.asarray(centre)
    a, b = (rays**2).sum(-1), rays @ offset
    inside = b**2 - a * (offset @ offset - RADIUS**2)
    depth = np.where(inside > 0.0, (-b - np.sqrt(np.maximum(inside, 0.0))) / a, 0.0)
    on_sphere = (offset + rays * depth[..., None]) / RADIUS
    colour = np.where(on_sphere > 0.0, 0.85, 0.15)
    image = np.concatenate([colour, np.ones_like(x)[..., None]], -1)
    return image * (inside > 0.0)[..., None], depth


def sphere_views(count: int, centre: Centre = ORIGIN, seed: int = 0) -> Views:
    """Images of the sphere as a reader would give them."""
    rig = cameras(count, seed=seed)
    drawn = [draw_sphere(camera, centre) for camera in rig]
    images = torch.tensor(np.stack([image for image, _ in drawn]), dtype=torch.float32)
    depth = torch.tensor(np.stack([depth for _, depth in drawn]), dtype=torch.float32)
    return Views(images, rig, depth, tuple(f"train/{fmt.image_name(i)}" for i in range(count)))


def write_frame(folder: Path, centre: Centre = ORIGIN) -> Path:
    """A frame folder with 10 train, 2 val and 2 test images, the test ones with depth."""
    for split, count, seed in (("train", 10, 0), ("val", 2, 1), ("test", 2, 2)):
        (folder / split).mkdir(parents=True)
        names = [f"{split}/{fmt.image_name(i)}" for i in range(count)]
        depths = [f"{name}_depth.png" for name in names] if split == "test" else None
        rig = cameras(count, seed=seed)
        for camera, name in zip(rig, names, strict=True):
            image, depth = draw_sphere(camera, centre)
            pixels = np.rint(image * 255.0).astype(np.uint8)
            (folder / f"{name}.png").write_bytes(encode_png(pixels))
            if depths:
                encoded = encode_depth(depth, DEPTH_SCALE)
                (folder / f"{name}_depth.png").write_bytes(encoded)
        scale = DEPTH_SCALE if depths else None
        fmt.write_transforms(folder, split, rig, names, depths, scale)
    return folder


def small_config(**attention: Any) -> ModelConfig:
    """A model config of width 16 whose new models cover the object; ``attention`` overrides."""
    values: dict[str, Any] = {
        "width": 16,
        "score_width": 16,
        "value_width": 8,
        "frequencies": 2,
        "background_score": 0.0,
        **attention,
    }
    return ModelConfig(AttentionConfig(**values), point_features=8, unet_base=8, neighbours=6)


def sphere_points(count: int, features: int = 8) -> PointRows:
    """Random points on the sphere around the origin."""
    directions = torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
    return PointRows(directions * RADIUS, torch.ones(count), torch.randn(count, features))


def small_model(count: int = 150, **attention: Any) -> Papr:
    """An untrained model of the sphere."""
    return Papr(small_config(**attention), sphere_points(count))


def one_view(size: tuple[int, int] = SIZE) -> RayBundle:
    """Rays of one camera."""
    return camera_rays(cameras(1, size)[0])


def brute_force_distances(rays: RayBundle, positions: Tensor, distance_to: str) -> Tensor:
    """Float64 distances of all points to all rays, [B, H, W, P]."""
    to_point = positions.double() - rays.origins.double()[:, None, None, None]
    direction = rays.directions.double().unsqueeze(-2)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    across = torch.linalg.cross(to_point.expand(*direction.shape[:3], -1, 3), direction)
    distance = across.norm(dim=-1)
    if distance_to == "half_line":
        behind = (to_point * direction).sum(-1) < 0.0
        distance = torch.where(behind, to_point.norm(dim=-1).expand_as(distance), distance)
    return distance

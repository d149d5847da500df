"""The one render path: training, evaluation and animation all call ``render``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.networks.attention import Attended
from sjc_papr.networks.config import ModelConfig
from sjc_papr.networks.fixed_search import fixed_nearest_points
from sjc_papr.networks.model import Papr
from sjc_papr.networks.nearest_points import nearest_points
from sjc_papr.networks.point_cloud import gather_rows
from sjc_papr.networks.precision import autocast
from sjc_papr.networks.rays import (
    RayBundle,
    RayPointGeometry,
    camera_rays,
    ray_point_geometry,
)
from sjc_papr.networks.unet import SmallUNet


@dataclass(frozen=True)
class RenderOutput:
    """Images of B windows, all float32 and differentiable.

    Attributes:
        rgb: [B, H, W, 3], not clamped, background included.
        alpha: [B, H, W] in [0, 1], one minus the background's attention.
        depth: expected planar depth of the surface, [B, H, W], world units; the weights are
            renormalised over the K points, so it is not pulled to zero where alpha is small.
        depth_variance: of the same distribution, [B, H, W]; large where front and back surfaces
            mix.
        surface: expected point of the surface, [B, H, W, 3], world units.
        scores: attention scores of the K points, [B, H, W, K].
        attention_weights: softmax over the K points alone, [B, H, W, K].
        indices: the K points of each ray, [B, H, W, K].
        proven: whether they are proven to be the nearest, bool [B, H, W]; false only in training
            with ``model.search=fixed`` and too few candidates.
        features: the feature map given to the UNet, [B, H, W, C].
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    depth_variance: Tensor
    surface: Tensor
    scores: Tensor
    attention_weights: Tensor
    indices: Tensor
    proven: Tensor
    features: Tensor

    def window(self, index: int) -> "RenderOutput":
        """One of the windows, as a batch of one."""
        return RenderOutput(
            **{f.name: getattr(self, f.name)[index : index + 1] for f in fields(self)}
        )

    def weights(self) -> Tensor:
        """Attention over points and background together, the background last, [B, H, W, K + 1]."""
        alpha = self.alpha.unsqueeze(-1)
        return torch.cat([self.attention_weights * alpha, 1.0 - alpha], dim=-1)


def render(
    model: Papr,
    rays: RayBundle,
    *,
    background: Tensor | float = 1.0,
    precision: str = "float32",
    max_rays: int | None = None,
    among: Tensor | None = None,
) -> RenderOutput:
    """Render B windows of rays.

    Args:
        among: numbers of the points there are, [Q] int64; None = all of them.
        background: colour behind the object, a number or [3], in [0, 1].
        precision: ``float32``, ``bfloat16`` or ``auto`` (see ``sjc_papr.networks.precision``).
        max_rays: attention is computed for at most this many rays at once, and without gradients
            the UNet paints bands of about as many pixels, each with the rows around it that it
            looks at, so that no seam can show. That bounds the memory.
    """
    batch, height, width, _ = rays.directions.shape
    step = height if max_rays is None else max(1, max_rays // (batch * width))
    parts = [
        _attend(model, rays.rows(start, min(start + step, height)), precision, among)
        for start in range(0, height, step)
    ]
    merged = {name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]}
    with autocast(merged["features"].device, precision):
        feature_map = merged["features"].permute(0, 3, 1, 2)
        banded = max_rays is not None and not torch.is_grad_enabled()
        foreground = _paint(model.unet, feature_map, step if banded else height)
    foreground = foreground.permute(0, 2, 3, 1).float()
    alpha = merged["alpha"].unsqueeze(-1)
    return RenderOutput(rgb=foreground * alpha + background * (1.0 - alpha), **merged)


def _paint(unet: SmallUNet, features: Tensor, rows: int) -> Tensor:
    """[B, C, H, W] to [B, 3, H, W] in bands of about ``rows`` rows."""
    height = features.shape[2]
    # Bands begin where pooling windows do, so that theirs are those of the whole image.
    rows = -(-rows // unet.STRIDE) * unet.STRIDE
    bands = []
    for top in range(0, height, rows):
        above, below = max(0, top - unet.REACH), min(height, top + rows + unet.REACH)
        band = features[:, :, above:below].contiguous(memory_format=torch.channels_last)
        bands.append(unet(band)[:, :, top - above :][:, :, : min(rows, height - top)])
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim=2)


@torch.inference_mode()
def render_cameras(
    model: Papr,
    cameras: Sequence[Camera],
    *,
    background: Tensor | float = 1.0,
    precision: str = "float32",
    max_rays: int = 1 << 14,
) -> Iterator[RenderOutput]:
    """Whole images without gradients, one output (B = 1) a camera, in their order.

    Neighbouring cameras of one image size are rendered together, as many as ``max_rays`` allow.
    """
    device = model.points.positions.device
    for (width, height), same_size in groupby(cameras, lambda c: (c.width, c.height)):
        waiting = list(same_size)
        together = max(1, max_rays // (width * height))
        for start in range(0, len(waiting), together):
            batch = [camera_rays(camera) for camera in waiting[start : start + together]]
            output = render(
                model,
                RayBundle.stack(batch).to(device),
                background=background,
                precision=precision,
                max_rays=max_rays,
            )
            yield from (output.window(i) for i in range(len(batch)))


def _attend(
    model: Papr, rays: RayBundle, precision: str, among: Tensor | None
) -> dict[str, Tensor]:
    cloud, config = model.points, model.config
    positions = cloud.positions.detach()
    indices, proven = _search(rays, positions if among is None else positions[among], config)
    if among is not None:
        indices = among[indices]
    points = gather_rows(cloud.positions, indices)
    geometry = ray_point_geometry(
        rays.origins, rays.directions, points, epsilon=config.attention.geometry_epsilon
    )
    with autocast(points.device, precision):
        attended = _within_reach(model, rays.directions, points, geometry, indices)
    # Depth along the optical axis: right wherever the camera looks (zvict/papr's is only for the
    # origin).
    planar = ((points - rays.origins[:, None, None, None]) * rays.forward[:, None, None, None]).sum(
        -1
    )
    depth = (attended.attention_weights * planar).sum(-1)
    return {
        "alpha": attended.alpha,
        "depth": depth,
        "depth_variance": (
            attended.attention_weights * (planar - depth.unsqueeze(-1)).square()
        ).sum(-1),
        "surface": (attended.attention_weights.unsqueeze(-1) * points).sum(-2),
        "scores": attended.scores,
        "attention_weights": attended.attention_weights,
        "indices": indices,
        "proven": proven,
        "features": attended.features,
    }


def _within_reach(
    model: Papr, directions: Tensor, points: Tensor, geometry: RayPointGeometry, indices: Tensor
) -> Attended:
    """Attention of all rays [B, H, W]; those out of ``attention.reach`` see background alone."""
    reach = model.config.attention.reach
    if not reach:
        return model.attention(directions, points, geometry, model.points, indices)
    near = (geometry.distance().detach() <= reach).any(-1)
    # A device in training would have to wait for the number of rays that are near.
    waits = near.device.type != "cpu" and torch.is_grad_enabled()
    attend = attend_all_and_mask if waits else attend_near
    return attend(model, near, directions, points, geometry, indices)


def attend_near(
    model: Papr,
    near: Tensor,
    directions: Tensor,
    points: Tensor,
    geometry: RayPointGeometry,
    indices: Tensor,
) -> Attended:
    """Attention of the rays that ``near``, bool [B, H, W], names; the others are not computed.

    Those have alpha, scores and features of 0 and equal weights.
    """
    rows = near.flatten().nonzero().squeeze(-1)
    if not len(rows):
        # One ray keeps the networks in the gradient's graph; its alpha does not count.
        rows = torch.zeros_like(near, dtype=torch.int64).flatten()[:1]

    def of(values: Tensor) -> Tensor:
        return values.flatten(0, 2).index_select(0, rows)

    def spread(values: Tensor, elsewhere: float) -> Tensor:
        full = values.new_full((near.numel(), *values.shape[1:]), elsewhere)
        return full.index_copy(0, rows, values).unflatten(0, near.shape)

    seen = RayPointGeometry(*(of(part) for part in geometry))
    # Not as ``compile_networks`` made it: it would be compiled again for each number of rays.
    features, weights, alpha, scores = model.attention.forward(
        of(directions), of(points), seen, model.points, of(indices)
    )
    return Attended(
        spread(features, 0.0),
        spread(weights, 1.0 / weights.shape[-1]),
        spread(alpha, 0.0) * near,
        spread(scores, 0.0),
    )


def attend_all_and_mask(
    model: Papr,
    near: Tensor,
    directions: Tensor,
    points: Tensor,
    geometry: RayPointGeometry,
    indices: Tensor,
) -> Attended:
    """What ``attend_near`` gives, in fixed shapes: all rays are computed, and most forgotten."""
    features, weights, alpha, scores = model.attention(
        directions, points, geometry, model.points, indices
    )
    far = ~near.unsqueeze(-1)
    return Attended(
        features.masked_fill(far, 0.0),
        weights.masked_fill(far, 1.0 / weights.shape[-1]),
        alpha.masked_fill(~near, 0.0),
        scores.masked_fill(far, 0.0),
    )


def _search(rays: RayBundle, positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """The K nearest points of each ray, and whether they are proven to be."""
    fixed = config.search == "fixed" or (config.search == "auto" and positions.device.type != "cpu")
    shared: dict[str, Any] = {
        "distance_to": config.distance_to,
        "max_pairs": config.search_pairs,
    }
    if fixed:
        indices, proven = fixed_nearest_points(
            rays, positions, config.neighbours, candidates=config.search_candidates, **shared
        )
        # In training nobody waits to look; the trainer counts the rays that are not proven.
        if torch.is_grad_enabled() or bool(proven.all()):
            return indices, proven
    indices = nearest_points(rays, positions, config.neighbours, **shared)
    return indices, torch.ones_like(indices[..., 0], dtype=torch.bool)

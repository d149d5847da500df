"""Near-view consistency: what a view shows, a view from a little to the side must show too.

Three definitions, chosen by ``NearConfig.mode``:

* ``paired_l1``, cvlab-columbia/zero123's 3drec: mean |rgb' - rgb| + λ mean |depth' - depth| of two
  renders whose eyes differ slightly. Nothing is warped, so correct geometry is punished as well:
  it is a smoothness prior.
* ``eq1_pseudo``, Eq. (1) of the VideoPAPR report with the base render as the truth: every near
  pixel is carried to the base by its own depth, and squared differences of colour and depth are
  taken where the base sees that point. Correct geometry costs almost nothing.
* ``eq1_gt``, the same equation against the images of the nearest dataset views.

Each view is rendered from rays of its own camera. Losses do not depend on the scale of the world.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.novel_view.geometry_config import NearConfig


class RenderedView(NamedTuple):
    """One rendered view; the tensors are differentiable.

    Attributes:
        camera: of the H x W image.
        rgb: [H, W, 3] in [0, 1]. depth: planar, [H, W], world units. alpha: [H, W] in [0, 1].
    """

    camera: Camera
    rgb: Tensor
    depth: Tensor
    alpha: Tensor

    def detach(self) -> "RenderedView":
        """The same view as a constant."""
        return RenderedView(
            self.camera, self.rgb.detach(), self.depth.detach(), self.alpha.detach()
        )


class NearResult(NamedTuple):
    """A loss, and what to look at.

    Attributes:
        loss: a number. mask: bool [H, W], the near pixels compared (``eq1_gt``: those whose depth
            is). warped: [H, W, 3], what each of them is compared with, without gradient.
    """

    loss: Tensor
    mask: Tensor
    warped: Tensor


def near_camera(
    camera: Camera, config: NearConfig, object_length: float, generator: torch.Generator
) -> Camera:
    """A camera whose eye has moved a little in a random direction and that looks at the origin.

    A base that looks past the origin keeps its aim: the point of its optical axis nearest to the
    origin. Intrinsics and roll stay.

    Args:
        generator: a CPU generator; three normal numbers are drawn.
        object_length: of the longest side of the object's box, world units.
    """
    step = torch.randn(3, generator=generator, dtype=torch.float64).numpy()
    eye = camera.position + config.perturbation * object_length * step / np.linalg.norm(step)
    aim = camera.position - camera.forward * (camera.position @ camera.forward)
    pose = look_at(eye, target=aim, up=camera.cam_to_world[:3, 1])
    return replace(camera, cam_to_world=pose)


def near_view_loss(
    base: RenderedView, near: RenderedView, config: NearConfig, object_length: float
) -> NearResult:
    """``paired_l1`` or ``eq1_pseudo`` of two rendered views; exactly 0 for the same view twice.

    Args:
        base: constant in ``eq1_pseudo``, and in ``paired_l1`` with ``stop_gradient=base``.
        near: from ``near_camera``.
        object_length: of the longest side of the object's box, world units.

    Raises:
        ValueError: the mode needs images, or paired views differ in size.
    """
    _check_view(base)
    _check_view(near)
    if config.mode == "paired_l1":
        return _paired(base, near, config, object_length)
    if config.mode == "eq1_pseudo":
        return _pseudo(base.detach(), near, config, object_length)
    raise ValueError(f"near.mode={config.mode} compares with pictures: see ground_truth_loss")


def ground_truth_loss(
    view: RenderedView,
    image: Tensor,
    depth: Tensor | None,
    config: NearConfig,
    object_length: float,
) -> NearResult:
    """``eq1_gt`` of one dataset view: squared differences from its image and its depth.

    The views are ``nearest_views`` of the base; Eq. (1) adds up their losses.

    Args:
        image: [H, W, 3] in [0, 1], on the background the view was rendered with.
        depth: planar, [H, W], world units, 0 = no surface; None where the dataset has none, then
            colours alone count.
    """
    _check_view(view)
    colour = (view.rgb - image).square().mean(-1)
    if depth is None:
        mask = torch.zeros_like(view.depth, dtype=torch.bool)
        return NearResult(_reduce(colour, config), mask, image)
    mask = depth > 0.0
    error = ((view.depth - depth) / object_length).square()
    loss = colour + config.depth_weight * torch.where(mask, error, 0.0)
    return NearResult(_reduce(loss, config), mask, image)


def _paired(
    base: RenderedView, near: RenderedView, config: NearConfig, object_length: float
) -> NearResult:
    if base.rgb.shape != near.rgb.shape:
        raise ValueError(f"paired views differ in size: {base.rgb.shape}, {near.rgb.shape}")
    if config.stop_gradient == "base":
        base = base.detach()
    colour = (near.rgb - base.rgb).abs().mean(-1)
    depth = (_filled_depth(near) - _filled_depth(base)).abs() / object_length
    mask = torch.ones_like(near.alpha, dtype=torch.bool)
    return NearResult(
        _reduce(colour + config.depth_weight * depth, config), mask, base.rgb.detach()
    )


def _filled_depth(view: RenderedView) -> Tensor:
    """Depth [H, W] with the background in the plane through the origin.

    PAPR's depth means nothing where alpha is small, and a background at depth 0 would be the
    nearest thing of all.
    """
    through_origin = -float(view.camera.position @ view.camera.forward)
    return view.alpha * view.depth + (1.0 - view.alpha) * through_origin


def _pseudo(
    base: RenderedView, near: RenderedView, config: NearConfig, object_length: float
) -> NearResult:
    pixels, depth = reproject(near.depth, near.camera, base.camera)
    covered = (base.alpha > config.alpha_threshold).to(near.rgb.dtype)
    seen = torch.cat([base.rgb, base.depth[..., None], covered[..., None]], dim=-1)
    seen = bilinear(seen, pixels)
    there = (depth - seen[..., 3]) / object_length
    with torch.no_grad():
        mask = (near.alpha > config.alpha_threshold) & (near.depth > 0.0) & (depth > 0.0)
        mask &= _inside(pixels, base.camera)
        # Every base pixel that is mixed in must show the object.
        mask &= seen[..., 4] > 0.999
        mask &= there.abs() < config.visibility_tolerance
    error = (near.rgb - seen[..., :3]).square().mean(-1) + config.depth_weight * there.square()
    loss = _reduce(torch.where(mask, error, 0.0), config)
    return NearResult(loss, mask, seen[..., :3].detach())


def reproject(depth: Tensor, camera: Camera, other: Camera) -> tuple[Tensor, Tensor]:
    """Where another camera sees the surface that one camera sees at planar depth [H, W].

    X = o + t d, projected; as the homography of the far plane plus the eyes' parallax over depth,
    which for equal cameras is the identity to the last bit.

    Returns:
        Pixels [H, W, 2] as (x, y), and planar depth [H, W] in the other camera, world units; both
        differentiable. Where either depth is not positive the pixels mean nothing (but are
        finite).
    """
    height, width = depth.shape
    relative = other.world_to_cam @ camera.cam_to_world
    project = other.axes_to_pixels
    homography = project @ relative[:3, :3] @ np.linalg.inv(camera.axes_to_pixels)
    parallax = project @ relative[:3, 3]
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    # Rounded, or the noise of the two inversions would keep equal cameras from being equal.
    homography, parallax = homography.round(12), parallax.round(12)
    far = torch.from_numpy(np.stack([x, y, np.ones_like(x)], axis=-1) @ homography.T).to(depth)
    in_front = torch.where(depth > 0.0, depth, 1.0)[..., None]
    # Divided by depth, so that for equal cameras nothing is ever multiplied and divided again.
    seen = far + torch.from_numpy(parallax).to(depth) / in_front
    scale = seen[..., 2:]
    safe = torch.where(scale > 0.0, scale, 1.0)
    return seen[..., :2] / safe, scale[..., 0] * depth


def bilinear(image: Tensor, pixels: Tensor) -> Tensor:
    """Values [H', W', C] of an image [H, W, C] at pixels [H', W', 2]; centres at half-integers.

    Beyond the outermost centres the image continues as it ends. Differentiable in both. At a
    pixel's centre the result is that pixel's value to the last bit, which ``grid_sample``, with
    its coordinates from -1 to 1, does not give.
    """
    height, width = image.shape[:2]
    x = (pixels[..., 0] - 0.5).clamp(0.0, width - 1.0)
    y = (pixels[..., 1] - 0.5).clamp(0.0, height - 1.0)
    left, top = x.detach().floor().long(), y.detach().floor().long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = image[top, left] + across * (image[top, right] - image[top, left])
    lower = image[bottom, left] + across * (image[bottom, right] - image[bottom, left])
    return upper + down * (lower - upper)


def _inside(pixels: Tensor, camera: Camera) -> Tensor:
    """Which pixels [..., 2] lie in the camera's image."""
    x, y = pixels.unbind(-1)
    return (x >= 0.0) & (x <= camera.width) & (y >= 0.0) & (y <= camera.height)


def _reduce(errors: Tensor, config: NearConfig) -> Tensor:
    """Errors [H, W] to a number; what is not compared counts as no error."""
    return 3.0 * errors.sum() if config.reduction == "sum" else errors.mean()


def _check_view(view: RenderedView) -> None:
    size = (view.camera.height, view.camera.width)
    assert view.rgb.shape == (*size, 3) and view.depth.shape == size and view.alpha.shape == size

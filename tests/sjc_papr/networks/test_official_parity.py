"""The official PAPR code's own numbers (random weights, two cameras) against ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.import_papr import convert_official, read_official
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle, camera_rays
from sjc_papr.networks.renderer import RenderOutput, render


@pytest.fixture(scope="module")
def official(shared_data: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared_data / "fixtures" / "papr_official_a.npz"))


@pytest.fixture(scope="module")
def checkpoint(shared_data: Path) -> dict[str, Tensor]:
    return read_official(shared_data / "fixtures" / "papr_official_a.pth")[1]


def our_model(official: dict[str, np.ndarray], tensors: dict[str, Tensor], scale: float) -> Papr:
    background = float(official["background_score"])
    return convert_official(tensors, coordinate_scale=scale, background_score=background)


def our_camera(official: dict[str, np.ndarray], view: int) -> Camera:
    width, height = int(official["W"]), int(official["H"])
    return Camera.from_angle_x(
        official["c2w"][view], width, height, float(official["camera_angle_x"])
    )


def attention_by_point(output: RenderOutput, count: int) -> Tensor:
    """Weights in a row per ray with a place for every point, background last, [H, W, P + 1]."""
    weights = output.weights()[0]
    dense = torch.zeros(*weights.shape[:2], count + 1)
    dense[..., -1] = weights[..., -1]
    return dense.scatter_(-1, output.indices[0], weights[..., :-1])


@pytest.mark.parametrize("view", [0, 1])
def test_picture_attention_and_neighbours(
    official: dict[str, np.ndarray], checkpoint: dict[str, Tensor], view: int
) -> None:
    model = our_model(official, checkpoint, float(official["coord_scale"]))
    with torch.inference_mode():
        output = render(model, camera_rays(our_camera(official, view)))

    indices = torch.from_numpy(official["topk"][view]).long()
    assert torch.equal(output.indices[0].sort(-1).values, indices.sort(-1).values)

    theirs = torch.from_numpy(official["attention"][view])
    count = len(model.points)
    dense = torch.zeros(*theirs.shape[:2], count + 1)
    dense[..., -1] = theirs[..., -1]
    dense.scatter_(-1, indices, theirs[..., :-1])
    assert (attention_by_point(output, count) - dense).abs().max() < 1e-4
    assert (output.features[0] - torch.from_numpy(official["features"][view])).abs().max() < 1e-4
    assert (output.rgb[0] - torch.from_numpy(official["rgb"][view])).abs().max() < 1e-4


def test_rays_are_the_same(official: dict[str, np.ndarray]) -> None:
    for view in (0, 1):
        rays = camera_rays(our_camera(official, view))
        eye = rays.origins[0].numpy() * float(official["coord_scale"])
        assert np.abs(rays.directions[0].numpy() - official["rays_d"][view]).max() < 1e-6
        assert np.abs(eye - official["rays_o"][view]).max() < 1e-5


def test_gradients(official: dict[str, np.ndarray], checkpoint: dict[str, Tensor]) -> None:
    model = our_model(official, checkpoint, 1.0)
    rays = RayBundle(
        torch.from_numpy(official["rays_o"][:1]),
        torch.from_numpy(official["rays_d"][:1]),
        torch.from_numpy(-official["c2w"][:1, :3, 2]),
    )
    render(model, rays).rgb.square().mean().backward()
    ours = {
        "points": model.points.positions.grad,
        "influence": model.points.influence.grad,
        "features": model.points.features.grad,
    }
    for name, gradient in ours.items():
        assert gradient is not None
        theirs = torch.from_numpy(official[f"grad_{name}"]).view_as(gradient)
        error = gradient - theirs
        assert error.abs().max() < 1e-3 * theirs.abs().max(), name
        assert error.norm() < 1e-3 * theirs.norm(), name

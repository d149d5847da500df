"""The official PAPR code's own numbers (random weights, two cameras) against ours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from official_papr import PIXEL_ROWS, official_numbers, official_tensors
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.import_papr import convert_official, read_official
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle, camera_rays
from sjc_papr.networks.renderer import RenderOutput, render


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    return official_numbers()


@pytest.fixture(scope="module")
def whole(shared_data: Path) -> dict[str, np.ndarray]:
    """The full output, with PAPR's UNet in ``checkpoint``."""
    return dict(np.load(shared_data / "fixtures" / "papr_official_a.npz"))


@pytest.fixture(scope="module")
def checkpoint(shared_data: Path) -> dict[str, Tensor]:
    return read_official(shared_data / "fixtures" / "papr_official_a.pth")[1]


def our_model(official: dict[str, np.ndarray], tensors: dict[str, Tensor], scale: float) -> Papr:
    background = float(official["background_score"])
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
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


def official_rays(official: dict[str, np.ndarray], directions: str) -> RayBundle:
    """Of camera 0, in the official code's coordinates."""
    return RayBundle(
        torch.from_numpy(official["rays_o"][:1]),
        torch.from_numpy(official[directions][:1]),
        torch.from_numpy(-official["c2w"][:1, :3, 2]),
    )


def assert_official_gradients(model: Papr, official: dict[str, np.ndarray]) -> None:
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


@pytest.mark.parametrize("view", [0, 1])
def test_attention_and_neighbours(official: dict[str, np.ndarray], view: int) -> None:
    model = our_model(official, official_tensors(), float(official["coord_scale"]))
    with torch.inference_mode():
        output = render(model, camera_rays(our_camera(official, view)))

    indices = torch.from_numpy(official["topk"][view]).long()
    ours = output.indices[0, PIXEL_ROWS]
    assert torch.equal(ours.sort(-1).values, indices.sort(-1).values)

    theirs = torch.from_numpy(official["attention"][view])
    count = len(model.points)
    dense = torch.zeros(*theirs.shape[:2], count + 1)
    dense[..., -1] = theirs[..., -1]
    dense.scatter_(-1, indices, theirs[..., :-1])
    assert (attention_by_point(output, count)[PIXEL_ROWS] - dense).abs().max() < 1e-4
    features = torch.from_numpy(official["features"][view])
    assert (output.features[0, PIXEL_ROWS] - features).abs().max() < 1e-4


def test_rays_are_the_same(official: dict[str, np.ndarray]) -> None:
    for view in (0, 1):
        rays = camera_rays(our_camera(official, view))
        eye = rays.origins[0].numpy() * float(official["coord_scale"])
        directions = rays.directions[0, PIXEL_ROWS].numpy()
        assert np.abs(directions - official["rays_d"][view]).max() < 1e-6
        assert np.abs(eye - official["rays_o"][view]).max() < 1e-5


def test_gradients_of_the_attention(official: dict[str, np.ndarray]) -> None:
    """From the gradients that the official UNet's weights give at the feature map and alpha."""
    model = our_model(official, official_tensors(), 1.0)
    output = render(model, official_rays(official, "all_rays_d"))
    back = [torch.from_numpy(official[name]) for name in ("grad_of_map", "grad_of_alpha")]
    torch.autograd.backward([output.features, output.alpha], back)
    assert_official_gradients(model, official)


@pytest.mark.parametrize("view", [0, 1])
def test_the_whole_picture(
    whole: dict[str, np.ndarray], checkpoint: dict[str, Tensor], view: int
) -> None:
    model = our_model(whole, checkpoint, float(whole["coord_scale"]))
    with torch.inference_mode():
        output = render(model, camera_rays(our_camera(whole, view)))
    assert (output.features[0] - torch.from_numpy(whole["features"][view])).abs().max() < 1e-4
    assert (output.rgb[0] - torch.from_numpy(whole["rgb"][view])).abs().max() < 1e-4


def test_gradients_of_the_whole(
    whole: dict[str, np.ndarray], checkpoint: dict[str, Tensor]
) -> None:
    model = our_model(whole, checkpoint, 1.0)
    render(model, official_rays(whole, "rays_d")).rgb.square().mean().backward()
    assert_official_gradients(model, whole)

"""PAPR on the GPU against the CPU: nearest points, images, gradients.

Tolerances: sets of points are equal but for ties in float64; images 1e-4 in float32 and 2e-2 in
bfloat16; gradients in float32 1e-3 of each largest, in bfloat16 a cosine above 0.97 between the
whole gradients (0.987 and 0.9996 on a CPU, against float32).
"""

from copy import deepcopy

import pytest
import torch
from tiny_scene import one_view, small_model
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks.fixed_search import fixed_nearest_points
from sjc_papr.networks.nearest_points import nearest_points
from sjc_papr.networks.rays import CameraTable, PixelWindow, camera_rays
from sjc_papr.networks.renderer import render

IMAGE = {"float32": 1e-4, "bfloat16": 2e-2}
GRADIENT, COSINE = 1e-3, 0.97
FORMS = [{"offsets": "relative"}, {"offsets": "official", "proximity": False}]


@pytest.mark.parametrize("kind", ["half_line", "line"])
@pytest.mark.parametrize("distance", [2.5, 400.0])
def test_nearest_points_are_the_same_sets(device: torch.device, kind: str, distance: float) -> None:
    positions = torch.rand(4000, 3) - 0.5
    camera = Camera.from_angle_x(look_at((0.0, -distance, 0.3)), 61, 45, 1.2 / distance)
    rays = camera_rays(camera)
    expected = nearest_points(rays, positions, 20, distance_to=kind).sort(-1).values
    there = rays.to(device), positions.to(device)
    tiles = nearest_points(*there, 20, distance_to=kind).cpu()
    fixed, proven = (x.cpu() for x in fixed_nearest_points(*there, 20, distance_to=kind))
    assert proven.float().mean() > 0.99
    for found, where in ((tiles, torch.ones_like(proven)), (fixed, proven)):
        same = (found.sort(-1).values == expected).all(-1)
        assert same[where].float().mean() > 0.999


def test_rays_made_on_the_device(device: torch.device) -> None:
    camera = Camera.from_angle_x(look_at((1.0, -2.0, 0.7)), 64, 48, 0.7)
    window = PixelWindow(5, 9, 30, 22)
    ours, usual = CameraTable([camera], device).rays(0, window), camera_rays(camera, window)
    assert torch.allclose(ours.directions.cpu(), usual.directions, rtol=0.0, atol=1.2e-7)


@pytest.mark.parametrize("precision", list(IMAGE))
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["offsets"])
def test_image_and_gradients(device: torch.device, precision: str, form: dict) -> None:
    reference = small_model(300, **form)
    there, rays = deepcopy(reference).to(device), one_view()
    weights = torch.randn(*rays.directions.shape)

    def results(model: torch.nn.Module, on: torch.device, how: str) -> tuple[Tensor, dict]:
        output = render(model, rays.to(on), precision=how)  # type: ignore[arg-type]
        (output.rgb * weights.to(on)).sum().backward()
        gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
        return output.rgb.detach().cpu(), gradients

    image, gradients = results(there, device, precision)
    expected, wanted = results(reference, torch.device("cpu"), "float32")
    assert (image - expected).abs().max() < IMAGE[precision]
    assert gradients.keys() == wanted.keys()
    if precision == "bfloat16":  # of small tensors, sums that cancel are mostly rounding
        whole = [torch.cat([g[name].flatten() for name in wanted]) for g in (gradients, wanted)]
        assert torch.cosine_similarity(*whole, dim=0) > COSINE
        return
    for name, gradient in wanted.items():
        allowed = GRADIENT * gradient.abs().max() + 1e-6
        assert (gradients[name] - gradient).abs().max() <= allowed, name

"""The search of fixed shapes: the same sets wherever it says that they are proven."""

import pytest
import torch
from tiny_scene import small_model
from torch import Tensor

from blender_render.geometry.cameras import Camera, look_at
from sjc_papr.networks import renderer
from sjc_papr.networks.fixed_search import fixed_nearest_points
from sjc_papr.networks.nearest_points import nearest_points
from sjc_papr.networks.rays import CameraTable, PixelWindow, RayBundle, camera_rays
from sjc_papr.networks.renderer import render

KINDS = ("half_line", "line")


def bundle(eye: tuple[float, float, float], size: tuple[int, int], angle: float) -> RayBundle:
    return camera_rays(Camera.from_angle_x(look_at(eye), *size, angle))


def same_sets(found: Tensor, expected: Tensor) -> Tensor:
    return (found.sort(-1).values == expected.sort(-1).values).all(-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eye", [(1.5, -2.0, 1.0), (0.1, 0.05, -0.2), (0.0, -700.0, 0.0)])
def test_proven_sets_are_those_of_the_tile_search(
    eye: tuple[float, float, float], kind: str
) -> None:
    positions = torch.rand(500, 3) - 0.5
    rays = bundle(eye, (23, 14), 0.6 if eye[1] > -700.0 else 2e-3)
    expected = nearest_points(rays, positions, 8, distance_to=kind)
    for candidates in (16, 64, 500):
        found, proven = fixed_nearest_points(
            rays, positions, 8, distance_to=kind, candidates=candidates
        )
        assert found.shape == expected.shape and proven.shape == expected.shape[:3]
        assert same_sets(found, expected)[proven].all()
    assert proven.all()  # all points looked at


def test_few_candidates_prove_few_rays_and_say_so() -> None:
    positions = torch.rand(500, 3) - 0.5
    rays = bundle((1.5, -2.0, 1.0), (16, 16), 0.6)
    shares = [
        fixed_nearest_points(rays, positions, 8, candidates=n)[1].float().mean().item()
        for n in (8, 40, 200)
    ]
    assert shares[0] < 0.2 < shares[2] and shares == sorted(shares)


def test_memory_bound_changes_nothing() -> None:
    positions = torch.rand(300, 3) - 0.5
    rays = RayBundle.stack([bundle((0, -2, 1), (13, 9), 0.5), bundle((2, 0, 1), (13, 9), 0.5)])
    whole = fixed_nearest_points(rays, positions, 5, candidates=50)
    parts = fixed_nearest_points(rays, positions, 5, candidates=50, max_pairs=700)
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_fewer_points_than_neighbours() -> None:
    rays = bundle((0, -2, 1), (8, 8), 0.5)
    found, proven = fixed_nearest_points(rays, torch.rand(3, 3), 5)
    assert found.shape == (1, 8, 8, 3) and proven.all()


def test_evaluation_searches_again_where_a_ray_is_not_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, again = small_model(200), []
    model.config.search, model.config.search_candidates = "fixed", 6
    exact = renderer.nearest_points

    def counting(*arguments: object, **named: object) -> Tensor:
        again.append(True)
        return exact(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(renderer, "nearest_points", counting)
    rays = bundle((0.0, -2.5, 0.0), (12, 12), 0.5)
    with torch.no_grad():
        output = render(model, rays)
    assert again and output.proven.all()
    assert not render(model, rays).proven.all()


@pytest.mark.parametrize("window", [None, (3, 5, 4, 7)])
def test_camera_table_makes_the_same_rays(window: tuple[int, int, int, int] | None) -> None:
    cameras = [
        Camera.from_angle_x(look_at(eye), 21, 16, 0.7)
        for eye in ((1.0, -2.0, 0.7), (90.0, 3.0, 9.0))
    ]
    table = CameraTable(cameras, torch.device("cpu"))
    place = PixelWindow(*window) if window else PixelWindow(0, 0, 16, 21)
    for index, camera in enumerate(cameras):
        ours, usual = table.rays(index, place), camera_rays(camera, place)
        for name in ("origins", "directions", "forward"):
            assert torch.allclose(getattr(ours, name), getattr(usual, name), rtol=0, atol=1.2e-7)
        assert torch.equal(ours.origins, usual.origins)

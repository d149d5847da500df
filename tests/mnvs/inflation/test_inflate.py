"""Round bodies from silhouettes: squares, Poisson's equation, colours, motions."""

import math

import numpy as np
import pytest
import torch

from blender_render.geometry.cameras import SIXVIEW_RIGS
from mnvs.inflation.crop import Square, cut_camera, cut_out, object_square
from mnvs.inflation.frustum import REACH, Frustum, Part, camera_rays, render
from mnvs.inflation.inflate import half_thickness, inflate
from mnvs.inflation.motion import MOTIONS, Body, Joint, limb_sources, moved, source_of
from training_core.config import InputError

RIG = SIXVIEW_RIGS["v1.2"]


def disc(size: int, radius: float) -> torch.Tensor:
    steps = torch.arange(size) + 0.5 - size / 2
    return steps[:, None].square() + steps.square() <= radius**2


def test_the_square_is_around_the_object() -> None:
    alpha = torch.zeros(2, 20, 30)
    alpha[0, 4:10, 12:15], alpha[1, 5:8, 20:22] = 1.0, 0.6
    assert object_square(alpha[:1], 0.5) == Square(7.5, 1.0, 12.0)
    assert object_square(alpha, 1.0) == Square(12.0, 2.0, 10.0)  # of both
    with pytest.raises(InputError, match="no object"):
        object_square(torch.full((4, 4), 0.4), 0.9)


def test_cutting_out_whole_pixels_copies_them_and_beyond_is_nothing() -> None:
    rgba = torch.rand(1, 12, 10, 4, generator=torch.Generator().manual_seed(0))
    made = cut_out(rgba, Square(4.0, -2.0, 8.0), 8)
    expected = rgba[0, :6, 4:].movedim(-1, 0)
    torch.testing.assert_close(made[0, :3, 2:, :6], expected[:3] * expected[3:])
    torch.testing.assert_close(made[0, 3, 2:, :6], expected[3])
    assert not made[0, :, :2].any() and not made[0, :, :, 6:].any()


def test_cutting_out_shrinks_by_area() -> None:
    rgba = torch.zeros(1, 32, 32, 4)
    rgba[:, :, ::2] = 1.0  # stripes as thin as can be
    made = cut_out(rgba, Square(0.0, 0.0, 32.0), 8)
    assert (made[0, :, :, 1:-1] - 0.5).abs().max() < 0.05


def test_the_cut_camera_sees_points_where_the_square_has_them() -> None:
    camera = RIG.camera(40.0, 20.0, 64)
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (9, 3))
    before, _ = camera.project(points)
    after, _ = cut_camera(camera, Square(10.0, -4.0, 24.0), 48).project(points)
    np.testing.assert_allclose(after, (before - [10.0, -4.0]) * 2.0, atol=1e-9)


def test_half_thickness_solves_the_equation() -> None:
    """Against a dense solve of the same equations, on a shape with a hole."""
    inside = disc(14, 6.0)
    inside[6:8, 6:8] = False
    places = inside.nonzero().tolist()
    number = {tuple(place): k for k, place in enumerate(places)}
    matrix = torch.eye(len(places), dtype=torch.float64) * 4.0
    for (y, x), k in number.items():
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if other in number:
                matrix[k, number[other]] = -1.0
    u = torch.linalg.solve(matrix, torch.full((len(places),), 4.0, dtype=torch.float64))
    found = half_thickness(inside)
    torch.testing.assert_close(found[inside], u.sqrt().float(), atol=1e-3, rtol=1e-3)
    assert not found[~inside].any()


def test_a_disc_becomes_a_ball() -> None:
    found, radius = half_thickness(disc(64, 25.0)), 25.0
    steps = torch.arange(64) + 0.5 - 32.0
    ball = (radius**2 - steps[:, None].square() - steps.square()).clamp_min(0.0).sqrt()
    # At the outline, where a ball is steep, the pixels' steps show.
    assert (found - ball)[disc(64, 22.0)].abs().max() < 0.06 * radius
    assert not half_thickness(torch.zeros(5, 5, dtype=torch.bool)).any()


def test_an_inflated_disc_looks_like_a_disc_from_the_side() -> None:
    camera = RIG.camera(0.0, 0.0, 64)
    picture = torch.cat([torch.full((3, 64, 64), 0.3), torch.ones(1, 64, 64)]) * disc(64, 20.0)
    frustum = Frustum.of(camera)
    volume = inflate(picture, frustum, thickness=1.0)
    areas = []
    for azimuth in (0.0, 90.0, 200.0):
        colour, alpha = render(
            [Part(volume)], frustum, camera_rays(RIG.camera(azimuth, 0.0, 64)), 96
        )
        areas.append(float(alpha.sum()))
        shown = alpha > 0.5
        assert (colour[shown] / alpha[shown, None] - 0.3).abs().max() < 0.01
    expected = math.pi * 20.0**2
    # Behind the origin a pixel is wider, so the back is larger than the front.
    assert all(0.95 < area / expected < 1.3 for area in areas)


def test_what_is_thin_is_not_lost() -> None:
    picture = torch.zeros(4, 32, 32)
    picture[:, 4:28, 16] = 1.0  # one pixel wide
    frustum = Frustum.of(RIG.camera(0.0, 0.0, 32))
    _, alpha = render(
        [Part(inflate(picture, frustum, 0.7))], frustum, camera_rays(RIG.camera(0.0, 0.0, 32)), 64
    )
    assert alpha.view(32, 32)[6:26, 16].min() > 0.4


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_begin_at_rest_come_round_and_grow_with_strength(motion: str) -> None:
    body = Body(-0.4, 0.4, 0.2)
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(source_of(motion, body, 0.0, 1.0)(points), points)
    round_again = source_of(motion, body, 1.0, 1.0)(points)
    torch.testing.assert_close(round_again, points, atol=1e-5, rtol=0)
    moved = [
        float((source_of(motion, body, 0.3, strength)(points) - points).norm(dim=-1).mean())
        for strength in (0.0, 0.5, 1.0)
    ]
    if motion == "none":
        assert moved == [0.0, 0.0, 0.0]
    else:
        assert moved[0] < 1e-6 and 0.001 < moved[1] < moved[2] < 0.2


@pytest.mark.parametrize("motion", ["walk", "sway", "swim"])
def test_motions_keep_volumes(motion: str) -> None:
    """Shears and turns have determinant 1, but where legs begin."""
    body = Body(-0.4, 0.4, 0.2)
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(20, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.8
    source = source_of(motion, body, 0.2, 1.0)
    for point in points:
        jacobian = torch.autograd.functional.jacobian(source, point)
        assert abs(float(torch.linalg.det(jacobian)) - 1.0) < 1e-6


def test_walking_legs_swing_against_each_other() -> None:
    body = Body(-0.4, 0.4, 0.2)
    feet = torch.tensor([[-0.1, 0.0, -0.4], [0.1, 0.0, -0.4], [0.0, 0.0, 0.35]])
    moved = source_of("walk", body, 0.25, 1.0)(feet)[:, 1]
    assert moved[0] * moved[1] < 0 and abs(float(moved[0])) > 0.05 and abs(float(moved[2])) < 1e-6


def test_an_animal_seen_from_the_side_strides_along_the_picture() -> None:
    """On limbs and without: feet move along x, hind and fore against each other, not in depth."""
    body = Body(-0.2, 0.2, 0.45)
    feet = torch.tensor([[-0.3, 0.0, -0.2], [0.3, 0.0, -0.2], [0.0, 0.0, 0.15]])
    way = moved(source_of("walk", body, 0.25, 1.0), feet) - feet
    assert way[0, 0] * way[1, 0] < 0 and way[:2, 0].abs().min() > 0.03 and not way[:, 1].any()
    assert abs(float(way[2, 0])) < 1e-6
    joints = [Joint((x, 0.0, 0.0), True, 1 if x > 0 else -1, False) for x in (-0.3, 0.3)]
    _, limbs = limb_sources(joints, body, 0.25, 1.0)
    swings = [moved(s, feet[i : i + 1])[0] - feet[i] for i, s in enumerate(limbs)]
    assert swings[0][0] * swings[1][0] < 0 and abs(float(swings[0][0])) > 0.05
    assert all(abs(float(swing[1])) < 1e-6 for swing in swings)


def test_the_reach_holds_what_is_inflated() -> None:
    assert 0.5 * math.sqrt(2.0) <= REACH  # half the diagonal of the unit square

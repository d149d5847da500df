"""Where points of a moved body are: the motions inverted, and paths of its surface."""

import math

import pytest
import torch

from blender_render.geometry.cameras import SIXVIEW_RIGS
from mnvs.inflation.figure import make_figure, parts_at, tracks
from mnvs.inflation.frustum import Frustum, camera_rays, render
from mnvs.inflation.inflate import half_of, half_thickness, inflate
from mnvs.inflation.motion import MOTIONS, Body, Joint, limb_sources, moved, source_of

RIG = SIXVIEW_RIGS["v1.2"]
CAMERA = RIG.camera(0.0, 0.0, 64)
PHASES = [0.0, 0.2, 0.45, 0.8]


def figurine() -> torch.Tensor:
    """RGBA [4, 64, 64]: a round trunk with two legs."""
    inside = torch.zeros(64, 64, dtype=torch.bool)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside |= (x - 32) ** 2 + (y - 26) ** 2 <= 14**2
    inside |= (y > 26) & (y < 60) & ((x - 24).abs() < 3)
    inside |= (y > 26) & (y < 60) & ((x - 40).abs() < 3)
    return torch.cat([torch.full((3, 64, 64), 0.4), torch.ones(1, 64, 64)]) * inside


def drawn(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.8


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("motion", MOTIONS)
def test_moving_undoes_where_points_come_from(motion: str, strength: float) -> None:
    source = source_of(motion, Body(-0.4, 0.4, 0.2), 0.3, strength)
    places = drawn(300)
    torch.testing.assert_close(moved(source, source(places)), places, atol=1e-9, rtol=0)


def test_what_a_wild_motion_folds_is_left_where_it_was() -> None:
    """Of a long body, whose hind and fore legs cross, not every place is found."""
    source, places = source_of("walk", Body(-0.2, 0.2, 0.45), 0.75, 10.0), drawn(300)
    found = moved(source, places)
    right = (source(found) - places).norm(dim=-1) < 1e-4
    assert 100 < right.sum() < 300 and found.isfinite().all()
    torch.testing.assert_close(found[~right], places[~right], atol=0.0, rtol=0.0)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_moving_undoes_where_limbs_come_from(strength: float) -> None:
    joints = [
        Joint((-0.1, 0.0, -0.2), leg=True, side=-1, raised=False),
        Joint((0.1, 0.0, -0.2), leg=True, side=1, raised=False),
        Joint((0.2, 0.0, 0.2), leg=False, side=1, raised=True),
    ]
    trunk, limbs = limb_sources(joints, Body(-0.4, 0.4, 0.2), 0.15, strength)
    for source in (trunk, *limbs):
        places = drawn(100)
        torch.testing.assert_close(moved(source, source(places)), places, atol=1e-9, rtol=0)


def test_places_of_cells() -> None:
    frustum = Frustum.of(CAMERA)
    points = drawn(50).float()
    cells = frustum.cells(points)
    depth = -(points @ frustum.world_to_cam[:, :3].T + frustum.world_to_cam[:, 3])[:, 2:]
    found = frustum.places(0.5 * (cells[:, :2] + 1.0), depth - frustum.distance)
    torch.testing.assert_close(found, points, atol=1e-5, rtol=0)


def test_the_half_thickness_of_a_body_is_what_it_was_filled_with() -> None:
    picture, frustum = figurine(), Frustum.of(CAMERA)
    expected = half_thickness(picture[3] >= 0.5) * frustum.pixel(64) * 0.7
    thick = expected > 0.02
    found = half_of(inflate(picture, frustum, 0.7))
    assert thick.sum() > 500
    torch.testing.assert_close(found[thick], expected[thick], atol=1e-3, rtol=0)


@pytest.mark.parametrize("motion", ["walk", "sway"])
def test_paths_stay_on_the_surface_of_the_body(motion: str) -> None:
    frustum = Frustum.of(CAMERA)
    figure = make_figure(figurine(), frustum, 0.7, limbs=motion == "walk")
    assert len(figure.limbs) == (2 if motion == "walk" else 0)
    paths = tracks(figure, frustum, motion, PHASES, 1.0, 600)
    assert paths.shape == (4, 600, 3)
    way = (paths - paths[:1]).norm(dim=-1)
    assert way[1:].max() > 0.05 and not way[0].any()
    for phase, points in zip(PHASES, paths, strict=True):
        for azimuth in (0.0, 60.0, 150.0):
            camera = RIG.camera(azimuth, 10.0, 96)
            parts = parts_at(figure, motion, phase, 1.0)
            _, alpha = render(parts, frustum, camera_rays(camera), 192)
            seen, _ = camera.project(points.double().numpy())
            column, row = torch.from_numpy(seen).floor().long().clamp(0, 95).unbind(-1)
            on_body = torch.nn.functional.max_pool2d(alpha.view(1, 96, 96), 3, 1, 1)[0] > 0.2
            assert on_body[row, column].float().mean() > 0.98
    # Points lie in front and at the back: half the surface is nearer than its other half.
    front, back = paths[0].split(300)
    towards = -CAMERA.forward
    assert ((front - back).double() @ torch.from_numpy(towards) > 0).float().mean() > 0.99


def test_limbs_turn_about_their_joints() -> None:
    frustum = Frustum.of(CAMERA)
    figure = make_figure(figurine(), frustum, 0.7, limbs=True)
    rest, now = tracks(figure, frustum, "walk", [0.0, 0.25], 1.0, 2000).double()
    # At a quarter of the loop legs are farthest, one forward, one back, and the body is highest.
    up = torch.tensor([0.0, 0.0, 0.02 * figure.body.height], dtype=torch.double)
    angle, turns = math.radians(26.0), []
    for joint in figure.joints:
        place = torch.tensor(joint.place, dtype=torch.double)
        leg = (rest[:, 2] < place[2] - 0.1) & (rest[:, 0] * joint.side > 0.0)
        before, after = rest[leg] - place, now[leg] - place - up
        # Along y goes what hung below.
        sine = (after[:, 1] * before[:, 2] - after[:, 2] * before[:, 1]).mean()
        turns.append(float(sine / before[:, 1:].square().sum(-1).mean()))
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), atol=1e-5, rtol=0)
        assert leg.sum() > 50
    assert sorted(turns) == pytest.approx([-math.sin(angle), math.sin(angle)], abs=1e-4)
    head = rest[:, 2] > 0.3 * figure.body.top
    torch.testing.assert_close(now[head], rest[head] + up, atol=1e-6, rtol=0)

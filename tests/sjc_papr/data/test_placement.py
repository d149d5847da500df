"""Outlines that do not agree: how that is measured, that what was moved is found, and that nothing
else is touched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from six_balls import BALLS, SHIFTS, SIDE, body, rolled
from six_spheres import rig
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.outline_gaps import OutlineGaps, reach_of, signed_distance
from sjc_papr.data.placement import WORTH_MOVING, Placement, find_placement, moved_back


def test_signed_distances_are_those_of_the_plain_loop() -> None:
    alpha = (torch.rand(7, 9, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    found = signed_distance(alpha)
    cells = [(row, column) for row in range(7) for column in range(9)]
    for row, column in cells:
        inside = bool(alpha[row, column])
        apart = [np.hypot(row - r, column - c) for r, c in cells if bool(alpha[r, c]) is not inside]
        expected = (min(apart) - 0.5) * (1.0 if inside else -1.0)
        assert float(found[row, column]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("level", "sign"), [(0.0, -1.0), (1.0, 1.0)])
def test_where_there_is_no_outline_it_is_far(level: float, sign: float) -> None:
    assert torch.equal(signed_distance(torch.full((4, 6), level)), torch.full((4, 6), 6.0 * sign))


def slow_gap(
    alpha: Tensor, cameras: tuple[Camera, ...], view: int, place: tuple[int, int]
) -> float:
    """Signed distance to the outline that covers a ray's best point least, ray by ray."""
    camera = cameras[view]
    distances = [signed_distance(own) for own in alpha]
    pixel = (np.array(place) + 0.5 - [camera.cx, camera.cy]) * [1.0, -1.0] / camera.fl_x
    toward = camera.cam_to_world[:3, :3] @ np.array([*pixel, -1.0])
    far = float(np.linalg.norm(camera.position))
    best = -np.inf
    for depth in np.linspace(far - 0.8, far + 0.8, 200):
        point = camera.position + depth * toward
        least = np.inf
        for other, their in enumerate(cameras):
            if other == view:
                continue
            (x, y), _ = (values[0] for values in their.project(point[None]))
            # Beside a picture it goes on as at its border.
            column, row = (int(np.clip(at, 0, SIDE - 1)) for at in (x, y))
            least = min(least, float(distances[other][row, column]))
        best = max(best, least)
    return best


def test_gaps_are_those_of_the_plain_loop() -> None:
    views = rolled(body(), [(0, 0), (4, 0), (0, 0), (0, -3), (0, 0), (0, 0)])
    alpha = views.images[..., 3]
    gaps = OutlineGaps(alpha, views.cameras)
    nothing = torch.zeros(6, 3)
    limits = gaps.limits(nothing)
    covered = {
        view: dict(
            zip(
                map(tuple, (gaps.pixels[view] + SIDE / 2 - 0.5).round().int().tolist()),
                gaps.covered(limits[view], nothing).tolist(),
                strict=True,
            )
        )
        for view in range(6)
    }
    for view, rows in covered.items():
        for place in list(rows)[:: max(1, len(rows) // 6)]:
            slow = slow_gap(alpha, views.cameras, view, place)
            # The fast way looks up fewer depths, and the chosen one between the pixels.
            assert rows[place] == pytest.approx(slow, abs=1.2)


def test_the_gap_has_the_gradient_of_its_differences() -> None:
    views = rolled(body(), SHIFTS)
    gaps = OutlineGaps(views.images[..., 3], views.cameras)
    place = (0.3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(2))).requires_grad_()
    gaps(place).backward()
    assert place.grad is not None
    slopes = torch.zeros(6, 3)
    for index in np.ndindex(6, 3):
        step = torch.zeros(6, 3)
        step[index] = 0.25
        with torch.no_grad():
            slopes[index] = (gaps(place + step) - gaps(place - step)) / 0.5
    # The points that count are chosen by whole pixels, so that the slope is followed on the whole.
    alike = torch.nn.functional.cosine_similarity(place.grad.flatten(), slopes.flatten(), dim=0)
    assert float(alike) > 0.95
    assert float(place.grad.norm()) == pytest.approx(float(slopes.norm()), rel=0.2)


def test_one_object_agrees() -> None:
    for side in (48, SIDE, 200):
        found = find_placement(body(side).images[..., 3], rig(side))
        assert found.gap_before < 0.5 * WORTH_MOVING and not found.needed
        assert not found.shift.any() and not found.zoom.any()


def test_moving_does_not_help_what_is_too_thin_or_shows_different_things() -> None:
    wire = [
        ((0.3 * np.cos(a), 0.3 * np.sin(a), 0.2 * a - 0.3), 0.004) for a in np.arange(0, 3, 0.02)
    ]
    thin = body(balls=wire)
    found = find_placement(thin.images[..., 3], thin.cameras)
    assert found.needed and not found.helps
    views = body()
    turned = torch.stack([views.images[0], *views.images[[3, 1, 0, 2, 4]]])
    found = find_placement(turned[..., 3], views.cameras)
    assert found.needed and not found.helps


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_pictures_say_nothing(count: int) -> None:
    views = pick_views(rolled(body(), SHIFTS), list(range(count)))
    found = find_placement(views.images[..., 3], views.cameras)
    assert not found.needed and found.shift.shape == (count, 2) and found.zoom.shape == (count,)


def test_a_blank_picture_moves_nothing() -> None:
    views = body()
    views.images[2, ..., 3] = 0.0
    found = find_placement(views.images[..., 3], views.cameras)
    assert found.needed and not found.helps


def test_the_reach_holds_the_object() -> None:
    views, gaps = body(), OutlineGaps(body().images[..., 3], rig(SIDE))
    farthest = max(np.linalg.norm(centre) + radius for centre, radius in BALLS)
    assert farthest < reach_of(gaps.eyes, views.images[..., 3] > 0.5) < 2.0 * farthest
    assert reach_of(gaps.eyes, torch.zeros(6, SIDE, SIDE, dtype=torch.bool)) == 0.0


def test_what_was_moved_is_found_and_undone() -> None:
    clean = body()
    views = rolled(clean, SHIFTS)
    alpha = views.images[..., 3]
    found, gaps = find_placement(alpha, views.cameras), OutlineGaps(alpha, views.cameras)
    true = gaps.without_common(torch.cat([torch.tensor(SHIFTS).float(), torch.zeros(6, 1)], dim=1))
    assert found.helps
    assert found.gap_before > 2 * WORTH_MOVING > 5 * found.gap
    assert float((found.shift * SIDE - true[:, :2]).norm(dim=1).max()) < 0.7
    assert float((found.zoom - true[:, 2] / gaps.rim).abs().max()) < 0.05
    back = moved_back(views, found)
    assert find_placement(back.images[..., 3], back.cameras).gap_before < WORTH_MOVING
    assert back.cameras == views.cameras


def test_what_is_cut_by_the_border_stays_cut_there() -> None:
    views = body()
    views.images[..., -20:, :, 3] = 1.0
    down = Placement(torch.tensor([[0.0, 0.1]] * 6), torch.zeros(6), 0.0, 0.0)
    assert (moved_back(views, down).images[:, -1, :, 3] > 0.99).all()


def test_a_picture_of_another_size_is_found() -> None:
    clean = body()
    zoom = torch.tensor([0.0, 0.12, 0.0, -0.12, 0.0, 0.0])
    # moved_back shows at q what stood at exp(zoom) q, so the content shrinks by exp(-zoom).
    views = moved_back(clean, Placement(torch.zeros(6, 2), -zoom, 0.0, 0.0))
    found = find_placement(views.images[..., 3], views.cameras)
    assert found.gap < WORTH_MOVING < found.gap_before
    assert float((found.zoom - zoom).abs().max()) < 0.05


def test_what_a_motion_of_the_object_explains_is_not_undone() -> None:
    cameras, offset, scale = rig(SIDE), np.array([0.01, -0.02, 0.015]), 1.01
    gaps = OutlineGaps(body().images[..., 3], cameras)
    rows = []
    for camera in cameras:
        corners = [scale * np.array(centre) + offset for centre, _ in BALLS]
        before, _ = camera.project(np.array([centre for centre, _ in BALLS]))
        after, _ = camera.project(np.array(corners))
        middle = np.array([camera.cx, camera.cy])
        # The shift and size that carry one into the other best.
        a = [[1, 0, x] for x in (before - middle)[:, 0]] + [
            [0, 1, y] for y in (before - middle)[:, 1]
        ]
        moved = (after - before).T.reshape(-1)
        rows.append(np.linalg.lstsq(np.array(a), moved, rcond=None)[0] * [1, 1, gaps.rim])
    placement = torch.tensor(np.array(rows), dtype=torch.float32)
    left = gaps.without_common(placement)
    assert float(placement.norm()) > 1.5
    assert float(left.norm()) < 0.15 * float(placement.norm())
    # What is left has nothing in common.
    assert torch.allclose(gaps.without_common(left), left, atol=1e-4)


def test_whole_shifts_are_undone_exactly_with_depth() -> None:
    views = body(depth=True)
    moved = rolled(views, SHIFTS)
    assert views.depth is not None
    pairs = zip(views.depth, SHIFTS, strict=True)
    moved = replace(moved, depth=torch.stack([d.roll((y, x), (0, 1)) for d, (x, y) in pairs]))
    placement = Placement(torch.tensor(SHIFTS).float() / SIDE, torch.zeros(6), 0.0, 0.0)
    back = moved_back(moved, placement)
    shown = views.images[..., 3:] > 0
    assert torch.allclose(back.images[..., 3], views.images[..., 3], atol=1e-3)
    assert torch.allclose(back.images * shown, views.images * shown, atol=2e-3)
    assert torch.equal(back.depth, views.depth)


def test_many_views_take_no_more_than_their_share_of_work() -> None:
    views = rolled(body(), SHIFTS)
    alpha = views.images[..., 3]
    whole, few = OutlineGaps(alpha, views.cameras), OutlineGaps(alpha, views.cameras, 200_000)
    lookups = sum(along[:, 0].numel() for along in few.along)
    assert 100_000 < lookups < 400_000 < sum(along[:, 0].numel() for along in whole.along)
    nothing = torch.zeros(6, 3)
    assert float(few(nothing)) == pytest.approx(float(whole(nothing)), rel=0.15)

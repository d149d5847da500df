"""Following pictures: points arrive, keep their places, and the result is a pure function."""

import numpy as np
import pytest
import torch
from tiny_scene import cameras, draw_sphere, sphere_points, sphere_views
from torch import Tensor

from animate_papr.following.config import AlignConfig, PicturesConfig
from animate_papr.following.picture_alignment import align_to_pictures
from blender_render.dataset.readers import Views
from sjc_papr.data.input_checks import pick_views

SMALL = AlignConfig(
    steps=150, surface_points=200, pictures=PicturesConfig(nodes=30, rate=1e-2, blur=0.1)
)
SIZE = (48, 48)
HALF = torch.tensor([0.45, 0.12, 0.12])


def bar_views(angle: float) -> Views:
    """A bar from above and all around, red at one end and blue at the other, its blue half turned
    about the vertical through its middle by ``angle``; drawn by casting points, without a mesh.
    """
    dense = torch.rand(60_000, 3, generator=torch.Generator().manual_seed(9)) * 2.0 - 1.0
    at, colours = bent(dense * HALF, angle).numpy(), bar_colours(dense * HALF).numpy()
    images = []
    for camera in cameras(16, SIZE):
        pixels, depth = camera.project(at)
        column, row = np.floor(pixels).astype(int).T
        image = np.zeros((*SIZE, 4), dtype=np.float32)
        far_first = np.argsort(-depth)
        image[row[far_first], column[far_first], :3] = colours[far_first]
        image[row, column, 3] = 1.0
        images.append(image)
    names = tuple(f"train/{i:03d}" for i in range(16))
    return Views(torch.from_numpy(np.stack(images)), cameras(16, SIZE), None, names)


def bar_colours(points: Tensor) -> Tensor:
    share = (0.5 + points[:, :1] / (2 * HALF[0])).clamp(0, 1)
    return torch.cat([1.0 - share, torch.full_like(share, 0.2), share], 1)


def bent(points: Tensor, angle: float) -> Tensor:
    """The bar with its blue half turned."""
    turn = torch.tensor(
        [
            [np.cos(angle), np.sin(angle), 0.0],
            [-np.sin(angle), np.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float32,
    )
    return torch.where(points[:, :1] > 0.0, points @ turn, points)


@pytest.fixture(scope="module")
def bar() -> Tensor:
    inside = torch.rand(600, 3, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    return inside * HALF


def test_a_limb_turns_as_a_limb(bar: Tensor) -> None:
    angle = 0.6
    frames = bar_views(0.0), bar_views(angle)
    moved = align_to_pictures(bar, bar, frames, SMALL, seed=0)
    true, away = bent(bar, angle), (bent(bar, angle) - bar).norm(dim=1)
    error = (moved - true).norm(dim=1)
    assert away.max() > 0.25
    assert error.mean() < 0.025, "points went where they belong"
    assert error.quantile(0.9) < 0.05


def test_pseudo_views_help_where_few_pictures_show_a_motion(bar: Tensor) -> None:
    angle = 0.6
    frames = bar_views(0.0), bar_views(angle)
    some, others = [3, 12], [0, 5, 6, 9, 10, 14]
    few = pick_views(frames[0], some), pick_views(frames[1], some)
    more = pick_views(frames[0], others), pick_views(frames[1], others)
    error = [
        (align_to_pictures(bar, bar, few, SMALL, 0, pseudo) - bent(bar, angle)).norm(dim=1).mean()
        for pseudo in (None, more)
    ]
    assert error[1] < 0.8 * error[0]


def test_the_first_frame_is_the_shape_that_is_kept(bar: Tensor) -> None:
    """Of a frame before that was squeezed, and is stiffer than pictures can bend."""
    stiff = PicturesConfig(nodes=30, rate=1e-2, stiff=1e4, loose=1e4)
    config = AlignConfig(steps=150, surface_points=200, pictures=stiff)
    squeezed, frames = bar * torch.tensor([0.8, 1.0, 1.0]), (bar_views(0.0), bar_views(0.0))
    for rest, share in ((bar, 1.0), (None, 0.8)):
        moved = align_to_pictures(squeezed, rest, frames, config, seed=0)
        assert moved[:, 0].std() == pytest.approx(share * bar[:, 0].std().item(), rel=0.03)


def test_a_leap_is_followed() -> None:
    torch.manual_seed(0)
    before, step = sphere_points(300).positions, (0.6, 0.0, 0.2)
    frames = sphere_views(16), sphere_views(16, centre=step)
    moved = align_to_pictures(before, before, frames, SMALL, seed=0)
    torch.testing.assert_close((moved - before).mean(0), torch.tensor(step), atol=0.05, rtol=0)
    assert (moved - before - torch.tensor(step)).norm(dim=1).median() < 0.1


def test_no_steps_leave_the_points_where_they_were(bar: Tensor) -> None:
    views = sphere_views(4)
    still = align_to_pictures(bar, bar, (views, views), AlignConfig(steps=0), seed=0)
    assert torch.equal(still, bar) and still is not bar


@pytest.mark.parametrize("count, nodes", [(1, 250), (200, 1)])
def test_one_point_and_one_node_follow(count: int, nodes: int) -> None:
    torch.manual_seed(1)
    points, step = sphere_points(count).positions, (0.1, 0.0, 0.0)
    frames = sphere_views(12), sphere_views(12, centre=step)
    config = AlignConfig(steps=40, pictures=PicturesConfig(nodes=nodes, blur=0.1))
    moved = align_to_pictures(points, points, frames, config, seed=0)
    assert moved.isfinite().all()
    if count > 1:
        torch.testing.assert_close((moved - points).mean(0), torch.tensor(step), atol=0.03, rtol=0)


def test_frames_may_have_been_taken_by_other_cameras() -> None:
    """Of another number, size and lens; points of a still body stay where they are."""
    torch.manual_seed(1)
    points = sphere_points(300).positions
    before, after = bar_views(0.0), sphere_views(14)
    wide = cameras(9, (30, 24), seed=5)
    drawn = [draw_sphere(camera)[0] for camera in wide]
    other = Views(torch.tensor(np.stack(drawn), dtype=torch.float32), wide, None, ("",) * 9)
    moved = align_to_pictures(points, points, (other, after), SMALL, seed=0)
    assert (moved - points).norm(dim=1).mean() < 0.03
    assert align_to_pictures(points, points, (before, after), SMALL, seed=0).isfinite().all()


def test_pictures_without_an_outline_are_followed_by_their_colours(
    bar: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    opaque = []
    for views in (bar_views(0.0), bar_views(0.2)):
        white = torch.cat([views.composite(1.0), torch.ones_like(views.images[..., :1])], -1)
        opaque.append(Views(white, views.cameras, None, views.names))
    moved = align_to_pictures(bar, bar, (opaque[0], opaque[1]), SMALL, seed=0)
    assert "by colours alone" in caplog.text
    true, still = ((there - bent(bar, 0.2)).norm(dim=1).mean() for there in (moved, bar))
    assert true < 0.5 * still


def test_the_same_arguments_give_the_same_bits(bar: Tensor) -> None:
    frames = sphere_views(12), sphere_views(12, centre=(0.1, 0.0, 0.0))
    config = AlignConfig(steps=20, surface_points=100, pictures=PicturesConfig(nodes=20))
    first = align_to_pictures(bar, bar, frames, config, seed=3)
    assert torch.equal(first, align_to_pictures(bar, bar, frames, config, seed=3))
    assert not torch.equal(first, align_to_pictures(bar, bar, frames, config, seed=4))

"""Cameras of a rig and the distance at which they show everything."""

import math

import numpy as np
import pytest

from blender_render.geometry.cameras import fibonacci_band
from blender_render.rendering.config import RenderConfig, RigConfig, effective
from blender_render.rendering.rigs import (
    clipped_views,
    filled_share,
    fitting_distance,
    outermost,
    rig_cameras,
    why_small,
)


def config(kind: str = "multiview", **rig: object) -> RenderConfig:
    depth = "test" if kind == "multiview" else "none"
    return RenderConfig(depth=depth, rig=RigConfig(kind=kind, **rig))


def box_points(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (4000, 3)) * (1.0, 0.4, 0.8)


@pytest.mark.parametrize("rig", [{}, {"kind": "sixview"}, {"kind": "sixview", "version": "v1.2"}])
def test_fitting_distance_is_the_nearest_that_clips_nothing(rig: dict[str, str]) -> None:
    points, asked = box_points(), config(**rig)
    distance = fitting_distance(rig_cameras(asked, 1.0), points, margin=1.0)
    assert clipped_views(rig_cameras(asked, distance * 1.0001), points) == []
    assert clipped_views(rig_cameras(asked, distance * 0.999), points) != []


@pytest.mark.parametrize(("train", "val", "test"), [(32, 2, 6), (4, 2, 8), (3, 3, 3), (5, 1, 7)])
def test_held_out_views_of_an_orbit_are_none_of_its_training_views(
    train: int, val: int, test: int
) -> None:
    rig = config(layout="orbit", train=train, val=val, test=test, orbit_elevation_deg=20.0)
    views = rig_cameras(rig, 2.0)
    eyes = {
        split: np.array([v.camera.position for v in views if v.group == split])
        for split in ("train", "val", "test")
    }
    assert [len(eyes[split]) for split in eyes] == [train, val, test]
    places = np.concatenate(list(eyes.values()))
    np.testing.assert_allclose(places[:, 2], 2.0 * math.sin(math.radians(20.0)), atol=1e-9)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 0.1 * 2.0 * math.pi / max(train, val, test)
    np.testing.assert_allclose(eyes["train"][0, :2], (0.0, -2.0 * math.cos(math.radians(20.0))))


def test_only_orbits_are_rendered_anew() -> None:
    assert "orbit" in effective(config(layout="orbit"))
    assert "orbit" not in effective(config()) and "orbit" not in effective(config("sixview"))


def test_margin_is_the_share_of_the_picture_left_free() -> None:
    points, asked = box_points(), config()
    views = rig_cameras(asked, fitting_distance(rig_cameras(asked, 1.0), points, margin=1.25))
    centre = asked.rig.resolution / 2
    reach = max(np.abs(v.camera.project(points)[0] - centre).max() for v in views)
    assert reach / centre == pytest.approx(1 / 1.25)


def test_share_of_a_picture_that_is_filled() -> None:
    points, asked = box_points(), config()
    distance = fitting_distance(rig_cameras(asked, 1.0), points, 1.0)
    assert 0.8 < filled_share(rig_cameras(asked, distance), points) <= 1.0
    far = filled_share(rig_cameras(asked, 10.0 * distance), points)
    assert far == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize(
    ("way", "far", "words"),
    [
        (0.0, 1.0, ""),
        (0.3, 1.0, ""),
        (4.0, 1.0, "it travels: at one moment it is 20% as long"),
        (0.0, 5.0, "the camera is far away: rig.distance=0"),
    ],
    ids=["still", "moves a little", "travels", "far away"],
)
def test_a_small_object_is_explained(way: float, far: float, words: str) -> None:
    ends = [box_points() + np.array([x, 0.0, 0.0]) for x in (-way / 2, way / 2)]
    boxes = np.stack([np.stack([p.min(axis=0), p.max(axis=0)]) for p in ends])
    points, asked = np.concatenate(ends), config()
    distance = far * fitting_distance(rig_cameras(asked, 1.0), points, 1.05)
    said = why_small(rig_cameras(asked, distance), points, boxes)
    assert words in said and bool(said) == bool(words)
    assert "\n" not in said


def test_outermost_points_are_enough_to_fit_a_camera() -> None:
    points, views = box_points(1), rig_cameras(config(), 1.0)
    few = outermost(points)
    assert len(few) <= 256
    exact = fitting_distance(views, points, 1.0)
    assert fitting_distance(views, few, 1.0) == pytest.approx(exact, rel=0.01)


def test_splits_have_their_counts_and_differ() -> None:
    views = rig_cameras(config(train=20, val=3, test=5), 2.0)
    counts = {split: sum(v.group == split for v in views) for split in ("train", "val", "test")}
    assert counts == {"train": 20, "val": 3, "test": 5}
    places = np.stack([v.camera.position for v in views])
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(places))
    assert apart.min() > 0.01
    assert [v.depth for v in views] == [v.group == "test" for v in views]


def test_band_keeps_to_its_elevations_and_covers_them() -> None:
    elevation = np.degrees(np.arcsin(fibonacci_band(60, -30, 70, 0.3)[:, 2]))
    assert elevation.min() > -32 and elevation.max() < 72
    assert elevation.min() < -26 and elevation.max() > 62


def test_whole_band_is_the_whole_sphere() -> None:
    directions = fibonacci_band(500, -90, 90, 0.0)
    assert np.abs(directions.mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)


def test_sixview_angles_follow_the_rig() -> None:
    views = rig_cameras(config("sixview", version="v1.2"), 3.0)
    assert [v.group for v in views] == ["input", *(f"view_{i}" for i in range(6))]
    first = views[1].camera.position / 3.0
    assert math.degrees(math.asin(first[2])) == pytest.approx(20)
    assert math.degrees(math.atan2(first[0], -first[1])) == pytest.approx(30)
    assert views[1].camera.camera_angle_x == pytest.approx(math.radians(30))

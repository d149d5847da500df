"""What of the geometry counts for the frame, by triangles whose place and size are known."""

import numpy as np
import pytest

from blender_render.rendering.framing import (
    SPECK,
    Part,
    middle_of_surface,
    seen_points,
    triangle_areas,
)

FACE = np.array([[0, 1, 2]])


def triangle(size: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Part:
    """A right-angled triangle with two sides of this length."""
    return Part(np.array([[0, 0, 0], [size, 0, 0], [0, size, 0]]) + np.array(at), FACE)


def box(parts: list[Part]) -> tuple[list[float], list[float]]:
    points = seen_points(parts)
    return points.min(axis=0).tolist(), points.max(axis=0).tolist()


BODY = triangle(1.0)
UNSEEN = {
    "scaled to nothing": Part(np.full((3, 3), 80.0), FACE),
    "scaled to nothing but rounding": Part(80.0 + 1e-6 * np.eye(3), FACE),
    "flat": Part(np.array([[0, 0, 0], [50.0, 0, 0], [20.0, 0, 0]]), FACE),
    "speck": triangle(1e-4, at=(0, 0, 100)),
    "no faces": Part(np.full((4, 3), 90.0), np.empty((0, 3), np.int64)),
    "stray vertices": Part(np.vstack([BODY.positions, [[70.0, 0, 0]]]), FACE),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_what_no_picture_shows_does_not_count(kind: str) -> None:
    assert box([BODY, UNSEEN[kind]]) == ([0, 0, 0], [1, 1, 0])


def test_what_is_seen_counts_however_far_out() -> None:
    assert box([BODY, triangle(0.1, at=(0, 0, 100))]) == ([0, 0, 0], [1, 1, 100])


def test_small_parts_of_many_count_together_with_the_rest() -> None:
    """A part is a speck beside all others, not beside the largest."""
    least = (1.01 * SPECK) ** 0.5
    low, high = box([BODY, triangle(least, at=(0, 0, 2))])
    assert (low, high[2]) == ([0, 0, 0], 2.0)


def test_a_cloud_of_equal_parts_is_kept() -> None:
    parts = [triangle(0.01, at=(x, 0, 0)) for x in np.linspace(0, 1, 200)]
    assert box(parts)[1][0] == pytest.approx(1.01)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_units_do_not_matter(scale: float) -> None:
    parts = [Part(p.positions * scale, p.corners) for p in (BODY, *UNSEEN.values())]
    low, high = box(parts)
    np.testing.assert_allclose([low, high], np.array([[0, 0, 0], [1, 1, 0]]) * scale)


def test_positions_that_are_not_finite_are_left_to_be_found() -> None:
    broken = Part(np.array([[0, 0, 0], [np.nan, 0, 0], [0, np.inf, 0]]), FACE)
    assert not np.isfinite(seen_points([BODY, broken])).all()


def test_areas() -> None:
    assert triangle_areas(BODY.positions, FACE) == pytest.approx([0.5])
    assert triangle_areas(UNSEEN["flat"].positions, FACE) == pytest.approx([0.0])


def test_the_middle_is_that_of_the_area() -> None:
    """Two triangles of areas 1/2 and 2: the larger one counts four times, fine meshing does not."""
    parts = [triangle(1.0), triangle(2.0, at=(10.0, 0.0, 0.0))]
    expected = (np.array([1 / 3, 1 / 3, 0]) + 4 * np.array([10 + 2 / 3, 2 / 3, 0])) / 5
    np.testing.assert_allclose(middle_of_surface(parts), expected)
    np.testing.assert_allclose(middle_of_surface([*parts, UNSEEN["flat"]]), expected)
    np.testing.assert_array_equal(middle_of_surface([UNSEEN["no faces"]]), [90.0, 90.0, 90.0])
    np.testing.assert_array_equal(middle_of_surface([]), [0.0, 0.0, 0.0])

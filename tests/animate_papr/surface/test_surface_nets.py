"""Surface nets against shapes whose volume and surface are known."""

import itertools

import numpy as np
import pytest

from animate_papr.surface.surface_nets import largest_parts, surface_nets, volumes

SHAPE = (26, 24, 22)


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Signed distance [X, Y, Z] to a ball, in grid units."""
    places = np.moveaxis(np.indices(SHAPE).astype(float), 0, -1)
    return np.linalg.norm(places - centre, axis=-1) - radius


def test_a_ball_has_its_radius_its_volume_and_its_outside_outside() -> None:
    centre, radius = (12.3, 11.6, 10.2), 8.0
    vertices, triangles = surface_nets(ball(centre, radius))
    off = np.linalg.norm(vertices - centre, axis=1) - radius
    assert np.abs(off).max() < 0.15  # a vertex is a mean of places on the surface: a bit inside
    assert volumes(vertices, triangles).sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    a, b, c = vertices[triangles].swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", normals, a + b + c - 3 * np.array(centre)) > 0).mean() > 0.99


def test_the_surface_is_closed() -> None:
    _, triangles = surface_nets(ball((12.3, 11.6, 10.2), 8.0))
    edges = [(t[i], t[(i + 1) % 3]) for t in triangles.tolist() for i in range(3)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)


def test_hollows_and_crumbs_go_and_the_rest_stays() -> None:
    solid = ball((12.0, 11.0, 10.0), 8.5)
    hollow = np.maximum(solid, -ball((12.0, 11.0, 10.0), 4.5))
    crumb = np.minimum(hollow, ball((23.0, 21.0, 19.0), 1.2))
    vertices, triangles = largest_parts(*surface_nets(crumb), 0.1)
    alone = largest_parts(*surface_nets(solid), 0.1)
    assert len(vertices) == len(alone[0]) and len(triangles) == len(alone[1])
    assert np.linalg.norm(vertices - (12, 11, 10), axis=1).min() > 7
    assert triangles.max() == len(vertices) - 1
    both, _ = largest_parts(*surface_nets(crumb), 0.0)
    assert len(both) > len(vertices)


def test_nothing_inside_gives_an_empty_mesh() -> None:
    vertices, triangles = largest_parts(*surface_nets(np.ones(SHAPE)), 0.1)
    assert vertices.shape == (0, 3) and triangles.shape == (0, 3)


def test_all_ways_to_fill_a_cell_are_closed() -> None:
    for corners in itertools.product((-1.0, 1.0), repeat=8):
        field = np.ones((4, 4, 4))
        field[1:3, 1:3, 1:3] = np.reshape(corners, (2, 2, 2))
        _, triangles = surface_nets(field)
        edges = [(t[i], t[(i + 1) % 3]) for t in triangles.tolist() for i in range(3)]
        assert sorted(edges) == sorted((b, a) for a, b in edges)

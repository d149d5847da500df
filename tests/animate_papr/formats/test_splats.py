"""Gaussian splats: the columns that viewers ask for, and values that mean what points said."""

import io

import numpy as np
import pytest
from ply_reader import read_ply

from animate_papr.formats.splats import encode_splats, neighbour_spacing


@pytest.fixture
def cloud() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(40, 3)), rng.integers(0, 256, (40, 3), dtype=np.uint8)


def test_columns_are_those_of_the_original(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    columns, _ = read_ply(encode_splats(*cloud))
    names = list(columns)
    assert names[:6] == ["x", "y", "z", "nx", "ny", "nz"]
    # 16 spherical harmonics of three colours, opacity, three scales, a quaternion.
    assert len(names) == 6 + 3 * 16 + 1 + 3 + 4
    assert names[-8:] == [
        *("opacity", "scale_0", "scale_1", "scale_2"),
        *("rot_0", "rot_1", "rot_2", "rot_3"),
    ]


def test_a_viewers_formulas_give_the_points_back(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    positions, rgb = cloud
    columns, _ = read_ply(encode_splats(positions, rgb, opacity=0.7))
    colour = 0.5 + 0.28209479177387814 * np.stack([columns[f"f_dc_{i}"] for i in range(3)], 1)
    np.testing.assert_allclose(colour * 255, rgb, atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-columns["opacity"])), 0.7, rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns["scale_1"]), neighbour_spacing(positions), rtol=1e-5)
    np.testing.assert_array_equal(columns["rot_0"], 1.0)
    # +Y down, +Z away from the eye: what was up is now negative, and nothing is mirrored.
    np.testing.assert_allclose(columns["y"], -positions[:, 2], rtol=1e-6)
    turned = np.stack([columns[n] for n in "xyz"], 1)[:3]
    assert np.sign(np.linalg.det(turned)) == np.sign(np.linalg.det(positions[:3]))


def test_spacing_is_what_a_slow_search_finds(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    positions = cloud[0]
    for i in (0, 17, 39):
        others = np.sort(np.linalg.norm(positions - positions[i], axis=1))[1:4]
        expected = np.sqrt(np.square(others).mean())
        assert neighbour_spacing(positions)[i] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("far", [30.0, 1000.0])
def test_spacing_far_from_the_origin_is_the_same(
    cloud: tuple[np.ndarray, np.ndarray], far: float
) -> None:
    points = cloud[0].astype(np.float64)
    moved = neighbour_spacing(points + np.array([far, 0.0, -far]))
    np.testing.assert_allclose(moved, neighbour_spacing(points), rtol=1e-6)


def test_points_that_coincide_stay_finite() -> None:
    columns, _ = read_ply(encode_splats(np.zeros((5, 3)), np.zeros((5, 3), np.uint8)))
    assert all(np.isfinite(values).all() for values in columns.values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"positions": np.zeros((4, 2))}, r"\[P, 3\]"),
        ({"positions": np.full((4, 3), np.nan)}, "finite"),
        ({"rgb": np.zeros((4, 3))}, "uint8"),
        ({"opacity": 1.0}, "opacity"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], why: str) -> None:
    good = {"positions": np.zeros((4, 3)), "rgb": np.zeros((4, 3), np.uint8)}
    with pytest.raises(ValueError, match=why):
        encode_splats(**(good | change))  # type: ignore[arg-type]


def test_a_reader_of_others_opens_it(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    trimesh = pytest.importorskip("trimesh")
    read = trimesh.load(io.BytesIO(encode_splats(*cloud)), file_type="ply")
    np.testing.assert_allclose(read.vertices[:, 1], -cloud[0][:, 2], rtol=1e-5)

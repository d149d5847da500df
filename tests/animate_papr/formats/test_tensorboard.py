"""TensorBoard gets every frame's points and mesh, upright, and only the last export's."""

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from animate_papr.formats.tensorboard import write_tensorboard


def read(folder: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of each tag, by step."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_every_frame_is_a_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = [rng.normal(size=(7 + k, 3)) for k in range(3)]
    rgb = [rng.integers(0, 256, (7 + k, 3), dtype=np.uint8) for k in range(3)]
    vertices, triangles = rng.normal(size=(3, 4, 3)), np.array([[0, 1, 2], [1, 2, 3]])
    for _ in range(2):  # the second time replaces the first
        write_tensorboard(tmp_path / "events", points, rgb, (vertices, triangles, rgb[0][:4]))
    found = read(tmp_path / "events")
    assert {tag: len(steps) for tag, steps in found.items()} == {
        "points_VERTEX": 3,
        "points_COLOR": 3,
        "mesh_VERTEX": 3,
        "mesh_FACE": 3,
        "mesh_COLOR": 3,
    }
    for k in range(3):
        shown = found["points_VERTEX"][k][0]
        np.testing.assert_allclose(shown[:, 1], points[k][:, 2], rtol=1e-6)  # what was up is up
        np.testing.assert_allclose(shown[:, 2], -points[k][:, 1], rtol=1e-6)
        np.testing.assert_array_equal(found["points_COLOR"][k][0], rgb[k])
        np.testing.assert_array_equal(found["mesh_FACE"][k][0], triangles)
        np.testing.assert_allclose(found["mesh_VERTEX"][k][0][:, 0], vertices[k][:, 0], rtol=1e-6)


def test_without_a_mesh_there_are_points_alone(tmp_path: Path) -> None:
    write_tensorboard(tmp_path, [np.zeros((2, 3))], [np.zeros((2, 3), np.uint8)], None)
    assert set(read(tmp_path)) == {"points_VERTEX", "points_COLOR"}

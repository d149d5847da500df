"""Worlds of any size and place are trained as if the object lay at the origin with length 1."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_scene import RADIUS, TINY_MODEL, sphere_views, write_frame

from blender_render.dataset.readers import Views
from blender_render.geometry.object_box import placed
from sjc_papr import train
from sjc_papr.config import TrainConfig
from sjc_papr.data.config import DataConfig
from sjc_papr.data.world import World, find_world, read_world, world_of_run
from sjc_papr.training.config import PointsConfig
from sjc_papr.training.point_init import initial_points
from training_core.config import InputError, load_config

ORIGIN = (0.0, 0.0, 0.0)
AUTO = DataConfig(path="anywhere/frame")


def elsewhere(views: Views, scale: float, offset: tuple[float, float, float]) -> Views:
    """The same images of a world that is ``scale`` times as large and shifted."""
    cameras = placed(views.cameras, -np.asarray(offset) / scale, scale)
    depth = None if views.depth is None else views.depth * scale
    return replace(views, cameras=cameras, depth=depth)


@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        pytest.param(10.0, ORIGIN, id="times 10"),
        pytest.param(2.5, ORIGIN, id="times 2.5"),
        pytest.param(0.02, ORIGIN, id="times 0.02"),
        pytest.param(1.0, (3.0, -2.0, 2.0), id="shifted"),
        pytest.param(1.0, (1.3, 0.0, 0.0), id="shifted so that it straddles the searched box"),
        pytest.param(1000.0, (5e4, 1e5, 0.0), id="millimetres, far away"),
    ],
)
def test_another_world_becomes_the_usual_one(
    views: Views, scale: float, offset: tuple[float, float, float]
) -> None:
    other = elsewhere(views, scale, offset)
    world = find_world(other, AUTO)
    np.testing.assert_allclose(world.centre, offset, atol=0.06 * scale)
    assert world.scale == pytest.approx(1.0 / (2.0 * RADIUS * scale), rel=0.12)

    trained = world.views(other)
    assert trained.depth is not None and other.depth is not None
    rows = initial_points(trained, PointsConfig(init="depth", count=200), 2, 0)
    # Points of the depth images lie on the sphere, whose diameter is the box's length: 1.
    middle = (np.asarray(offset) - world.centre) * world.scale
    radius = (rows.positions - torch.tensor(middle).float()).norm(dim=1)
    torch.testing.assert_close(
        radius, torch.full_like(radius, RADIUS * scale * world.scale), rtol=1e-3, atol=0.0
    )
    back = np.c_[rows.positions.numpy(), np.ones(200)] @ world.to_dataset().T
    distance = np.linalg.norm(back[:, :3] - offset, axis=1)
    np.testing.assert_allclose(distance, RADIUS * scale, rtol=1e-3)


def test_all_worlds_are_trained_alike(views: Views) -> None:
    """Down to the last bits, so that none trains worse than another."""
    hulls = []
    for scale, offset in ((10.0, ORIGIN), (25.0, (70.0, -4.0, 12.0)), (0.02, (0.1, 0.0, 0.0))):
        other = elsewhere(views, scale, offset)
        trained = find_world(other, AUTO).views(other)
        hulls.append(
            initial_points(trained, PointsConfig(count=300, hull_resolution=32), 2, 0).positions
        )
        np.testing.assert_allclose(
            [c.position for c in trained.cameras],
            np.array([c.position for c in views.cameras]) / (2 * RADIUS),
            atol=0.15,
        )
    for hull in hulls[1:]:
        torch.testing.assert_close(hull, hulls[0], rtol=0.0, atol=1e-3)


def test_usual_worlds_are_left_as_they_are(views: Views) -> None:
    assert find_world(views, AUTO) == World()
    assert find_world(elsewhere(views, 1.0, (0.3, 0.2, -0.4)), AUTO) == World()
    far = elsewhere(views, 10.0, ORIGIN)
    assert find_world(far, replace(AUTO, normalise="never")) == World()
    assert World().views(far) is far


def test_views_without_a_picture_are_checked_in_the_world_trained_in(tmp_path: Path) -> None:
    write_frame(tmp_path / "small")
    for path in (tmp_path / "small").glob("transforms_*.json"):
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            for row in frame["transform_matrix"][:3]:
                row[3] *= 0.2
        path.write_text(json.dumps(content))
    words = [f"data.path={tmp_path / 'small'}", f"output_root={tmp_path}", *TINY_MODEL]
    near = [*words, "novel.near.weight=0.1", "--dry-run"]
    assert train.main(near) == 0
    # As it is, cameras 0.4 from an object of length 1 would stand inside it.
    assert train.main([*near, "data.normalise=never"]) == 2


@pytest.mark.parametrize("word", ["auto", "never"])
def test_the_words_are_words_in_files_and_commands(tmp_path: Path, word: str) -> None:
    """YAML reads some short words as true and false."""
    file = tmp_path / "run.yaml"
    file.write_text(f"data: {{normalise: {word}}}\n")
    assert load_config(TrainConfig, file, []).data.normalise == word
    assert load_config(TrainConfig, None, [f"data.normalise={word}"]).data.normalise == word


def test_without_a_box_nothing_changes(views: Views) -> None:
    opaque = replace(views, images=torch.zeros_like(views.images))
    assert find_world(elsewhere(opaque, 10.0, ORIGIN), AUTO) == World()


def test_the_run_keeps_its_world(views: Views, tmp_path: Path) -> None:
    far = elsewhere(views, 10.0, ORIGIN)
    world = world_of_run(tmp_path, far, AUTO)
    assert world != World() and read_world(tmp_path) == world
    assert world_of_run(tmp_path, views, AUTO) == world, "what was recorded wins"


def test_an_older_run_goes_on_in_its_datasets_world(views: Views, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step_00000003").mkdir(parents=True)
    assert world_of_run(tmp_path, elsewhere(views, 10.0, ORIGIN), AUTO) == World()
    assert not (tmp_path / "world.json").exists()


@pytest.mark.parametrize(
    "content",
    [{}, {"centre": [0, 0], "scale": 1}, {"centre": [0, 0, "x"], "scale": 1},
     {"centre": [0, 0, 0], "scale": 0}, {"centre": [0, 0, 0]}],
    ids=["empty", "two numbers", "a word", "scale of zero", "no scale"],
)  # fmt: skip
def test_a_damaged_record_is_named(tmp_path: Path, content: dict) -> None:
    (tmp_path / "world.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"world\.json: 'centre' \[3\]"):
        read_world(tmp_path)


def test_a_hull_outside_the_usual_box_is_found_all_the_same() -> None:
    """Where the world is kept (``data.normalise=never``), points still start on the object."""
    for scale, offset in ((10.0, ORIGIN), (1.0, (3.0, -2.0, 2.0)), (2.0, (1.2, 0.0, 0.0))):
        other = elsewhere(sphere_views(10), scale, offset)
        config = PointsConfig(count=300, hull_resolution=32, hull_interior=0.0)
        rows = initial_points(other, config, 2, 0)
        distance = (rows.positions - torch.tensor(offset)).norm(dim=1) / scale
        assert 0.8 * RADIUS < distance.median() < 1.3 * RADIUS
        assert distance.max() < 2.0 * RADIUS

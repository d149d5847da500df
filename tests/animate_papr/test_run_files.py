"""What the commands after training read from a run folder and its dataset."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animate_papr.camera_paths import PathConfig
from animate_papr.report import __main__ as report
from animate_papr.run_files import (
    completed_path,
    dataset_of,
    run_config,
    travel_in_asset,
    usual_view,
    world_to_asset,
)
from animate_papr.sequence import load_sequence
from training_core.config import ConfigError, InputError


def change_config(run: Path, pattern: str, text: str) -> None:
    config = run / "config.yaml"
    config.write_text(re.sub(pattern, text, config.read_text()))


def test_usual_view_is_that_of_the_dataset(finished_run: Path) -> None:
    view = usual_view(finished_run)
    assert view.radius == pytest.approx(2.2)
    assert view.fov_deg == pytest.approx(np.degrees(0.6))
    assert (view.width, view.height) == (32, 32)


def test_pictures_have_the_trained_size(own_run: Path) -> None:
    change_config(own_run, "width: 0", "width: 20")
    change_config(own_run, "height: 0", "height: 12")
    assert usual_view(own_run)[2:] == (20, 12)


def test_a_dataset_without_sizes_is_asked_for_its_pictures(own_run: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "lego"
    (dataset / "test").mkdir(parents=True)
    Image.new("RGBA", (30, 20)).save(dataset / "test" / "r_0.png")
    pose = np.diag([1.0, 1.0, 1.0, 1.0])
    pose[2, 3] = 4.0
    frames = [{"file_path": "./test/r_0", "transform_matrix": pose.tolist()}]
    content = json.dumps({"camera_angle_x": 0.69, "frames": frames})
    (dataset / "transforms_test.json").write_text(content)
    (own_run / "dataset").symlink_to(dataset)
    assert usual_view(own_run) == pytest.approx((4.0, np.degrees(0.69), 30, 20))


def test_only_zeros_of_a_path_are_filled_in(finished_run: Path) -> None:
    path = completed_path(PathConfig(radius=5.0, height=11), finished_run)
    assert (path.radius, path.height, path.width) == (5.0, 11, 32)
    assert path.fov_deg == pytest.approx(np.degrees(0.6))


def test_without_a_dataset_the_error_says_what_to_give(own_run: Path) -> None:
    change_config(own_run, "path: .*", "path: /nowhere/at/all")
    (own_run / "metrics.json").unlink()
    assert dataset_of(own_run) is None
    with pytest.raises(ConfigError, match=r"give path\.radius, path\.width instead"):
        completed_path(PathConfig(fov_deg=40.0, height=8), own_run)
    whole = PathConfig(radius=2.0, fov_deg=40.0, width=8, height=8)
    assert completed_path(whole, own_run) == whole


def test_the_folder_of_a_pipeline_names_the_run_in_it(finished_run: Path, tmp_path: Path) -> None:
    inside = tmp_path / "fox" / "4_animate" / "animate_papr" / "fox"
    shutil.copytree(finished_run, inside)
    (tmp_path / "fox" / "input.json").write_text("{}")
    (tmp_path / "fox" / "config.yaml").write_text("image: fox.png\n")
    for read in (run_config, load_sequence):
        with pytest.raises(InputError, match=f"its animation is run={inside}"):
            read(tmp_path / "fox")
    (tmp_path / "fox" / "report.html").write_text("the pipeline's")
    assert report.main([f"run={tmp_path / 'fox'}"]) == 2
    assert (tmp_path / "fox" / "report.html").read_text() == "the pipeline's"


def test_the_way_back_to_the_asset() -> None:
    matrix = world_to_asset({"world_to_asset": {"scale": 2, "offset": [1, 2, 3]}})
    assert matrix is not None
    np.testing.assert_array_equal(matrix @ [1, 1, 1, 1], [3, 4, 5, 1])
    assert world_to_asset({}) is None


@pytest.mark.parametrize(
    "info",
    [
        {"world_to_asset": {"scale": 2}},
        {"world_to_asset": {"scale": "two", "offset": [0, 0, 0]}},
        {"world_to_asset": {"scale": float("nan"), "offset": [0, 0, 0]}},
        {"world_to_asset": {"scale": 2, "offset": [0, 0]}},
        {"world_to_asset": [1, 2, 3]},
    ],
)
def test_a_senseless_world_transform_is_refused(info: dict) -> None:
    with pytest.raises(InputError, match="world to asset"):
        world_to_asset(info)


def test_the_travel_of_each_frame_is_found_by_its_number() -> None:
    info = {"world_to_asset": {"travel": [[0, 0, 0], [1, 0, 0], [2, 0, 5]]}}
    rows = travel_in_asset(info, ["frame_002", "frame_000"])
    np.testing.assert_array_equal(rows, [[2, 0, 5], [0, 0, 0]])
    np.testing.assert_array_equal(travel_in_asset({}, ["frame_000"]), [[0, 0, 0]])


@pytest.mark.parametrize(
    "travel", ["far", [[0, 0]], [[0, 0, 0]], [[0, 0, 0], [1, 0, float("nan")]]]
)
def test_a_senseless_travel_is_refused(travel: object) -> None:
    with pytest.raises(InputError, match="travel"):
        travel_in_asset({"world_to_asset": {"travel": travel}}, ["frame_000", "frame_001"])

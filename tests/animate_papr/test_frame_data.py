"""Every frame is checked, in the dry run too, and all are carried into one world."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import assert_refused
from tiny_animation import FRAMES, arguments, write_animation

from animate_papr import train
from animate_papr.config import AnimateConfig
from animate_papr.export import way_to_files
from animate_papr.finished_frames import frame_run_dir
from animate_papr.frame_data import FrameTask, check_frames, training_views
from animate_papr.run_files import usual_view
from animate_papr.sequence import Sequence
from sjc_papr.data import placement
from sjc_papr.data.config import DataConfig
from sjc_papr.data.loading import load_views
from sjc_papr.data.mending import MENDED_FILE, Mending
from sjc_papr.data.outline_gaps import OutlineGaps
from sjc_papr.data.world import World, world_of_run
from sjc_papr.training.config import PointsConfig
from training_core.config import InputError, load_config
from training_core.run_folder import RunFolder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_animation(tmp_path / "sphere")


def change_poses(frame: Path, change) -> None:
    for file in frame.glob("transforms_*.json"):
        change_poses_of(file, change)


def change_poses_of(file: Path, change) -> None:
    content = json.loads(file.read_text())
    for entry in content["frames"]:
        entry["transform_matrix"] = change(np.array(entry["transform_matrix"])).tolist()
    file.write_text(json.dumps(content))


def enlarge(pose: np.ndarray) -> np.ndarray:
    pose[:3, 3] = pose[:3, 3] * 10.0 + (30.0, 0.0, 0.0)
    return pose


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[2]])
def test_the_dry_run_looks_at_the_poses_of_every_frame(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], frame: str
) -> None:
    change_poses(dataset / frame, np.linalg.inv)
    command = [*arguments(dataset, tmp_path / "runs"), "--dry-run"]
    assert_refused(train.main, command, capsys, str(dataset / frame), "inverted")


def test_the_dry_run_and_training_look_at_held_out_poses_of_every_frame(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataset / FRAMES[2] / "transforms_test.json"
    change_poses_of(file, np.linalg.inv)
    command = [*arguments(dataset, tmp_path / "runs"), "--dry-run"]
    assert_refused(train.main, command, capsys, f"{file}: held-out pictures", "inverted")
    config = AnimateConfig(data=DataConfig(path=str(dataset)))
    with pytest.raises(InputError, match="inverted"):
        FrameTask.read(config, 2, FRAMES[2], RunFolder(tmp_path / "run", False), World())


def test_pictures_of_the_frame_before_come_along_where_the_motion_is_sought_in_them(
    dataset: Path, tmp_path: Path
) -> None:
    """Of the frames that are trained, in the run's world."""
    world, folder = World(scale=0.5, centre=(0.0, 0.0, 1.0)), RunFolder(tmp_path / "run", False)
    config = AnimateConfig(data=DataConfig(path=str(dataset)), frames=[FRAMES[0], FRAMES[2]])
    before = [FrameTask.read(config, i, n, folder, world) for i, n in enumerate(config.frames)]
    assert before[0].read_before is None and before[1].read_before is not None
    (found, made), expected = before[1].read_before(), before[0].train
    assert made is None
    assert torch.equal(found.images, expected.images)
    for ours, theirs in zip(found.cameras, expected.cameras, strict=True):
        assert np.array_equal(ours.cam_to_world, theirs.cam_to_world)
    for change in ("align.to=outline", "align.to=tracks", "align.steps=0", "freeze.positions=true"):
        other = load_config(AnimateConfig, None, [f"data.path={dataset}", f"next.{change}"])
        assert FrameTask.read(other, 1, FRAMES[1], folder, world).read_before is None


def test_pictures_whose_outlines_do_not_agree_are_moved_in_every_frame(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the frame before, too, in which the motion is sought."""
    monkeypatch.setattr(placement, "_STEPS", 13)
    for name in FRAMES[:2]:
        for number in (1, 6):
            path = dataset / name / "train" / f"{number:03d}.png"
            Image.fromarray(np.roll(np.array(Image.open(path)), 3, axis=1)).save(path)
    run, where = tmp_path / "run", [f"data.path={dataset}", "data.check=false"]
    moving = load_config(AnimateConfig, None, [*where, "corrections.outlines=true"])
    folders = [frame_run_dir(run, name) for name in FRAMES[:2]]
    tasks = []
    for index, folder in enumerate(folders):
        folder.mkdir(parents=True)
        part = RunFolder(folder, False)
        tasks.append(FrameTask.read(moving, index, FRAMES[index], part, World()))
    for name, folder, task in zip(FRAMES, folders, tasks, strict=False):
        views = training_views(moving, dataset / name)
        record = Mending(**json.loads((folder / MENDED_FILE).read_text()))
        assert record.shift is not None and task.train.images.shape == views.images.shape
        assert torch.equal(task.train.images, record.apply(views).images)
        before, after = (
            float(OutlineGaps(seen.images[..., 3], seen.cameras, 200_000)(torch.zeros(10, 3)))
            for seen in (views, task.train)
        )
        assert after < 0.6 * before
    assert tasks[1].read_before is not None
    assert torch.equal(tasks[1].read_before()[0].images, tasks[0].train.images)
    # Views that were held out stay; those that are the training views are these as they were moved.
    assert torch.equal(
        tasks[0].test.images, load_views(moving.data, dataset / FRAMES[0], "test").images
    )
    split = (dataset / FRAMES[0] / "transforms_train.json").read_text()
    (dataset / FRAMES[0] / "transforms_test.json").write_text(split)
    again = FrameTask.read(moving, 0, FRAMES[0], RunFolder(folders[0], True), World())
    assert torch.equal(again.test.images, again.train.images)
    assert torch.equal(again.train.images, tasks[0].train.images)


def test_all_frames_move_by_what_the_first_frame_says(dataset: Path, tmp_path: Path) -> None:
    for frame in FRAMES:
        change_poses(dataset / frame, enlarge)
    config = AnimateConfig(
        data=DataConfig(path=str(dataset)), points=PointsConfig(hull_resolution=24)
    )
    counts, world = check_frames(config, FRAMES)
    assert counts == (30, 6) and world.scale == pytest.approx(1 / 8.0, rel=0.1)

    run = tmp_path / "run"
    run.mkdir()
    assert world_of_run(run, training_views(config, dataset / FRAMES[0]), config.data) == world
    (run / "config.yaml").write_text(f"data: {{path: {dataset}, width: 0, height: 0}}\n")
    tasks = [
        FrameTask.read(config, i, name, RunFolder(run, False), world)
        for i, name in enumerate(FRAMES)
    ]
    for task in tasks:
        assert task.scale == world.scale
        distances = [np.linalg.norm(c.position) for c in (*task.train.cameras, *task.test.cameras)]
        np.testing.assert_allclose(distances, 25.0 * world.scale, rtol=0.1)
    # Paths of `render` stand where the training cameras stood.
    assert usual_view(run).radius == pytest.approx(25.0 * world.scale, rel=0.05)

    sequence = Sequence(run, config, list(FRAMES), 1.0, {}, world)
    matrix, unit = way_to_files(sequence)
    assert unit == "dataset"
    np.testing.assert_allclose((matrix @ (0.0, 0.0, 0.0, 1.0))[:3], (30.0, 0.0, 0.0), atol=1.0)
    asset = {"world_to_asset": {"scale": 2.0, "offset": [0.0, 0.0, 1.0]}}
    matrix, unit = way_to_files(Sequence(run, config, list(FRAMES), 1.0, asset, world))
    assert unit == "asset"
    there = (np.array(world.centre) + np.array((0.5, 0.0, 0.0)) / world.scale) * 2.0 + (0, 0, 1)
    np.testing.assert_allclose((matrix @ (0.5, 0.0, 0.0, 1.0))[:3], there)


def test_an_object_that_leaves_the_first_frames_world_is_said(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = AnimateConfig(
        data=DataConfig(path=str(dataset)), points=PointsConfig(hull_resolution=24)
    )
    check_frames(config, FRAMES)
    assert "has left it" not in caplog.text

    def away(pose: np.ndarray) -> np.ndarray:
        pose[:3, 3] += (3.0, 0.0, 0.0)
        return pose

    change_poses(dataset / FRAMES[2], away)
    with caplog.at_level("WARNING"):
        check_frames(config, FRAMES)
    said = [r.getMessage() for r in caplog.records if "has left it" in r.getMessage()]
    assert len(said) == 1 and said[0].startswith(str(dataset / FRAMES[2]))
    assert "reaches 3." in said[0] and "normalise.follow=root" in said[0]

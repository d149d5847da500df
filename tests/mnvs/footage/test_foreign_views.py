"""Videos of another generator with a camera file: brought into our world, or refused."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import read_dataset_info, read_views
from blender_render.geometry.cameras import Camera, multiview_cameras
from blender_render.validate import validate
from mnvs.footage.foreign_views import CAMERAS_FILE, ViewsConfig, write_foreign_views
from training_core.config import InputError

SCALE, OFFSET = 3.0, np.array([0.5, -1.0, 2.0])
SIZE, RADIUS = 64, 0.5


def ball(camera: Camera, height: float) -> np.ndarray:
    """A red ball on light grey, [H, W, 3] uint8, in the object's own world."""
    (pixel,), (depth,) = camera.project(np.array([[0.0, 0.0, height]]))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = np.hypot(x - pixel[0], y - pixel[1]) < camera.fl_x * RADIUS / depth
    return np.where(inside[..., None], [200, 30, 30], [225, 225, 225]).astype(np.uint8)


def write_views(folder: Path, count: int = 6, frames: int = 3) -> Path:
    """Views of a ball that rises a little, in a world three times as large and shifted."""
    folder.mkdir()
    entries: list[dict[str, Any]] = []
    for index, camera in enumerate(multiview_cameras(count, 2.5, 0.9, (SIZE, SIZE), seed=1)):
        pictures = [ball(camera, 0.02 * time) for time in range(frames)]
        if index == 0:  # a folder of pictures; the others are videos
            (folder / "view_0").mkdir()
            for time, picture in enumerate(pictures):
                imageio.imwrite(folder / "view_0" / f"{time:02d}.png", picture)
        else:
            video = folder / f"view_{index}.mp4"
            imageio.imwrite(video, np.stack(pictures), plugin="FFMPEG", fps=9)
        pose = camera.cam_to_world.copy()
        pose[:3, 3] = pose[:3, 3] * SCALE + OFFSET
        name = "view_0" if index == 0 else f"view_{index}.mp4"
        entries.append({"file_path": name, "transform_matrix": fmt.pose_list(pose)})
    entries[-1]["split"] = "test"
    (folder / CAMERAS_FILE).write_text(json.dumps({"camera_angle_x": 0.9, "frames": entries}))
    return folder


def test_views_come_into_our_world(tmp_path: Path) -> None:
    folder = write_views(tmp_path / "views")
    write_foreign_views(folder, tmp_path / "made", ViewsConfig(frames=2))
    assert validate(tmp_path / "made") == []
    info = read_dataset_info(tmp_path / "made")
    assert info["frames"] == [0, 1] and info["test"] == "held out" and info["fps"] == 9.0
    world = info["world_to_asset"]
    np.testing.assert_allclose(world["offset"], OFFSET, atol=1e-6)
    # Its diameter is the new unit; after the codec, outlines are a pixel of 26 wider.
    assert world["scale"] == pytest.approx(2 * RADIUS * SCALE, rel=0.15)
    train, test = (read_views(tmp_path / "made/frame_001", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (5, 1)
    covered = float(train.images[2, ..., 3].mean())
    drawn = ball(multiview_cameras(6, 2.5, 0.9, (SIZE, SIZE), seed=1)[2], 0.02)
    assert covered == pytest.approx(float((drawn[..., 1] < 100).mean()), rel=0.06)


def test_every_nth_frame_plays_as_fast(tmp_path: Path) -> None:
    folder = write_views(tmp_path / "views", frames=5)
    edited(folder, lambda content: content.update(fps=24))
    write_foreign_views(folder, tmp_path / "made", ViewsConfig(stride=2))
    info = read_dataset_info(tmp_path / "made")
    assert len(info["frames"]) == 3 and info["fps"] == 12.0


def edited(folder: Path, change: Any) -> Path:
    content = json.loads((folder / CAMERAS_FILE).read_text())
    change(content)
    (folder / CAMERAS_FILE).write_text(json.dumps(content))
    return folder


def inverted(content: dict[str, Any]) -> None:
    for entry in content["frames"]:
        entry["transform_matrix"] = np.linalg.inv(np.array(entry["transform_matrix"])).tolist()


REFUSED = {
    "poses are inverted": inverted,
    "'file_path' is missing": lambda c: c["frames"][1].pop("file_path"),
    "does not exist": lambda c: c["frames"][1].update(file_path="view_9.mp4"),
    "must be train or test": lambda c: c["frames"][1].update(split="val"),
    "at least two cameras": lambda c: c.update(frames=c["frames"][:1]),
    "'transform_matrix' is missing": lambda c: c["frames"][1].pop("transform_matrix"),
    "'camera_angle_x' is missing": lambda c: c.pop("camera_angle_x"),
    "'fps' must be": lambda c: c.update(fps="fast"),
    "view_1.mp4.: wrong size 64x64, but its camera says 1920x1080": lambda c: c["frames"][1].update(
        w=1920, h=1080, fl_x=2000, fl_y=2000
    ),
    "not orthonormal": lambda c: c["frames"][1].update(
        transform_matrix=np.diag([2, 2, 2, 1]).tolist()
    ),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_views(tmp_path_factory.mktemp("drawn") / "views")


@pytest.mark.parametrize("message", REFUSED)
def test_refused(message: str, drawn: Path, tmp_path: Path) -> None:
    before = (drawn / CAMERAS_FILE).read_text()
    try:
        with pytest.raises(InputError, match=message):
            edited(drawn, REFUSED[message])
            write_foreign_views(drawn, tmp_path / "made", ViewsConfig())
    finally:
        (drawn / CAMERAS_FILE).write_text(before)
    assert not (tmp_path / "made").exists()


def test_too_few_frames_are_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too few"):
        write_foreign_views(drawn, tmp_path / "made", ViewsConfig(frames=9))

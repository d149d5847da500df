"""A run to look at, without training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sequence import small_sequence
from synthetic_run import butterfly, image

from animate_papr.view import content
from animate_papr.view.content import Show, read_show
from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at
from blender_render.imaging.images import write_png
from sjc_papr.data.config import DataConfig


@pytest.fixture
def show(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Three frames of 300 points, with cameras and pictures of the dataset."""
    for index in range(3):
        folder = own_run / "dataset" / f"frame_{index:03d}"
        write_pictures(folder, index / 3)
    made = small_sequence(own_run)
    made.run = own_run  # type: ignore[attr-defined]
    made.config = SmallConfig  # type: ignore[attr-defined]
    monkeypatch.setattr(content, "load_sequence", lambda run: made)
    return read_show(own_run, torch.device("cpu"), "float32")


def write_pictures(folder: Path, phase: float) -> None:
    """A dataset's test pictures of the butterfly, with cameras beside them."""
    cameras = [
        Camera.from_angle_x(look_at(2.2 * d), 32, 32, 0.6) for d in fibonacci_sphere(4)[1:-1]
    ]
    frames = []
    (folder / "test").mkdir(parents=True)
    for index, camera in enumerate(cameras):
        rgb, depth = image(*butterfly(300, phase), camera)
        alpha = (depth > 0)[..., None]
        write_png(folder / "test" / f"{index:03d}.png", np.concatenate([rgb, alpha], -1))
        pose = camera.cam_to_world.tolist()
        frames.append({"file_path": f"./test/{index:03d}", "transform_matrix": pose})
    lens = {"w": 32, "h": 32, "camera_angle_x": 0.6}
    (folder / "transforms_test.json").write_text(json.dumps({**lens, "frames": frames}))


class SmallConfig:
    data = DataConfig()

"""Faults of a source in the published form, each with words of the message it ends in."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from published_source import edit


def spoil_picture(root: Path) -> None:
    path = root / "frame_005/Camera_07_frame_005.png"
    path.write_bytes(path.read_bytes()[:-40])


def scatter(content: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    for entry in content["camera_data"]:
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation * np.linalg.det(rotation), rng.normal(size=3)
        entry["transform_matrix"] = pose.tolist()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (spoil_picture, "Camera_07_frame_005.png"),
    "missing picture": (
        lambda s: (s / "frame_005/Camera_03_frame_005.png").unlink(),
        "Camera_03_frame_005.png: file is missing",
    ),
    "wrong size": (
        lambda s: Image.new("RGBA", (9, 9)).save(s / "frame_005/Camera_03_frame_005.png"),
        "wrong size 9x9",
    ),
    "missing key": (
        lambda s: edit(s, lambda c: c["camera_data"][2].pop("transform_matrix")),
        "camera 2: key 'transform_matrix' is missing",
    ),
    "no name": (
        lambda s: edit(s, lambda c: c["camera_data"][2].pop("file_path")),
        "camera 2: key 'file_path' is missing",
    ),
    "no cameras": (lambda s: edit(s, lambda c: c.update(camera_data=[])), "missing or empty"),
    "poses at random": (lambda s: edit(s, scatter), "no common point"),
    "json cut off": (
        lambda s: (s / "frame_005/frame_005.json").write_text('{"frame": 5, "camera'),
        "not valid JSON (line 1",
    ),
    "no json": (lambda s: (s / "frame_005/frame_005.json").unlink(), "file is missing"),
    "nothing": (lambda s: [shutil.rmtree(f) for f in s.iterdir()], "holds no folders"),
}

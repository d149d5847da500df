"""A made-up source in the form in which the reference project published its renders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ball_scene import Ball, draw, edit_json, moved, posed
from PIL import Image

from blender_render.geometry.cameras import Camera, multiview_cameras
from blender_render.imaging.images import encode_png

SCALE, SHIFT = 40.0, np.array([1.0, -2.0, 3.0])
ODD_CAMERA = 5
FRAMES = (0, 5)


def in_source_units(balls: tuple[Ball, ...]) -> tuple[Ball, ...]:
    scaled = tuple((tuple(SCALE * np.array(c)), SCALE * r, colour) for c, r, colour in balls)
    return moved(SHIFT, scaled)


def source_cameras() -> list[Camera]:
    cameras = list(multiview_cameras(24, 2.5 * SCALE, 0.7, (96, 64), seed=1))
    pose = cameras[ODD_CAMERA].cam_to_world.copy()
    pose[:3, 3] *= 1.4
    cameras[ODD_CAMERA] = Camera.from_angle_x(pose, 96, 64, 0.7)
    return cameras


def write_source(root: Path, inverted: bool = True) -> Path:
    """Frames in the published form: world-to-camera, and names with a folder that is not there."""
    for number in FRAMES:
        name = f"frame_{number:03d}"
        (root / name).mkdir(parents=True)
        (root / f"depth_{name}").mkdir()
        entries = []
        for index, camera in enumerate(source_cameras()):
            file = f"Camera_{index:02d}_{name}.png"
            picture, depth = draw(camera, in_source_units(posed(number)))
            (root / name / file).write_bytes(encode_png(picture))
            grey = Image.fromarray((255 * depth / depth.max()).astype(np.uint8))
            grey.convert("LA").save(root / f"depth_{name}" / f"depth_{file}")
            pose = camera.cam_to_world
            matrix = np.linalg.inv(pose) if inverted else pose
            entries.append(
                {
                    "camera_angle_x": 0.7,
                    "file_path": f"./train/{file}",
                    "rotation": 0.1,
                    "transform_matrix": matrix.tolist(),
                }
            )
        text = json.dumps({"frame": number, "camera_data": entries})
        (root / name / f"{name}.json").write_text(text)
    return root


def edit(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON file of frame 5 in place."""
    edit_json(root / "frame_005" / "frame_005.json", change)


def to_world(points: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """Source units to the dataset's, by what dataset.json says."""
    asset = info["world_to_asset"]
    return (points - np.array(asset["offset"])) / asset["scale"]

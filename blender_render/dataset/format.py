"""The layout of datasets on disk: names, JSON files, depth images, the completion marker.

Multi-view (one folder per animation frame; each is a NeRF-synthetic folder of its own)::

    NAME/dataset.json  NAME/complete.json
    NAME/frame_000/transforms_{train,val,test}.json
    NAME/frame_000/{train,val,test}/000.png [000_depth.png]

Six-view video::

    NAME/sample.json  NAME/complete.json  NAME/input/000.png  NAME/view_{0..5}/000.png

Poses are camera-to-world with OpenGL axes (see ``cameras``). Images are 8-bit RGBA with straight
alpha. Depth is planar, in 16-bit PNG: counts × ``depth_scale`` = scene units, 0 = no surface.

What is read is checked by hand: poses must be rigid motions, which no JSON schema can say, and each
fault is named in one line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_render.dataset.archive import open_tree
from blender_render.dataset.camera_json import camera_from_dict as camera_from_dict
from blender_render.geometry.cameras import Camera
from training_core.config import InputError
from training_core.files.atomic import write_json

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
DATASET_FILE = "dataset.json"
SAMPLE_FILE = "sample.json"
COMPLETE_FILE = "complete.json"
INPUT_FOLDER = "input"
DATASET_KEYS = ("schema_version", "kind", "frames", "resolution", "world_to_asset")
SAMPLE_KEYS = ("schema_version", "kind", "rig", "num_frames", "input", "views")


def check_rig(rig: Any, where: str) -> None:
    """Raise InputError where the rig of a six-view video is not told by its name."""
    if not isinstance(rig, str):
        raise InputError(f"{where}: 'rig' must be a name, such as \"v1.2\", is {rig!r}")


def frame_name(frame: int) -> str:
    """Name of a frame and of its folder: ``frame_005``."""
    return f"frame_{frame:03d}"


def frame_number(name: str) -> int | None:
    """Number in a frame folder's name, None for any other name."""
    match = re.fullmatch(r"frame_(\d+)", name)
    return int(match.group(1)) if match else None


def view_folder(view: int) -> str:
    """Folder name of one of the six views: ``view_0``."""
    return f"view_{view}"


def image_name(index: int) -> str:
    """Name of an image without its extension: ``000``."""
    return f"{index:03d}"


def transforms_file(split: str) -> str:
    """Name of the JSON file of a split."""
    return f"transforms_{split}.json"


def config_hash(config: Any) -> str:
    """SHA-256 (hex) of anything JSON can hold; the order of keys does not matter."""
    text = json.dumps(config, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def mark_complete(folder: Path, config_hash: str, **details: Any) -> None:
    """Write the completion marker. The last thing a writer does."""
    write_json(
        folder / COMPLETE_FILE,
        {"schema_version": SCHEMA_VERSION, "config_hash": config_hash, **details},
    )


def is_complete(path: str | Path, config_hash: str | None = None) -> bool:
    """Whether a dataset (folder or .zip) is complete and, if given, made from ``config_hash``."""
    try:
        with open_tree(path) as tree:
            marker = tree.read_json(COMPLETE_FILE)
    except InputError:
        return False
    return config_hash is None or marker.get("config_hash") == config_hash


def write_transforms(
    folder: Path,
    split: str,
    cameras: Sequence[Camera],
    names: Sequence[str],
    depth_names: Sequence[str] | None = None,
    depth_scale: float | None = None,
) -> None:
    """Write ``transforms_{split}.json`` into a frame folder.

    Args:
        names: images relative to the frame folder without ".png", such as "train/000".
        depth_names: depth images relative to the frame folder with ".png".
        depth_scale: scene units per count of the depth images.

    Raises:
        ValueError: the cameras differ in size or lens, lengths differ, a pose is not finite.
    """
    if not cameras or len(cameras) != len(names):
        raise ValueError(f"{len(cameras)} cameras for {len(names)} pictures")
    if (depth_names is None) != (depth_scale is None):
        raise ValueError("depth_names and depth_scale go together")
    first = intrinsics_dict(cameras[0])
    if any(intrinsics_dict(c) != first for c in cameras):
        raise ValueError("all cameras of a split must share size, focal length and centre")
    frames: list[dict[str, Any]] = []
    for index, (camera, name) in enumerate(zip(cameras, names, strict=True)):
        entry: dict[str, Any] = {
            "file_path": f"./{name}",
            "transform_matrix": pose_list(camera.cam_to_world),
        }
        if depth_names is not None:
            entry["depth_path"] = f"./{depth_names[index]}"
        frames.append(entry)
    content: dict[str, Any] = {"camera_angle_x": cameras[0].camera_angle_x, **first}
    if depth_scale is not None:
        content["depth_scale"] = depth_scale
    write_json(folder / transforms_file(split), {**content, "frames": frames})


def intrinsics_dict(camera: Camera) -> dict[str, float]:
    """Size, focal lengths and centre under the names used on disk."""
    return {
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fl_x,
        "fl_y": camera.fl_y,
        "cx": camera.cx,
        "cy": camera.cy,
    }


def camera_dict(camera: Camera) -> dict[str, Any]:
    """One whole camera as JSON; read back by ``camera_from_dict``."""
    return {**intrinsics_dict(camera), "transform_matrix": pose_list(camera.cam_to_world)}


def pose_list(matrix: npt.NDArray[Any]) -> list[list[float]]:
    """A 4x4 matrix as nested lists. Raises ValueError when it is not finite."""
    if not np.isfinite(matrix).all():
        raise ValueError("pose holds NaN or infinity")
    return [[float(x) for x in row] for row in matrix]


def write_dataset_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write ``dataset.json``.

    ``frames`` lists the animation frame of each frame folder, in order; ``world_to_asset`` holds
    ``scale`` and ``offset`` [3]: asset = world × scale + offset.
    Raises ValueError when one of ``DATASET_KEYS`` is missing.
    """
    _write_info(folder / DATASET_FILE, {"kind": "multiview", **info}, DATASET_KEYS)


def write_sample_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write ``sample.json`` of a six-view video.

    ``input`` is {"camera": {...}}, ``views`` a list of six {"azimuth_deg", "elevation_deg",
    "camera"}, cameras from ``camera_dict``; angles relative to the input as in ``SixViewRig``.
    Raises ValueError when one of ``SAMPLE_KEYS`` is missing.
    """
    _write_info(folder / SAMPLE_FILE, {"kind": "sixview", **info}, SAMPLE_KEYS)


def _write_info(path: Path, info: Mapping[str, Any], keys: Sequence[str]) -> None:
    content = {"schema_version": SCHEMA_VERSION, **info}
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{path.name}: missing {', '.join(missing)}")
    write_json(path, content)

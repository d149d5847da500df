"""What a run folder says, finished or not, for the commands that start from one."""

import dataclasses
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animate_papr.camera_paths import PathConfig
from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.camera_json import camera_from_dict, frame_entry
from blender_render.dataset.picture_files import image_file
from blender_render.dataset.readers import list_frames
from blender_render.dataset.transforms import read_transforms
from blender_render.geometry.object_box import placed
from sjc_papr.data.world import read_world
from training_core.config import ConfigError, InputError
from training_core.config.saved import read_saved_values
from training_core.files.json_files import parse_json
from training_core.run_folder import given_path


class UsualView(NamedTuple):
    """How the dataset's cameras look at the object: distance in the units of the run's world, size
    in pixels.
    """

    radius: float
    fov_deg: float
    width: int
    height: int


def read_json_or_none(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None where the file is absent or broken."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def refuse_pipeline(run: Path) -> None:
    """Raise InputError where a folder is that of a whole pipeline, and name the animation in it."""
    if (run / "input.json").is_file():
        inside = sorted(run.glob("4_animate/animate_papr/*/config.yaml"))
        its = f"; its animation is run={inside[0].parent}" if inside else ""
        raise InputError(f"{run} is a run of scripts/pipeline.py{its}")


def run_config(run: Path) -> dict[str, Any]:
    """The configuration of a run as plain dicts and lists. Raises InputError where it is no run."""
    refuse_pipeline(run)
    try:
        return {str(key): value for key, value in read_saved_values(run).items()}
    except ConfigError as error:
        raise InputError(f"{error}") from error


def dataset_of(run: Path) -> Path | None:
    """The dataset that a run was trained on, None where it is not on this machine any more."""
    data = run_config(run).get("data")
    candidates = [
        run / "dataset",
        (read_json_or_none(run / "metrics.json") or {}).get("dataset"),
        data.get("path") if isinstance(data, dict) else data,
    ]
    paths = [given_path(run, c) for c in candidates if c and isinstance(c, str | Path)]
    return next((p for p in paths if p.exists()), None)


def usual_view(run: Path) -> UsualView:
    """Median distance, field of view and trained image size of the first frame's cameras.

    Raises InputError where the dataset is gone or unreadable.
    """
    dataset = dataset_of(run)
    if dataset is None:
        raise InputError(f"{run}: its dataset is not on this machine")
    data = run_config(run).get("data") or {}
    with open_tree(dataset / list_frames(dataset)[0]) as tree:
        meta, frames = read_transforms(tree, "test", int(data.get("split_seed") or 0))
        where = tree.label("transforms_test.json")
        entries = [frame_entry(meta, frame) for frame in frames]
        size = None
        if "w" not in entries[0] or "h" not in entries[0]:  # the images say it
            with Image.open(io.BytesIO(tree.read_bytes(image_file(tree, entries[0])))) as image:
                size = image.size
        cameras = [camera_from_dict(entry, size, where) for entry in entries]
    world = read_world(run)
    cameras = list(placed(cameras, world.centre, world.scale))
    return UsualView(
        radius=float(np.median([np.linalg.norm(c.position) for c in cameras])),
        fov_deg=math.degrees(cameras[0].camera_angle_x),
        width=int(data.get("width") or 0) or cameras[0].width,
        height=int(data.get("height") or 0) or cameras[0].height,
    )


def completed_path(path: PathConfig, run: Path) -> PathConfig:
    """`path` with every zero among radius, fov_deg, width, height taken from the dataset's cameras.

    Raises ConfigError that names what to give where there is no dataset to look at.
    """
    missing = [name for name in UsualView._fields if not getattr(path, name)]
    if not missing:
        return path
    try:
        usual = usual_view(run)
    except InputError as error:
        keys = ", ".join(f"path.{name}" for name in missing)
        raise ConfigError(f"{error}; give {keys} instead") from error
    return dataclasses.replace(path, **{name: getattr(usual, name) for name in missing})


def travel_in_asset(info: dict[str, Any], frames: list[str]) -> np.ndarray:
    """[T, 3] how far the object had come at each frame (folder names), in the asset's units; zeros
    unless the dataset was rendered going along with it (``normalise.follow``).

    Raises InputError where dataset.json has it in a form that makes no sense.
    """
    way = info.get("world_to_asset")
    travel = way.get("travel") if isinstance(way, dict) else None
    if travel is None:
        return np.zeros((len(frames), 3))
    try:
        rows = np.array(travel, dtype=np.float64).reshape(-1, 3)
        numbers = [fmt.frame_number(name) for name in frames]
        mine = np.stack([rows[number] for number in numbers if number is not None])
        if len(mine) != len(frames) or not np.isfinite(mine).all():
            raise ValueError
    except (IndexError, TypeError, ValueError):
        raise InputError("dataset.json: 'travel', a place [3] per frame, is not readable") from None
    return mine


def world_to_asset(info: dict[str, Any]) -> np.ndarray | None:
    """[4, 4] from the dataset's normalised world to the asset's units, None where it is not known.

    Raises InputError where dataset.json has it in a form that makes no sense.
    """
    way = info.get("world_to_asset")
    if way is None:
        return None
    try:
        matrix = np.diag([*[float(way["scale"])] * 3, 1.0])
        matrix[:3, 3] = way["offset"]
        if not np.isfinite(matrix).all():
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError("dataset.json: the way from world to asset is not readable") from None
    return matrix

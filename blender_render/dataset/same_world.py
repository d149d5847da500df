"""Whether two datasets are of one asset in one world, so that their cameras fit each other, and
whether one is what it was.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import open_tree
from blender_render.dataset.camera_json import frame_entry
from blender_render.dataset.picture_files import image_file, mask_file
from blender_render.dataset.transforms import read_transforms
from training_core.config import InputError

# Worlds whose scale and origin differ by less than this, in object lengths, are one world.
_SAME_WORLD = 1e-3
# Keys of a picture that say which it is and how it was taken.
_TOLD = (
    *("file_path", "mask_path", "depth_path", "depth_scale", "transform_matrix", "w", "h"),
    *("fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y"),
    *("intrinsic_matrix", "K", "camera"),
)


def check_same_world(
    ours: dict[str, Any], our_name: str, theirs: dict[str, Any], their_name: str
) -> None:
    """Refuse two datasets of different assets or worlds.

    Args:
        ours, theirs: what ``sample.json`` or ``dataset.json`` of each says.
        our_name, their_name: how messages call them.

    Raises:
        InputError: another asset, a ``world_to_asset`` that is missing or no world, or scales and
            origins that lie apart, at any moment that both show where an object was followed.
    """
    worlds = world_of(ours, our_name), world_of(theirs, their_name)
    if ours.get("asset_sha256") != theirs.get("asset_sha256"):
        raise InputError(f"{our_name}: another asset than {their_name}")
    apart = np.abs(worlds[0] - worlds[1]).max()
    ways = _travel_by_moment(ours, our_name), _travel_by_moment(theirs, their_name)
    if any(row.any() for way in ways for row in way.values()):
        moments = ways[0].keys() & ways[1].keys()
        if not moments:
            raise InputError(
                f"{our_name}: an object that travels, and no moment of it that {their_name} shows"
            )
        # Where the world's origin is at a moment counts, not from where the way was measured.
        offsets = [worlds[0][1:] - worlds[1][1:] + ways[0][m] - ways[1][m] for m in moments]
        apart = max(abs(worlds[0][0] - worlds[1][0]), float(np.abs(offsets).max()))
    apart /= worlds[1][0]
    if apart > _SAME_WORLD:
        raise InputError(
            f"{our_name}: another world than {their_name}: 'world_to_asset' differs by "
            f"{apart:.3g} object lengths; render both with the same frames and "
            "the same normalise.follow"
        )


def world_of(info: dict[str, Any], name: str) -> np.ndarray:
    """Scale and offset of ``world_to_asset``, [4], in the asset's units.

    Raises:
        InputError: they are missing, not finite, or the scale is not positive.
    """
    entry = info.get("world_to_asset")
    try:
        world = np.array([entry["scale"], *entry["offset"]], dtype=np.float64)  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        world = np.empty(0)
    if world.shape != (4,) or not np.isfinite(world).all() or world[0] <= 0.0:
        raise InputError(f"{name}: 'world_to_asset' with 'scale' and 'offset' [3] is missing")
    return world


def _travel_by_moment(info: dict[str, Any], name: str) -> dict[float, np.ndarray]:
    """How far [3] the object had come, in the asset's units, by frame number; 0 where it was not
    followed. Empty where the dataset names no frames.
    """
    way, frames = info["world_to_asset"].get("travel"), info.get("frames")
    if not isinstance(frames, list):
        frames = []
    if way is None:
        return {time: np.zeros(3) for time in frames if isinstance(time, int | float)}
    try:
        rows = np.array(way, dtype=np.float64).reshape(len(frames), 3)
    except (TypeError, ValueError):
        rows = np.full((1, 3), np.nan)
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: 'travel' of 'world_to_asset' is not a place [3] for each frame")
    return {float(time): row for time, row in zip(frames, rows, strict=True)}


def fingerprint(path: str | Path, split: str, split_seed: int = 0) -> str:
    """What tells the pictures of a split of a frame folder (or of a six-view video) from others in
    its place: poses, lenses, names, and the sizes of files, in one string. Packing changes nothing.

    Raises:
        InputError: nothing is there, or it cannot be read.
    """
    digest = hashlib.sha256()
    with open_tree(path) as tree:
        if tree.exists(fmt.SAMPLE_FILE):
            names = [name for name in (fmt.SAMPLE_FILE, fmt.COMPLETE_FILE) if tree.exists(name)]
            for name in names:
                digest.update(tree.read_bytes(name))
            return digest.hexdigest()
        meta, frames = read_transforms(tree, split, split_seed)
        for frame in frames:
            entry = frame_entry(meta, frame)
            image = image_file(tree, entry)
            mask = mask_file(tree, entry, image)
            sizes = [tree.size(image), tree.size(mask) if mask else 0]
            told = {key: value for key, value in entry.items() if key in _TOLD}
            digest.update(json.dumps([told, sizes], sort_keys=True).encode())
    return digest.hexdigest()

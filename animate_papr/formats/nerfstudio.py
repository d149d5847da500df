"""A frame of our datasets as nerfstudio reads it: transforms.json, pictures, points to start from.

nerfstudio's poses are ours: camera-to-world, OpenGL axes. Its reader would turn, centre and scale
the scene by its cameras; ``orientation_override`` keeps it from turning, and the points are moved
as the cameras are.
"""

import posixpath
from pathlib import Path
from typing import Any

from blender_render.dataset.archive import Tree, open_tree
from blender_render.dataset.camera_json import camera_from_dict, frame_entry
from blender_render.dataset.format import intrinsics_dict
from blender_render.dataset.picture_files import image_file, read_picture
from blender_render.dataset.transforms import read_transforms, splits_of
from blender_render.imaging.images import encode_png, open_image
from blender_render.imaging.pictures import decode_picture
from training_core.files.atomic import write_bytes, write_json

SPLITS = ("train", "val", "test")
POINTS_FILE = "points.ply"


def write_nerfstudio(
    dataset: Path,
    frame: str,
    output: Path,
    points: bytes | None,
    split_seed: int = 0,
    no_alpha: str = "refuse",
) -> int:
    """Write one frame of a dataset; returns its number of pictures.

    Args:
        dataset: folder or .zip of frame folders, or a NeRF-synthetic folder (then `frame` is "").
        output: folder to write to, made when it is not there.
        points: a PLY file in the dataset's world, where splats may start; None = none.
        split_seed: of the run, where the dataset does not say what is held out.
        no_alpha: what to take for the object in images without alpha, as ``read_views``.

    Raises:
        InputError: the dataset is damaged or has no training pictures.
    """
    entries: list[dict[str, Any]] = []
    names: dict[str, list[str]] = {}
    (output / "images").mkdir(parents=True, exist_ok=True)
    with open_tree(dataset / frame if frame else dataset) as tree:
        for split in SPLITS:
            if split != "train" and split not in splits_of(tree):
                continue
            meta, frames = read_transforms(tree, split, split_seed)
            for index, own in enumerate(frames):
                entry = frame_entry(meta, own)
                source = image_file(tree, entry)
                pixels, ending = _pixels(tree, entry, source, no_alpha)
                name = f"images/{split}_{index:03d}{ending}"
                write_bytes(output / name, pixels)
                entries.append(_entry(entry, name, pixels, tree.label(source)))
                names.setdefault(split, []).append(name)
    held_out = names.get("test") or names.get("val") or names["train"]
    content: dict[str, Any] = {
        "camera_model": "OPENCV",
        "orientation_override": "none",
        **{f"{split}_filenames": names.get(split, held_out) for split in SPLITS},
        "frames": entries,
    }
    if points is not None:
        write_bytes(output / POINTS_FILE, points)
        content["ply_file_path"] = POINTS_FILE
    write_json(output / "transforms.json", content)
    return len(entries)


def _pixels(tree: Tree, entry: dict[str, Any], source: str, no_alpha: str) -> tuple[bytes, str]:
    """The file of an image, and how its name ends: as it is where it says itself what the object
    is, else a PNG whose alpha does.
    """
    stored = tree.read_bytes(source)
    if decode_picture(stored, tree.label(source)).has_alpha and "mask_path" not in entry:
        return stored, posixpath.splitext(source)[1]
    return encode_png(read_picture(tree, entry, source, no_alpha)), ".png"


def _entry(entry: dict[str, Any], name: str, pixels: bytes, where: str) -> dict[str, Any]:
    """What transforms.json says of one picture: intrinsics in pixels, and the pose."""
    camera = camera_from_dict(entry, open_image(pixels, where).size, where)
    return {
        "file_path": name,
        **intrinsics_dict(camera),
        "transform_matrix": camera.cam_to_world.tolist(),
    }

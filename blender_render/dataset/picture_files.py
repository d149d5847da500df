"""The files of one entry of a JSON file: its picture, its mask, and the camera that fits them."""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_render.dataset.archive import Tree
from blender_render.dataset.camera_json import camera_from_dict
from blender_render.geometry.cameras import Camera
from blender_render.imaging.pictures import EXTENSIONS, decode_mask, decode_picture, with_alpha
from training_core.config import InputError

logger = logging.getLogger(__name__)

NOT_READ = (".gif", ".bmp", ".tif", ".tiff", ".avif", ".tga", ".heic", ".heif", ".exr")


def image_file(tree: Tree, frame: dict[str, Any]) -> str:
    """Path of a picture below the frame folder, with its extension.

    ``file_path`` may leave the extension out, as in the NeRF-synthetic scenes.

    Raises:
        InputError: the path leads out of the dataset, or to a picture of a kind that is not read.
    """
    name = tree.inside(frame["file_path"])
    ending = posixpath.splitext(name)[1].lower()
    if ending in NOT_READ and tree.exists(name):
        raise InputError(
            f"{tree.label(name)}: {ending} is not read; save it as {', '.join(EXTENSIONS)}"
        )
    known = name.lower().endswith(EXTENSIONS)
    if known and tree.exists(name):
        return name
    endings = [ending for e in EXTENSIONS for ending in (e, e.upper())]
    return next(
        (name + ending for ending in endings if tree.exists(name + ending)),
        name if known else f"{name}.png",
    )


def mask_file(tree: Tree, frame: dict[str, Any], image: str) -> str | None:
    """Path of the picture that says what the object is (white), None where there is none.

    Either ``mask_path``, or beside the picture ``NAME_mask.png``, or ``NAME.png`` in a folder
    ``masks`` (``mask``) in the picture's folder, beside that folder or in the frame folder.
    """
    if isinstance(frame.get("mask_path"), str):
        return tree.inside(frame["mask_path"])
    folder, file = posixpath.split(image)
    stem = file.rpartition(".")[0]
    above = posixpath.dirname(folder)
    candidates = [posixpath.join(folder, f"{stem}_mask.png")]
    for masks in ("masks", "mask"):
        for name in (f"{stem}.png", f"{file}.png", file):
            candidates += [
                posixpath.join(folder, masks, name),
                posixpath.join(above, masks, name),
                posixpath.join(masks, folder, name),
            ]
    return next((path for path in candidates if path != image and tree.exists(path)), None)


def view_name(image: str) -> str:
    """The name of a picture in logs and metrics: its path without a known extension."""
    for ending in EXTENSIONS:
        if image.endswith(ending):
            return image.removesuffix(ending)
    return image


def read_picture(
    tree: Tree, entry: dict[str, Any], name: str, no_alpha: str
) -> npt.NDArray[np.uint8]:
    """Pixels [H, W, 4] of a picture, its alpha from its mask where there is one.

    Raises:
        InputError: see ``decode_picture`` and ``with_alpha``.
    """
    picture = decode_picture(tree.read_bytes(name), tree.label(name))
    mask = None
    if not picture.has_alpha or "mask_path" in entry:
        beside = mask_file(tree, entry, name)
        if beside is not None:
            mask = decode_mask(tree.read_bytes(beside), tree.label(beside))
    return with_alpha(picture, mask, no_alpha, tree.label(name))


def camera_of(
    entry: dict[str, Any],
    pixels: npt.NDArray[np.uint8],
    label: str,
    where: str,
    notes: list[str],
) -> Camera:
    """The camera of a picture; both must be of one size.

    Raises:
        InputError: see ``camera_from_dict``.
    """
    found = (pixels.shape[1], pixels.shape[0])
    camera = camera_from_dict(entry, found, where, notes)
    require_size(label, found, (camera.width, camera.height), "the JSON file")
    return camera


def common_size(pictures: Sequence[npt.NDArray[np.uint8]], where: str) -> tuple[int, int]:
    """(width, height) of the most pictures [H, W, 4]; the smaller where equally many have it."""
    counts = Counter((p.shape[1], p.shape[0]) for p in pictures)
    size = min(counts, key=lambda s: (-counts[s], s[0] * s[1], s))
    if len(counts) > 1:
        logger.info(
            "%s: pictures of %d sizes; all are resized to %dx%d, their lenses with them "
            "(data.width and data.height choose another)",
            where,
            len(counts),
            *size,
        )
    return size


def require_size(name: str, found: tuple[int, int], wanted: tuple[int, int], whose: str) -> None:
    """Raises InputError where a picture's (width, height) is not the one that ``whose`` says."""
    if found != wanted:
        size = f"{found[0]}x{found[1]}, but {whose} says {wanted[0]}x{wanted[1]}"
        raise InputError(f"{name}: wrong size {size}")

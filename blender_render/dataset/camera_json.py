"""A camera from the keys of a JSON file: the lens in any of its spellings, and the pose.

Read: ``fl_x`` (``fl_y``, ``cx``, ``cy``, ``w``, ``h``), ``camera_angle_x`` and ``camera_angle_y``,
or a 3x3 ``intrinsic_matrix`` (``K``), beside the pose or in an object ``camera``; poses as 4x4
``transform_matrix``. A lens given for a larger copy of the picture is scaled with it. Refused by
name: distortion, lenses that are not pinholes, and statements that contradict each other.
Keys that only place the scene for other programs (``aabb_scale``, ``scale``, ``offset``,
``applied_transform``, ``applied_scale``) change no pose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from blender_render.geometry.cameras import Camera
from blender_render.geometry.lens_models import numbers_of, refuse_other_lenses
from training_core.config import InputError

Entry = Mapping[str, Any]
Array = npt.NDArray[np.float64]

MATRIX_KEYS = ("intrinsic_matrix", "intrinsics", "camera_intrinsics", "K")
# An entry of a frame with any of these has a lens of its own, and nothing of the shared one.
LENS_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y", *MATRIX_KEYS)
INTRINSIC_KEYS = (*LENS_KEYS, "w", "h", "cx", "cy")
# Statements about one lens may differ by rounding and by a principal point off the middle.
SAME_LENS = 0.03
# Rounding to four digits moves products of rows by up to 2e-4, to three by 2e-3, to two by 2e-2.
EXACT_POSE, ROUNDED_POSE = 3e-4, 2e-2
# Of a side: how far off the middle a principal point may lie where no size is stated with it.
NEAR_MIDDLE = 0.2
# Of the width: pinholes of wider angles than 169 degrees are none.
SHORTEST_FOCAL = 0.05
ROUNDED_NOTE = "poses are rounded; their rotations were made orthonormal"
SCALED_NOTE = "pictures are copies of another size than w and h say; the lens was scaled with them"


def frame_entry(shared: Entry, frame: Entry) -> dict[str, Any]:
    """The keys that hold for one picture: those of all, where it has none of its own."""
    all_of, own = _flat(shared), _flat(frame)
    inner, own_inner = all_of.get("camera"), own.get("camera")
    if any(key in own for key in LENS_KEYS):
        all_of = {k: v for k, v in all_of.items() if k not in LENS_KEYS}
        if isinstance(inner, Mapping):
            inner = {k: v for k, v in inner.items() if k not in INTRINSIC_KEYS}
    elif any(key in own for key in INTRINSIC_KEYS):
        all_of = _without_matrix(all_of)
    merged = {**all_of, **own}
    if isinstance(inner, Mapping):  # what else it says of the lens holds for all, too
        merged["camera"] = {**inner, **(own_inner if isinstance(own_inner, Mapping) else {})}
    return merged


def _flat(entry: Entry) -> dict[str, Any]:
    """An entry with the intrinsics of its object ``camera`` beside it, and without those that are
    null; what contradicts what stands there is left inside, to be refused."""
    flat = {k: v for k, v in entry.items() if v is not None or k not in INTRINSIC_KEYS}
    inner = entry.get("camera")
    if isinstance(inner, Mapping):
        given = {k: inner[k] for k in INTRINSIC_KEYS if inner.get(k) is not None}
        wrong = {k for k, v in given.items() if not _alike(v, flat.get(k, v))}
        kept = {k: v for k, v in inner.items() if k in wrong or k not in INTRINSIC_KEYS}
        flat = {**given, **flat, "camera": kept}
    return flat


def _without_matrix(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with the numbers of its matrix in its place, where they contradict nothing."""
    try:
        numbers = _from_matrix(entry, "")
    except InputError:  # it is refused later, by name
        return entry
    if any(not _alike(v, entry.get(k, v)) for k, v in numbers.items()):
        return entry
    return {k: v for k, v in (numbers | entry).items() if k not in MATRIX_KEYS}


def camera_from_dict(
    entry: Entry, size: tuple[int, int] | None, where: str, notes: list[str] | None = None
) -> Camera:
    """A camera from JSON keys, see the module's docstring.

    Args:
        size: (width, height) of the picture; None where the keys must say it.
        where: file and entry to name in errors.
        notes: takes a line for each thing that was mended.

    Raises:
        InputError: a missing key, a value that is no number, a lens that is no pinhole or that
            contradicts itself, or a pose that is not a finite, orthonormal (within 2e-2; rounded
            ones are mended), right-handed 4x4 matrix.
    """
    notes = [] if notes is None else notes
    pose = _pose(entry, where, notes)
    refuse_other_lenses(entry, where)
    entry = _with_inner(_flat(entry), where)
    entry = _agreeing(entry, _from_matrix(entry, where), where)
    width, height = size or (0, 0)
    stated = "w" in entry or "h" in entry
    width = int(number(entry, "w", where, width or None))
    height = int(number(entry, "h", where, height or None))
    if width < 1 or height < 1:
        raise InputError(f"{where}: 'w' and 'h' are {width} and {height}; no picture is that small")
    fl_x, fl_y = _focal_lengths(entry, width, height, where, stated)
    if "fl_x" in entry and 0.0 < fl_x <= SHORTEST_FOCAL * width:
        raise InputError(
            f"{where}: fl_x={fl_x:g} is no focal length in pixels of a picture {width} wide; if it "
            "is a share of the width, multiply it (and cx, cy, fl_y) by the size"
        )
    cx, cy = number(entry, "cx", where, width / 2), number(entry, "cy", where, height / 2)
    if not stated and max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > NEAR_MIDDLE:
        raise InputError(
            f"{where}: the principal point ({cx:g}, {cy:g}) is far from the middle of a picture of "
            f"{width}x{height}, as of a lens for a larger copy; give w and h of the lens"
        )
    try:
        camera = Camera(pose, width, height, fl_x, fl_y, cx, cy)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if size and _is_copy((width, height), size):
        notes.append(SCALED_NOTE)
        return camera.resized(*size)
    return camera


def _focal_lengths(
    entry: Entry, width: int, height: int, where: str, stated: bool
) -> tuple[float, float]:
    """fl_x and fl_y in pixels of a picture of the stated size, or of the file's where none is."""
    by_angle: dict[str, float] = {}
    for key, side, focal in (
        ("camera_angle_x", width, "fl_x"),
        ("camera_angle_y", height, "fl_y"),
    ):
        if key in entry:
            angle = number(entry, key, where)
            if not 0.0 < angle < math.pi:
                raise InputError(f"{where}: {key} must be in radians, in (0, pi), is {angle:g}")
            by_angle[focal] = 0.5 * side / math.tan(0.5 * angle)
    for focal, length in by_angle.items():
        if focal not in entry:
            continue
        given = number(entry, focal, where)
        if given > 0.0 and abs(given / length - 1.0) > SAME_LENS:
            angle_key = "camera_angle_x" if focal == "fl_x" else "camera_angle_y"
            size = f"{width}x{height}"
            hint = "" if stated else "; give w and h of the picture that it is for"
            raise InputError(
                f"{where}: {focal}={given:g} and {angle_key} contradict each other for a picture "
                f"of {size}, for which the angle says {length:.5g}{hint}"
            )
    if "fl_x" in entry:
        fl_x = number(entry, "fl_x", where)
        return fl_x, number(entry, "fl_y", where, by_angle.get("fl_y", fl_x))
    if not by_angle:
        raise InputError(f"{where}: key 'camera_angle_x' is missing, and so is 'fl_x'")
    fl_x = by_angle.get("fl_x") or by_angle["fl_y"]
    return fl_x, number(entry, "fl_y", where, by_angle.get("fl_y", fl_x))


def _is_copy(stated: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a picture is a smaller or larger copy of one of the stated size, up to rounding."""
    if stated == size or min(stated) < 1:
        return False
    scale = size[0] / stated[0]
    same_shape = abs(stated[1] * scale - size[1]) <= max(1.0, scale)
    return same_shape and not 0.95 < scale < 1.05


def _from_matrix(entry: Entry, where: str) -> dict[str, float]:
    """fl_x, fl_y, cx and cy of a 3x3 matrix of intrinsics; empty where there is none."""
    key = next((k for k in MATRIX_KEYS if k in entry), None)
    if key is None:
        return {}
    matrix = numbers_of(entry[key])
    if matrix.shape not in ((3, 3), (3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise InputError(f"{where}: {key!r} is not a 3x3 matrix of finite numbers")
    if abs(matrix[0, 1]) > 1e-6 * abs(matrix[0, 0]):
        raise InputError(
            f"{where}: {key!r} has skew {matrix[0, 1]:g}; only upright pixels are read"
        )
    found = {"fl_x": matrix[0, 0], "fl_y": matrix[1, 1], "cx": matrix[0, 2], "cy": matrix[1, 2]}
    return {name: float(value) for name, value in found.items()}


def _with_inner(entry: Entry, where: str) -> dict[str, Any]:
    """An entry with the lens that it holds in an object ``camera``, if it has one there."""
    inner = entry.get("camera")
    if not isinstance(inner, Mapping):
        return dict(entry)
    refuse_other_lenses(inner, f"{where}: camera")
    intrinsics = {k: inner[k] for k in INTRINSIC_KEYS if inner.get(k) is not None}
    return _agreeing(entry, intrinsics, f"{where}: camera")


def _agreeing(entry: Entry, more: Entry, where: str) -> dict[str, Any]:
    """An entry with ``more`` on its intrinsics in the place of its own; both must say the same."""
    for key, value in more.items():
        if not _alike(value, entry.get(key, value)):
            raise InputError(
                f"{where}: says {key}={value!r}, but {key}={entry[key]!r} stands beside"
            )
    return {**entry, **more}


def _alike(value: Any, other: Any) -> bool:
    first, second = numbers_of(value), numbers_of(other)
    return first.shape == second.shape and np.allclose(first, second, rtol=SAME_LENS)


def number(entry: Entry, key: str, where: str, default: float | None = None) -> float:
    """A finite number of an entry.

    Raises:
        InputError: it is missing without a default, or no finite number.
    """
    value = entry.get(key, default)
    if value is None:
        raise InputError(f"{where}: key {key!r} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {key!r} must be a finite number, is {value!r}")
    return float(value)


def _pose(entry: Entry, where: str, notes: list[str]) -> Array:
    if "transform_matrix" not in entry:
        raise InputError(f"{where}: key 'transform_matrix' is missing")
    matrix = numbers_of(entry["transform_matrix"])
    if matrix.shape != (4, 4):
        raise InputError(f"{where}: 'transform_matrix' is not a 4x4 matrix of numbers")
    rotation = matrix[:3, :3]
    if not np.isfinite(matrix).all():
        raise InputError(f"{where}: pose holds NaN or infinity")
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if off > ROUNDED_POSE:
        raise InputError(f"{where}: pose is not orthonormal")
    if np.linalg.det(rotation) < 0.0:
        raise InputError(f"{where}: pose is mirrored (determinant -1)")
    last = np.array([0.0, 0.0, 0.0, 1.0])
    if np.abs(matrix[3] - last).max() > 1e-6:
        hint = "; it is transposed" if np.abs(matrix[:, 3] - last).max() <= 1e-6 else ""
        raise InputError(f"{where}: last row of the pose is not 0 0 0 1{hint}")
    if off > EXACT_POSE:
        left, _, right = np.linalg.svd(rotation)
        matrix[:3, :3] = left @ right
        notes.append(ROUNDED_NOTE)
    return matrix

"""Which keys of a camera in a JSON file say that its lens is no pinhole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from training_core.config import InputError

# In small letters; files have them in either.
DISTORTION_KEYS = (
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
    *("distortion", "distortion_params", "distortion_coefficients", "distortion_coeffs"),
    *("dist_coeffs", "radial_distortion", "tangential_distortion", "lens_distortion"),
    "rolling_shutter",
)
MODEL_KEYS = ("camera_model", "camera_type", "model")
# "model" may also name the telephone.
NO_PINHOLES = (
    *("FISHEYE", "FOV", "ORTHO", "EQUIRECT", "SPHER", "PANO", "OMNI", "PRISM", "LATLONG"),
    *("KANNALA", "BRANDT", "UCM", "MEI", "UNIFIED"),
)
# Models that are set by a flag.
OTHER_LENSES = (
    *("is_fisheye", "fisheye", "is_latlong", "equirectangular"),
    *("orthographic", "is_orthographic", "ortho", "is_ortho"),
)
# Pinholes, with distortion that is 0 here.
PINHOLES = (
    *("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "FULL_OPENCV", "SIMPLE_RADIAL", "RADIAL"),
    *("PERSPECTIVE", "PERSP"),
)
# COLMAP's numbers of models; nerfstudio's of camera types.
NUMBERED = {
    "camera_model": (
        *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL"),
        *("OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV"),
    ),
    "camera_type": ("", "PERSPECTIVE"),
}


def refuse_other_lenses(entry: Mapping[str, Any], where: str) -> None:
    """Raises InputError where an entry says of its lens that it is no pinhole.

    Args:
        where: file and entry to name.
    """
    for key, value in entry.items():
        if key.lower() not in DISTORTION_KEYS:
            continue
        values = list(value.values()) if isinstance(value, Mapping) else value
        if value is None or (isinstance(values, list) and not values):
            continue
        numbers = numbers_of(values)
        if not numbers.size or not np.isfinite(numbers).all():
            raise InputError(f"{where}: {key!r} must be a finite number, is {value!r}")
        if (numbers != 0.0).any():
            raise InputError(
                f"{where}: {key!r} is {value!r}: pictures with lens distortion are not read; "
                "undistort them first (colmap image_undistorter does)"
            )
    for key in MODEL_KEYS:
        model = entry.get(key)
        if model is not None and not _is_pinhole(key, model):
            raise InputError(f"{where}: {key!r} is {model!r}: only pinhole cameras are read")
    for key in OTHER_LENSES:
        if entry.get(key):
            raise InputError(f"{where}: {key!r} is set: only pinhole cameras are read")


def _is_pinhole(key: str, model: Any) -> bool:
    """Whether a value of one of ``MODEL_KEYS`` may be that of a pinhole."""
    if isinstance(model, int) and not isinstance(model, bool):
        names = NUMBERED["camera_type" if key == "camera_type" else "camera_model"]
        return 0 <= model < len(names) and names[model] in PINHOLES
    name = str(model).upper()
    may_be_a_telephone = key == "model" and isinstance(model, str)
    return name in PINHOLES or (
        may_be_a_telephone and not any(word in name for word in NO_PINHOLES)
    )


def numbers_of(value: Any) -> npt.NDArray[np.float64]:
    """Whatever a JSON value holds, as numbers; an empty array where it holds something else."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)

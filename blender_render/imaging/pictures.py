"""Pictures of any common kind as straight-alpha RGBA, for datasets that people bring along.

What has no alpha gets one: from a mask picture, from the colour behind the object, or none is
needed because the whole picture is to be learned.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_render.imaging.images import mode_name, open_image, refuse_turned
from training_core.config import InputError

Pixels = npt.NDArray[np.uint8]

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
# What to take for the object in a picture without alpha.
NO_ALPHA = ("refuse", "white", "black", "opaque")
# Largest difference from the colour behind the object, 8-bit counts; lossy files blur it.
EXACT_TOLERANCE, LOSSY_TOLERANCE = 2, 16
# Outlines are taken at one half.
OUTSIDE_BELOW = 128
_ROUNDS = 64


class Picture(NamedTuple):
    """A decoded picture: straight-alpha RGBA [H, W, 4], and what was known before.

    Attributes:
        has_alpha: whether the file says what is not the object: its alpha is below one half
            somewhere.
        kind: of pixels, in words, for messages.
        lossy: compressed with loss, so that one colour may be several.
    """

    rgba: Pixels
    has_alpha: bool
    kind: str
    lossy: bool


def decode_picture(raw: bytes, where: str) -> Picture:
    """PNG, JPEG or WebP bytes → pixels; grey, palette, CMYK and 16 bits become 8-bit RGBA.

    Raises:
        InputError: the file is damaged, holds several frames, is stored turned (EXIF), or has
            pixels of a kind that says no colour.
    """
    image = open_image(raw, where)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise InputError(f"{where}: holds {getattr(image, 'n_frames', 0)} frames; one is expected")
    refuse_turned(image, where)
    lossy = image.format in ("JPEG", "MPO", "WEBP")
    kind = mode_name(image.mode)
    rgba = _to_rgba(image, where)
    has_alpha = bool(rgba[..., 3].min() < OUTSIDE_BELOW)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") and not has_alpha:
        kind = "RGBA with no background, alpha is opaque everywhere"
    return Picture(rgba, has_alpha, kind, lossy)


def _to_rgba(image: Image.Image, where: str) -> Pixels:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        grey = np.asarray(image).astype(np.float64)
        if grey.min() < 0 or grey.max() > 65535:
            raise InputError(f"{where}: grey values outside 16 bits")
        eight = np.rint(grey / 257.0).astype(np.uint8)
        return np.dstack([eight, eight, eight, np.full_like(eight, 255)])
    if image.mode == "F":
        raise InputError(f"{where}: a picture of floats has no known range; save it as 8-bit PNG")
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return np.asarray(image.convert("RGBA"))


def decode_mask(raw: bytes, where: str) -> Pixels:
    """A mask picture → alpha [H, W]: its alpha where it has one, else its grey (white = object).

    A mask that knows only the numbers 0 and 1 is taken to mean 0 and 255.

    Raises:
        InputError: as of ``decode_picture``.
    """
    picture = decode_picture(raw, where)
    if picture.has_alpha:
        return picture.rgba[..., 3].copy()
    grey = np.asarray(Image.fromarray(picture.rgba[..., :3]).convert("L"))
    return grey * np.uint8(255) if grey.max() == 1 else grey


def with_alpha(picture: Picture, mask: Pixels | None, no_alpha: str, where: str) -> Pixels:
    """The pixels [H, W, 4] with an alpha that says what the object is.

    Args:
        mask: [H, W], used as alpha when given.
        no_alpha: one of ``NO_ALPHA``: what to do with a picture that has neither mask nor alpha.
            ``white`` and ``black`` name the colour behind the object: what has it and hangs
            together with the picture's border becomes transparent.

    Raises:
        InputError: the mask has another size, or nothing says what the object is.
    """
    rgba = picture.rgba.copy()
    if mask is not None:
        if mask.shape != rgba.shape[:2]:
            size = f"{mask.shape[1]}x{mask.shape[0]}, but the picture {rgba.shape[1]}x"
            raise InputError(f"{where}: its mask is {size}{rgba.shape[0]}")
        rgba[..., 3] = mask
    elif picture.has_alpha:
        return rgba
    elif no_alpha == "opaque":
        rgba[..., 3] = 255
    elif no_alpha in ("white", "black"):
        tolerance = LOSSY_TOLERANCE if picture.lossy else EXACT_TOLERANCE
        rgba[..., 3] = np.where(background_of(rgba[..., :3], no_alpha, tolerance), 0, 255)
    else:
        raise InputError(
            f"{where}: RGBA expected, but the picture is {picture.kind}; data.background=white or "
            "black says the colour behind the object, opaque that there is none; or put masks "
            "beside the pictures"
        )
    return rgba


def background_of(rgb: Pixels, colour: str, tolerance: int) -> npt.NDArray[np.bool_]:
    """Bool [H, W]: pixels of a colour, white or black, that hang together with the border.

    A white shirt before white stays where its outline is darker; what the object encloses, such
    as the gap between arm and body, counts as the object.
    """
    if colour == "white":
        alike = rgb.min(axis=-1) >= 255 - tolerance
    else:
        alike = rgb.max(axis=-1) <= tolerance
    reached = np.zeros_like(alike)
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        reached[edge] = alike[edge]
    for _ in range(_ROUNDS):
        before = int(reached.sum())
        for here, allowed in zip(_four_ways(reached), _four_ways(alike), strict=True):
            for row in range(1, len(here)):
                here[row] |= here[row - 1] & allowed[row]
        if int(reached.sum()) == before:
            break
    return reached


def _four_ways(image: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], ...]:
    """The same memory, so that going down its rows is going down, up, right and left."""
    return image, image[::-1], image.T, image.T[::-1]

"""Images as PNG files and as 8-bit arrays.

Blender's process imports this, and has no PyTorch: resizing of tensors is in ``resize``.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from PIL import Image, UnidentifiedImageError

from training_core.config import InputError
from training_core.files.atomic import write_bytes

LARGEST_PIXELS = 8192 * 8192
_ORIENTATION = 0x0112  # of EXIF
LFS_POINTER = b"version https://git-lfs"
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    zlib.error,
    struct.error,
    Image.DecompressionBombError,
)


def to_uint8(images: ArrayLike) -> npt.NDArray[np.uint8]:
    """Floats of any shape to 8 bit: clipped to [0, 1], times 255, rounded half to even.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    array = np.asarray(images, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError("an image holds values that are not finite")
    return np.rint(array.clip(0.0, 1.0) * 255.0).astype(np.uint8)


def encode_png(image: ArrayLike, *, compress_level: int = 6) -> bytes:
    """An image [H, W], [H, W, 3] or [H, W, 4] as PNG bytes.

    Args:
        image: uint8, or floats in [0, 1] (see ``to_uint8``).
        compress_level: zlib's, 0 to 9; changes the bytes, not the image.
    """
    pixels = np.asarray(image)
    buffer = io.BytesIO()
    Image.fromarray(pixels if pixels.dtype == np.uint8 else to_uint8(pixels)).save(
        buffer, "PNG", compress_level=compress_level
    )
    return buffer.getvalue()


def write_png(path: Path, image: ArrayLike) -> None:
    """Write an image, see ``encode_png``; the file appears complete or not at all."""
    write_bytes(path, encode_png(image))


def open_image(raw: bytes, where: str) -> Image.Image:
    """Decode the bytes of an image file.

    Args:
        where: the name of the file in messages.

    Raises:
        InputError: the file is damaged, cut off, or larger than ``LARGEST_PIXELS``.
    """
    if raw.startswith(LFS_POINTER):
        raise InputError(
            f"{where}: a Git LFS pointer instead of the picture: run git lfs pull where it is from"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is below
            image = Image.open(io.BytesIO(raw))
        width, height = image.size
        if width * height > LARGEST_PIXELS:
            raise InputError(
                f"{where}: {width}x{height} is {width * height / 1e6:.0f} megapixels; pictures of "
                f"at most {LARGEST_PIXELS / 1e6:.0f} are read"
            )
        image.load()
    except InputError:
        raise
    except UnidentifiedImageError:
        what = "an empty file" if not raw else "of no known kind"
        raise InputError(f"{where}: damaged or cut-off picture ({what})") from None
    except DECODE_ERRORS as error:
        raise InputError(f"{where}: damaged or cut-off picture ({error})".splitlines()[0]) from None
    return image


def orientation_of(image: Image.Image) -> int:
    """How a picture is stored, as EXIF counts it: 1 = upright, up to 8; other numbers mean nothing.

    What is no EXIF, though it says so, cannot turn a picture: it counts as upright.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (*DECODE_ERRORS, TypeError):
        return 1


def refuse_turned(image: Image.Image, where: str) -> None:
    """Raise InputError where a picture that has a camera is stored turned (EXIF)."""
    turn = orientation_of(image)
    if 2 <= turn <= 8:
        raise InputError(
            f"{where}: stored turned (EXIF orientation {turn}), so pixels and camera may not "
            "agree; turn the pixels themselves and remove the tag"
        )


def decode_rgba(raw: bytes, where: str) -> npt.NDArray[np.uint8]:
    """PNG bytes → [H, W, 4] uint8, straight alpha.

    Raises:
        InputError: the file is damaged or cut off, is not 8-bit RGBA, or is stored turned (EXIF).
    """
    image = open_image(raw, where)
    refuse_turned(image, where)
    if image.mode != "RGBA":
        raise InputError(f"{where}: RGBA expected, but the picture is {mode_name(image.mode)}")
    return np.asarray(image)


def mode_name(mode: str) -> str:
    """A mode of Pillow in words."""
    names = {"RGB": "RGB without alpha", "L": "grey without alpha", "P": "a palette picture"}
    return names.get(mode, f"of mode {mode}")

"""Image files as straight-alpha RGBA: decoded one frame at a time, reduced while that is cheap."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from blender_render.imaging.images import DECODE_ERRORS, LFS_POINTER, orientation_of
from training_core.config import InputError

logger = logging.getLogger(__name__)

# Larger images are refused before they are decoded, since a file of some kilobytes can hold them.
LARGEST_PIXELS = 64_000_000
# The longer side of larger ones is reduced to this; the networks see a quarter of it or less.
LARGEST_SIDE = 2048
_SUBFILE = 254
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ANIMATED = ("GIF", "PNG", "WEBP")
_HEIC = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")
_BEYOND_8_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class ImageFile:
    """An image file that is open; use as a context manager.

    Attributes:
        count: its frames; more than one of animated GIF, PNG and WebP, and of a TIFF whose pages
            are of one size.
        size: width and height of one in pixels.

    Raises:
        InputError: it is no image, damaged, or too large; the file is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
            try:
                self._image = Image.open(path)
            except Image.DecompressionBombError:
                raise InputError(f"{path}: too large; {_limit()}") from None
            except UnidentifiedImageError:
                raise InputError(f"{path}: {_why_not_an_image(path)}") from None
            except DECODE_ERRORS as error:
                raise InputError(f"{path}: damaged image ({error})".splitlines()[0]) from None
        if max(self._image.size) > LARGEST_SIDE:
            self._image.draft(None, (LARGEST_SIDE, LARGEST_SIDE))  # JPEG alone can do that
        width, height = self._image.size
        if width * height > LARGEST_PIXELS:
            self.close()
            millions = width * height / 1e6
            raise InputError(f"{path}: {width}x{height} is {millions:.0f} megapixels; {_limit()}")
        self.size = width, height
        animated = self._image.format in _ANIMATED
        # A still image for programs that know no animation comes before the frames.
        self._first = int(animated and bool(getattr(self._image, "default_image", False)))
        found = getattr(self._image, "n_frames", 1) if animated else 1
        if self._image.format == "TIFF":
            found = self._pages()
        self._first = min(self._first, found - 1)
        self.count = found - self._first

    def _pages(self) -> int:
        """How many pages of a TIFF are frames: all, or the first where the others are not alike,
        such as a preview of it."""
        found, alike = 0, True
        try:
            found = int(getattr(self._image, "n_frames", 1))
            for page in range(1, found):
                self._image.seek(page)
                kind = getattr(self._image, "tag_v2", {}).get(_SUBFILE, 0)
                preview = isinstance(kind, int) and bool(kind & 1)
                alike = alike and self._image.size == self.size and not preview
            self._image.seek(0)
        except (*DECODE_ERRORS, TypeError) as error:  # of pages without a size
            self.close()
            raise InputError(f"{self.path}: damaged image ({error})".splitlines()[0]) from None
        if not alike:
            logger.warning("%s: %d pages that are not alike; the first is read", self.path, found)
        return found if alike else 1

    def read(self, frames: Sequence[int]) -> tuple[list[Tensor], float | None]:
        """RGBA [4, H, W] float32 in [0, 1] of the frames, and how many there are per second.

        The latter is the mean over all up to the last one; None where the file does not say.
        """
        images, milliseconds = [], []
        wanted, last = set(frames), max(frames)
        try:
            for number in range(last + 1):
                if self.count > 1:
                    self._image.seek(self._first + number)
                    self._image.load()  # WebP knows how long a frame lasts only then
                    milliseconds.append(float(self._image.info.get("duration", 0)))
                if number in wanted:
                    images.append(rgba_of(self._image))
        except DECODE_ERRORS as error:
            if isinstance(error, InputError):
                raise InputError(f"{self.path}: {error}") from None
            raise InputError(f"{self.path}: damaged image ({error})".splitlines()[0]) from None
        mean = sum(milliseconds) / len(milliseconds) if milliseconds else 0.0
        return images, 1000.0 / mean if mean > 0 else None

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_image(path: Path) -> Tensor:
    """The first frame of an image file, RGBA [4, H, W] in [0, 1]. Raises InputError, naming it."""
    with ImageFile(path) as file:
        if file.count > 1:
            logger.warning("%s: holds %d frames; the first is read", path, file.count)
        return file.read([0])[0][0]


def rgba_of(image: Image.Image) -> Tensor:
    """RGBA [4, H, W] float32 in [0, 1] of a PIL image, turned upright, its longer side at most
    ``LARGEST_SIDE``; colours are averaged weighted by their alpha.

    Raises:
        InputError: values whose range is not known.
    """
    image.load()  # Pillow turns a TIFF upright by itself here, and then takes its mark away
    orientation = orientation_of(image)
    if image.mode in _BEYOND_8_BIT:
        pixels = _rgba_of_numbers(image)
    else:
        rgba = _reduced(image.convert("RGBA"))
        data = torch.frombuffer(bytearray(rgba.tobytes()), dtype=torch.uint8)
        pixels = data.view(rgba.height, rgba.width, 4).movedim(-1, 0).float() / 255.0
    if orientation not in _UPRIGHT:
        return pixels
    places = np.arange(pixels[0].numel(), dtype=np.int32).reshape(pixels.shape[1:])
    turned = np.asarray(Image.fromarray(places).transpose(_UPRIGHT[orientation]))
    return pixels.flatten(1)[:, torch.from_numpy(turned.astype(np.int64))]


def _rgba_of_numbers(image: Image.Image) -> Tensor:
    """Of a grey image whose pixels are 16-bit numbers or floats."""
    values = np.asarray(image).astype(np.float32)
    least, most = float(values.min()), float(values.max())
    highest = 1.0 if image.mode == "F" else 65535.0
    if not (least >= 0.0 and most <= highest):  # NaN is in no range
        raise InputError(f"pixels from {least:g} to {most:g}; expected are 0 to {highest:g}")
    alpha = np.ones_like(values)
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        alpha = (values != see_through).astype(np.float32)
    # Weighted by alpha, as colours of other images are.
    weighted, opacity = (
        np.asarray(_reduced(Image.fromarray(plane))).copy()
        for plane in (values / highest * alpha, alpha)
    )
    grey = np.divide(weighted, opacity, out=np.zeros_like(weighted), where=opacity > 0)
    return torch.from_numpy(np.stack([grey.clip(0.0, 1.0)] * 3 + [opacity.clip(0.0, 1.0)]))


def _reduced(image: Image.Image) -> Image.Image:
    """By area, so that the longer side is ``LARGEST_SIDE`` at most."""
    longest = max(image.size)
    if longest <= LARGEST_SIDE:
        return image
    width, height = (max(1, round(side * LARGEST_SIDE / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def _limit() -> str:
    return f"images of at most {LARGEST_PIXELS / 1e6:.0f} megapixels are read: reduce it first"


def _why_not_an_image(path: Path) -> str:
    """What is known of a file that no decoder recognises."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        start = b""
    if any(start[4:].startswith(brand) for brand in _HEIC):
        return "a HEIC image, which cannot be read; save it as PNG or JPEG"
    if start.startswith(LFS_POINTER):
        return "a Git LFS pointer instead of the picture; git lfs pull fetches it"
    if not start:
        return "damaged image (the file is empty)"
    return "damaged image (not one of the known formats)"

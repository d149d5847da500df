"""Colour pictures of every kind give the colours and the alpha that they hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deep_png import encode_png16
from PIL import Image

from mnvs.footage.input_reader import read_footage

# Two rows of four flat patches of 8x8 pixels, so that lossy files keep the middle of each.
COLOURS = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)],
     [(0, 0, 0), (200, 120, 40), (60, 60, 60), (90, 160, 230)]], np.uint8
)  # fmt: skip
ALPHA = np.array([[255, 255, 0, 255], [0, 255, 255, 255]], np.uint8)


def patches(values: np.ndarray) -> np.ndarray:
    return values.repeat(8, 0).repeat(8, 1)


def rgb() -> Image.Image:
    return Image.fromarray(patches(COLOURS))


def rgba() -> Image.Image:
    return Image.fromarray(patches(np.dstack([COLOURS, ALPHA])))


def palette() -> Image.Image:
    return rgb().quantize(8)


def save(make: Callable[[], Image.Image], **options: Any) -> Callable[[Path], None]:
    return lambda path: make().save(path, **options)


def save_palette_with_clear_colour(path: Path) -> None:
    """The blue and the black patch are clear."""
    picture = palette()
    clear = [picture.getpixel((20, 4)), picture.getpixel((4, 12))]
    picture.save(path, transparency=bytes(0 if i in clear else 255 for i in range(256)))


def save_16_bit(path: Path, values: np.ndarray) -> None:
    path.write_bytes(encode_png16(patches(values).astype(np.uint16) * 257))


def cmyk() -> Image.Image:
    return rgb().convert("CMYK")


# File, how it is written, whether it has alpha, and how far its colours may be, of 255.
KINDS: dict[str, tuple[str, Callable[[Path], None], bool, float]] = {
    "palette PNG": ("a.png", save(palette), False, 1),
    "palette GIF": ("a.gif", save(palette), False, 1),
    "palette with clear colours": ("a.png", save_palette_with_clear_colour, True, 1),
    "CMYK JPEG": ("a.jpg", save(cmyk, quality=98, subsampling=0), False, 6),
    "CMYK TIFF": ("a.tif", save(cmyk), False, 1),
    "WebP": ("a.webp", save(rgb, quality=95), False, 16),
    "lossless WebP with alpha": ("a.webp", save(rgba, lossless=True, exact=True), True, 0.01),
    "16-bit RGB": ("a.png", lambda p: save_16_bit(p, COLOURS), False, 0.01),
    "16-bit RGBA": ("a.png", lambda p: save_16_bit(p, np.dstack([COLOURS, ALPHA])), True, 0.01),
}


@pytest.mark.parametrize("name, write, clear, tolerance", KINDS.values(), ids=KINDS)
def test_colours_and_alpha_are_those_of_the_file(
    tmp_path: Path, name: str, write: Callable[[Path], None], clear: bool, tolerance: float
) -> None:
    write(tmp_path / name)
    (image,) = read_footage(tmp_path / name).images
    assert image.shape == (4, 16, 32)
    middles = image[:, 4::8, 4::8].movedim(0, -1).numpy() * 255
    wanted = ALPHA if clear else np.full_like(ALPHA, 255)
    np.testing.assert_allclose(middles[..., 3], wanted, atol=0.01)
    seen = wanted > 0
    np.testing.assert_allclose(middles[seen][:, :3], COLOURS[seen], atol=tolerance)

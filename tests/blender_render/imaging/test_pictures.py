"""Pixels of every kind of file become 8-bit RGBA with the right values, or are refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from blender_render.imaging.pictures import background_of, decode_mask, decode_picture
from training_core.config import InputError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_sixteen_bit_grey_keeps_its_levels() -> None:
    levels = np.array([[0, 257, 32896], [65535, 128, 129]], np.uint16)
    picture = decode_picture(encoded(Image.fromarray(levels)), "here")
    assert picture.rgba[..., 0].tolist() == [[0, 1, 128], [255, 0, 1]]
    assert not picture.has_alpha and (picture.rgba[..., 3] == 255).all()


def test_grey_and_palette_with_a_transparent_colour() -> None:
    grey = Image.fromarray(np.array([[10, 200]], np.uint8))
    picture = decode_picture(encoded(grey, transparency=200), "here")
    assert picture.has_alpha and picture.rgba[0].tolist() == [[10] * 3 + [255], [200] * 3 + [0]]
    coloured = Image.new("P", (2, 1))
    coloured.putpalette([255, 0, 0, 0, 0, 255])
    coloured.putpixel((1, 0), 1)
    picture = decode_picture(encoded(coloured, transparency=1), "here")
    assert picture.rgba[0].tolist() == [[255, 0, 0, 255], [0, 0, 255, 0]]


def test_masks_are_alpha_or_grey() -> None:
    soft = np.array([[0, 100, 255]], np.uint8)
    assert decode_mask(encoded(Image.fromarray(soft)), "here").tolist() == soft.tolist()
    coloured = Image.fromarray(np.dstack([soft * 0 + 9] * 3 + [soft]))
    assert decode_mask(encoded(coloured), "here").tolist() == soft.tolist()


def test_floats_are_refused() -> None:
    raw = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(InputError, match=r"x\.tif: a picture of floats"):
        decode_picture(raw, "x.tif")


def test_a_broken_exif_block_turns_nothing_and_a_sound_one_is_refused() -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    plain = encoded(image)

    def with_exif(block: bytes) -> bytes:
        kind = b"eXIf" + block
        chunk = len(block).to_bytes(4, "big") + kind + zlib.crc32(kind).to_bytes(4, "big")
        return plain[:33] + chunk + plain[33:]  # after the header

    broken = decode_picture(with_exif(b"\x00\x01garbage"), "here")
    assert np.array_equal(broken.rgba, np.asarray(image))
    turned = Image.Exif()
    turned[0x0112] = 6
    with pytest.raises(InputError, match="stored turned"):
        decode_picture(with_exif(turned.tobytes().removeprefix(b"Exif\x00\x00")), "here")


def test_an_enclosed_spot_stays_and_a_cut_from_the_border_opens() -> None:
    image = np.full((20, 30, 3), 255, np.uint8)
    image[5:15, 8:22] = 100
    image[8:11, 12:15] = 255
    image[5:15, 18:20] = 255
    wanted = np.ones((20, 30), bool)
    wanted[5:15, 8:18] = wanted[5:15, 20:22] = False
    assert np.array_equal(background_of(image, "white", 2), wanted)


def test_a_winding_way_is_followed_to_its_end() -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    for row in range(1, 40, 2):
        image[row, 1:40] = 255
        image[row + 1, 39 if row % 4 == 1 else 1] = 255
    image[0, 1] = 255
    assert np.array_equal(background_of(image, "white", 2), image[..., 0] == 255)

"""8-bit images: one rounding, and files whose bytes stay what they were."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blender_render.imaging.images import encode_png, to_uint8, write_png


def test_rounding_is_half_to_even_and_equals_pytorchs() -> None:
    halves = (np.arange(6, dtype=np.float32) + 0.5) / 255
    assert to_uint8(halves).tolist() == [0, 2, 2, 4, 4, 6]
    values = torch.linspace(-0.2, 1.2, 100_003)
    expected = (values.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    assert torch.equal(torch.from_numpy(to_uint8(values)), expected)
    assert np.array_equal(to_uint8(np.arange(256) / 255), np.arange(256))


def test_png_of_floats_and_of_8_bit(tmp_path: Path) -> None:
    image = np.array([[[0.0, 0.5, 1.0], [-1.0, 2.0, 0.999]]])
    write_png(tmp_path / "a.png", image)
    stored = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(stored, [[[0, 128, 255], [0, 255, 255]]])
    assert Image.open(io.BytesIO(encode_png(np.zeros((2, 3))))).mode == "L"
    assert encode_png(stored) == (tmp_path / "a.png").read_bytes()


def test_compression_changes_the_bytes_only() -> None:
    image = np.random.default_rng(0).integers(0, 8, (40, 30, 4)).astype(np.uint8)
    files = [encode_png(image, compress_level=level) for level in (4, 6)]
    assert files[0] != files[1]
    for data in files:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    assert buffer.getvalue() == files[1], "Pillow's own level, that of rendered datasets"


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        write_png(tmp_path / "a.png", np.full((2, 2, 3), np.nan))
    assert not list(tmp_path.iterdir())

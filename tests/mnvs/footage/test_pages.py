"""Picture files with several pages, of which none may be lost without a word."""

from pathlib import Path

import pytest
import torch
from PIL import Image, TiffImagePlugin

from mnvs.footage.input_reader import read_footage
from mnvs.footage.video_frames import FrameChoice
from training_core.config import InputError

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def pages(*sizes: tuple[int, int]) -> list[Image.Image]:
    return [Image.new("RGB", size, colour) for size, colour in zip(sizes, COLOURS, strict=False)]


def save(path: Path, first: Image.Image, *others: Image.Image) -> Path:
    first.save(path, save_all=True, append_images=list(others))
    return path


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", *pages((4, 4), (4, 4), (4, 4)))
    footage = read_footage(path)
    assert torch.equal(footage.images[:, :3, 0, 0], torch.eye(3)) and footage.fps is None
    chosen = read_footage(path, FrameChoice(1, start=2))
    assert torch.equal(chosen.images[0, :3, 0, 0], torch.eye(3)[2])
    with pytest.raises(InputError, match=r"a\.tif: has 3 frames: too few for 2 from number 2"):
        read_footage(path, FrameChoice(2, start=2))


def test_a_smaller_page_is_no_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.tif", *pages((8, 8), (4, 4)))
    assert read_footage(path).images.shape == (1, 4, 8, 8)
    assert f"{path}: 2 pages that are not alike; the first is read" in caplog.text


def test_a_page_marked_as_a_preview_is_no_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, (first, second) = tmp_path / "a.tif", pages((4, 4), (4, 4))
    with TiffImagePlugin.AppendingTiffWriter(str(path), True) as file:
        first.save(file, "TIFF")
        file.newFrame()
        second.save(file, "TIFF", tiffinfo={254: 1})
    assert torch.equal(read_footage(path).images[:, :3, 0, 0], torch.eye(3)[:1])
    assert "2 pages that are not alike" in caplog.text


@pytest.mark.parametrize("name", ["a.tif", "a.gif"])
def test_of_a_file_in_a_folder_the_first_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    save(tmp_path / name, *pages((4, 4), (4, 4), (4, 4)))
    assert torch.equal(read_footage(tmp_path).images[:, :3, 0, 0], torch.eye(3)[:1])
    assert f"{tmp_path / name}: holds 3 frames; the first is read" in caplog.text


def test_a_page_without_a_size_is_damage(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", *pages((4, 4), (4, 4)))
    width = b"\x00\x01\x04\x00\x01\x00\x00\x00\x04\x00\x00\x00"  # tag 256, a long, one of them: 4
    content = path.read_bytes()
    second = content.rfind(width)
    assert 0 < content.find(width) < second
    path.write_bytes(content[:second] + b"\xff\xff" + content[second + 2 :])
    with pytest.raises(InputError, match=r"a\.tif: damaged image"):
        read_footage(path)


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path, orientation: int) -> None:
    image = Image.new("RGB", (4, 2), COLOURS[0])
    image.putpixel((3, 0), COLOURS[2])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    found = read_footage(tmp_path / "a.png").images
    assert found.shape == (1, 4, 2, 4)
    assert torch.equal(found[0, :3, 0, 3], torch.tensor([0.0, 0.0, 1.0]))

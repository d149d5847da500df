"""Pictures and videos as people have them: each read rightly, or refused by name."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from mnvs.footage import still_images, video_frames
from mnvs.footage.image_transforms import refuse_invisible, square_rgba, to_rgba
from mnvs.footage.input_reader import Footage, image_names, read_footage
from mnvs.footage.video_frames import FrameChoice
from training_core.config import InputError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def grey_ramp() -> np.ndarray:
    """[4, 5] from 0 to 1."""
    return np.linspace(0.0, 1.0, 20, dtype=np.float32).reshape(4, 5)


def only(path: Path) -> torch.Tensor:
    """The one image [4, H, W] of a file."""
    (image,) = read_footage(path).images
    return image


# Each writes the ramp; the difference that its format allows.
GREY: dict[str, tuple[str, Callable[[Path], None], float]] = {
    "16-bit PNG": ("a.png", lambda p: _grey16().save(p), 1e-5),
    "16-bit TIFF": ("a.tif", lambda p: _grey16().save(p), 1e-5),
    "float TIFF": ("a.tiff", lambda p: Image.fromarray(grey_ramp()).save(p), 1e-6),
    "8-bit PNG": ("a.png", lambda p: _grey8().save(p), 1 / 255),
    "grey and alpha": ("a.png", lambda p: _grey8().convert("LA").save(p), 1 / 255),
}


def _grey16() -> Image.Image:
    return Image.fromarray((grey_ramp() * 65535).round().astype(np.uint16))


def _grey8() -> Image.Image:
    return Image.fromarray((grey_ramp() * 255).round().astype(np.uint8))


@pytest.mark.parametrize("kind", GREY)
def test_grey_of_any_depth_keeps_its_levels(tmp_path: Path, kind: str) -> None:
    name, write, tolerance = GREY[kind]
    write(tmp_path / name)
    image = only(tmp_path / name)
    assert torch.equal(image[3], torch.ones(4, 5))
    for channel in image[:3]:
        np.testing.assert_allclose(channel.numpy(), grey_ramp(), atol=tolerance)
    torch.testing.assert_close(to_rgba(Image.open(tmp_path / name))[0], image)


def test_a_transparent_level_of_a_16_bit_png_is_transparent(tmp_path: Path) -> None:
    _grey16().save(tmp_path / "a.png", transparency=65535)
    expected = torch.ones(4, 5)
    expected[3, 4] = 0.0
    assert torch.equal(only(tmp_path / "a.png")[3], expected)


@pytest.mark.parametrize(
    ("values", "words"),
    [((0.0, 255.0), "from 0 to 255; expected are 0 to 1"), ((-1.0, 1.0), "from -1 to 1"),
     ((0.0, float("nan")), "from nan to nan")],
    ids=["0 to 255", "negative", "nan"],
)  # fmt: skip
def test_floats_of_unknown_range_are_refused(
    tmp_path: Path, values: tuple[float, float], words: str
) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a\.tif: pixels {words}"):
        read_footage(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
def test_animated_pictures_give_their_frames(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], duration=200, **options
    )
    footage = read_footage(tmp_path / name)
    assert torch.equal(footage.images[:, :3, 0, 0], torch.eye(3))
    assert footage.fps == pytest.approx(5.0)
    chosen = read_footage(tmp_path / name, FrameChoice(1, start=2))
    assert torch.equal(chosen.images[0, :3, 0, 0], torch.eye(3)[2])
    with pytest.raises(InputError, match="has 3 frames: too few for 2 from number 2"):
        read_footage(tmp_path / name, FrameChoice(2, start=2))


def test_the_still_image_before_an_animation_is_none_of_its_frames(tmp_path: Path) -> None:
    still, *frames = (Image.new("RGB", (4, 4), c) for c in ((9, 9, 9), RED, GREEN))
    still.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True)
    colours = read_footage(tmp_path / "a.png").images[:, :3, 0, 0]
    assert torch.equal(colours, torch.eye(3)[:2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (3, 5, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    np.testing.assert_allclose(
        only(tmp_path / "a.png")[:3].movedim(0, -1).numpy(), upright / 255.0, atol=1e-6
    )


def test_folders_are_read_in_natural_order_without_side_files(tmp_path: Path) -> None:
    for number in (1, 2, 3, 10):
        Image.new("RGB", (3, 3), (number, 0, 0)).save(tmp_path / f"{number}.png")
    for side in ("._1.png", ".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / side).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "11.png").mkdir()
    assert image_names(tmp_path) == ["1.png", "2.png", "3.png", "10.png"]
    levels = read_footage(tmp_path).images[:, 0, 0, 0] * 255
    assert levels.round().tolist() == [1, 2, 3, 10]


def test_only_the_frames_asked_for_are_decoded(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (3, 3), (number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"damaged")
    images = read_footage(tmp_path, FrameChoice(2, start=0, stride=3)).images
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [0, 3]
    with pytest.raises(InputError, match=r"1\.png: damaged image"):
        read_footage(tmp_path)


def test_the_picture_of_another_size_is_named(tmp_path: Path) -> None:
    for name, size in (("a", (4, 3)), ("b", (4, 3)), ("c", (5, 3))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    with pytest.raises(InputError, match=r"c\.png: is 5x3, but a\.png is 4x3"):
        read_footage(tmp_path)


def test_one_is_enough_only_for_a_single_picture(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    choice = FrameChoice(8, stride=2, one_is_enough=True)
    assert len(read_footage(tmp_path / "a.png", choice).images) == 1
    Image.new("RGB", (3, 3)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match="2 frames: too few for 8"):
        read_footage(tmp_path, choice)


def heic(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")


def bomb(path: Path, width: int = 12_000, height: int = 12_000) -> None:
    """A grey PNG of that size in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(1 + width)) for _ in range(height)) + squeeze.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "HEIC named so": ("a.heic", heic, "a HEIC image must be saved as PNG or JPEG"),
    "HEIC named JPG": ("a.jpg", heic, "a HEIC image, which cannot be read; save it as PNG"),
    "144 megapixels": ("a.png", bomb, "12000x12000 is 144 megapixels; images of at most 64"),
    "Git LFS pointer": ("a.png", lambda p: p.write_text(LFS), "a Git LFS pointer instead"),
    "empty file": ("a.png", lambda p: p.write_bytes(b""), "the file is empty"),
    "text": ("a.png", lambda p: p.write_text("hello"), "not one of the known formats"),
    "truncated": ("a.png", lambda p: p.write_bytes(_noise_png()[:-40]), "damaged image"),
}


def _noise_png() -> bytes:
    import io

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    name, write, words = REFUSED[kind]
    write(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_footage(tmp_path / name)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / name)) and words in said and "\n" not in said


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_large_pictures_are_reduced_while_read(tmp_path: Path, format: str) -> None:
    """Left half red, right half blue."""
    pixels = np.zeros((3000, 5000, 3), np.uint8)
    pixels[:, :2500, 0], pixels[:, 2500:, 2] = 255, 255
    Image.fromarray(pixels).save(tmp_path / f"a.{format}")
    image = only(tmp_path / f"a.{format}")
    assert max(image.shape[1:]) <= still_images.LARGEST_SIDE
    assert image.shape[2] / image.shape[1] == pytest.approx(5 / 3, rel=1e-2)
    quarter = image.shape[2] // 4
    torch.testing.assert_close(
        image[:3, 100, [quarter, 3 * quarter]].T, torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]),
        atol=0.02, rtol=0.0,
    )  # fmt: skip


def test_colour_behind_transparency_does_not_bleed_when_reduced(tmp_path: Path) -> None:
    pixels = np.zeros((4096, 4096, 4), np.uint8)
    pixels[..., 1] = 255  # green where nothing is to be seen
    pixels[::2, :, :] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    image = only(tmp_path / "a.png")
    assert image.shape == (4, 2048, 2048)
    half_red = torch.tensor([1.0, 0.0, 0.0, 0.5])
    torch.testing.assert_close(image[:, 1000, 1000], half_red, atol=0.01, rtol=0.0)


def test_a_long_strip_keeps_its_shape_and_is_not_blown_up(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 20), RED).save(tmp_path / "a.png")
    image = only(tmp_path / "a.png")
    assert image.shape == (4, 8, 2048)
    square = square_rgba(image[None])
    assert square.shape == (1, 4, 1024, 1024)
    with pytest.raises(InputError, match=r"nothing of the object is left .* 32 pixels; crop it"):
        refuse_invisible(square, 32)
    with pytest.raises(InputError, match="crop it"):
        refuse_invisible(image[None].mT, 32)  # as long, but upright
    refuse_invisible(image[None], 1024)


def test_what_is_reduced_far_is_seen_in_any_of_the_frames() -> None:
    images = torch.zeros(2, 4, 48, 96)
    images[1, 3, 20:30, 60:70] = 1.0
    with pytest.raises(InputError, match="left"):
        refuse_invisible(images, 2)  # a pixel of 48 x 48, of which 100 are covered
    refuse_invisible(images, 8)
    refuse_invisible(images, 2, recentre=0.9)


def test_a_transparent_picture_is_refused() -> None:
    with pytest.raises(InputError, match="transparent everywhere"):
        refuse_invisible(torch.zeros(2, 4, 16, 16), 8)
    seen = torch.zeros(1, 4, 64, 64)
    seen[:, :, 28:36, 28:36] = 1.0
    refuse_invisible(seen, 16)


def test_a_picture_without_alpha_is_told_from_one_with() -> None:
    image = torch.ones(1, 4, 4, 4)
    assert Footage(image, None).opaque
    image[0, 3, 0, 0] = 0.5
    assert not Footage(image, None).opaque


def test_a_long_animation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(video_frames, "LARGEST_FOOTAGE", 2 * 64)
    with pytest.raises(InputError, match=r"a\.gif: 3 frames of 8x8 are more than"):
        read_footage(tmp_path / "a.gif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
def test_every_kind_of_picture_is_turned_upright_once(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    mark = Image.Exif()
    mark[0x0112] = orientation
    corner = Image.new("RGB", (48, 32), "white")
    corner.paste(RED, (0, 0, 24, 16))
    corner.save(tmp_path / "plain.png", exif=mark)
    more = {"tiffinfo": {0x0112: orientation}} if ending == ".tif" else {"exif": mark}
    corner.save(tmp_path / f"a{ending}", **more)
    with Image.open(tmp_path / "plain.png") as plain:
        wanted = np.asarray(ImageOps.exif_transpose(plain)) / 255.0
    found = only(tmp_path / f"a{ending}")[:3].movedim(0, -1).numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 0.01, "JPEG blurs a little"

"""Reading what is to be animated."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from blender_render.dataset.readers import read_sixview
from blender_render.imaging.video import write_video
from mnvs.encoders.vae_scaling import on_grey
from mnvs.footage import input_reader, video_frames
from mnvs.footage.input_reader import read_footage
from mnvs.footage.video_frames import FrameChoice
from training_core.config import InputError


def test_every_kind_of_input(dots: Path, tmp_path: Path) -> None:
    clip = read_sixview(dots)
    frames = clip.input.movedim(-1, 1).float() / 255
    dataset = read_footage(dots)
    assert torch.equal(dataset.images, frames) and dataset.fps == 12.0
    folder = read_footage(dots / "input")
    assert torch.equal(folder.images, frames) and folder.fps is None
    one = read_footage(dots / "input" / "002.png")
    assert torch.equal(one.images, frames[2:3])
    solid = on_grey(frames.movedim(1, -1))
    write_video(tmp_path / "clip.mp4", solid.movedim(1, -1), 12.0)
    video = read_footage(tmp_path / "clip.mp4")
    assert video.images.shape == (6, 4, 32, 32) and video.fps == pytest.approx(12.0)
    assert (video.images[:, :3] - solid).abs().mean() < 0.02
    stills = [Image.fromarray((p.movedim(0, -1) * 255).byte().numpy()) for p in solid]
    stills[0].save(tmp_path / "clip.gif", save_all=True, append_images=stills[1:], duration=100)
    gif = read_footage(tmp_path / "clip.gif")
    assert len(gif.images) == 6 and gif.fps == pytest.approx(10.0)
    taken = read_footage(dots, FrameChoice(2, start=1, stride=3))
    assert torch.equal(taken.images, frames[[1, 4]]) and taken.fps == 4.0
    with pytest.raises(InputError, match="6 frames: too few for 3"):
        read_footage(dots, FrameChoice(3, start=1, stride=3))


BAD_INPUT = {
    "missing": (lambda f: f / "nothing.png", "does not exist"),
    "text": (lambda f: _write(f / "a.txt", b"x"), "not one of .png"),
    "damaged image": (lambda f: _write(f / "a.png", b"x"), "a.png: damaged image"),
    "damaged video": (lambda f: _write(f / "a.mp4", b"x" * 100), "a.mp4: unreadable video"),
    "empty folder": (lambda f: f, "neither a six-view dataset nor a folder of images"),
}


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("make, message", BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_footage(make(tmp_path))
    assert "\n" not in str(error.value)


def test_a_folder_of_too_much_is_refused_after_its_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"damaged, which nobody comes to know")
    monkeypatch.setattr(video_frames, "LARGEST_FOOTAGE", 4 * 64)
    with pytest.raises(InputError, match=rf"{tmp_path.name}: 5 frames of 8x8 are more than"):
        read_footage(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "dataset"])
def test_pictures_are_in_memory_one_after_the_other(
    dots: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Beside the tensor that they are copied into: the last one or two of them."""
    pictures: list[weakref.ref] = []
    alive = []
    name = "read_image" if kind == "folder" else "decode_rgba"
    decode = getattr(input_reader, name)

    def watched(*arguments: Any) -> Any:
        alive.append(sum(picture() is not None for picture in pictures))
        picture = decode(*arguments)
        pictures.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(input_reader, name, watched)
    assert len(read_footage(dots / "input" if kind == "folder" else dots).images) == 6
    assert len(alive) == 6 and max(alive) <= 2

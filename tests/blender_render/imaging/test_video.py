"""Videos keep every frame and pixel where it was, and no half-written file is ever left."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from blender_render.imaging import video


def moving_square(count: int, height: int, width: int) -> np.ndarray:
    """Float [count, height, width, 3]: a red square that walks over blue, one position a frame."""
    frames = np.zeros((count, height, width, 3), np.float32)
    frames[..., 2] = 0.8
    for k in range(count):
        frames[k, 4:12, 2 * k : 2 * k + 8] = (0.9, 0.2, 0.1)
    return frames


def read_video(path: Path) -> tuple[dict, np.ndarray]:
    """Metadata and uint8 pictures [T, H, W, 3] as a player would show them."""
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    pictures = [np.frombuffer(p, np.uint8).reshape(height, width, 3) for p in reader]
    return meta, np.stack(pictures)


@pytest.mark.parametrize(("count", "fps"), [(1, 24), (2, 8), (7, 7.5), (13, 30000 / 1001)])
def test_mp4_holds_exactly_the_frames(tmp_path: Path, count: int, fps: float) -> None:
    frames = moving_square(count, 32, 48)
    video.write_video(tmp_path / "a.mp4", frames, fps)
    meta, pictures = read_video(tmp_path / "a.mp4")
    assert pictures.shape == frames.shape
    assert meta["codec"] == "h264"
    assert "yuv420p" in meta["pix_fmt"]
    assert meta["fps"] == pytest.approx(fps, abs=0.01)
    # Chroma is stored at half size, so an edge between red and blue is soft; the rest must agree.
    difference = np.abs(pictures / 255.0 - frames)
    assert difference.mean() < 0.02
    assert np.median(difference) < 0.01


def test_odd_sizes_are_padded_not_resized(tmp_path: Path) -> None:
    frames = moving_square(4, 33, 47)
    video.write_video(tmp_path / "odd.mp4", frames, 10, background=(0.0, 1.0, 0.0))
    _, pictures = read_video(tmp_path / "odd.mp4")
    assert pictures.shape == (4, 34, 48, 3)
    assert np.abs(pictures[:, :32, :46] / 255.0 - frames[:, :32, :46]).mean() < 0.02
    assert pictures[:, -1, :, 1].mean() > 150  # the added row is the green background
    video.write_video(tmp_path / "copied.mp4", frames, 10)
    _, pictures = read_video(tmp_path / "copied.mp4")
    # The last row is all blue, and so is its copy.
    assert np.abs(pictures[:, -1] / 255.0 - (0.0, 0.0, 0.8)).mean() < 0.03


def test_webp_keeps_odd_sizes_colours_and_time(tmp_path: Path) -> None:
    frames = moving_square(5, 31, 47)
    video.write_webp(tmp_path / "a.webp", frames, fps=8)
    with Image.open(tmp_path / "a.webp") as webp:
        assert (webp.n_frames, webp.size, webp.info["loop"]) == (5, (47, 31), 0)
        for index in range(5):
            webp.seek(index)
            found = np.asarray(webp.convert("RGB"), float) / 255
            assert webp.info["duration"] == 125
            assert np.abs(found - frames[index]).mean() < 0.02


def test_gif_holds_frames_and_time(tmp_path: Path) -> None:
    video.write_gif(tmp_path / "a.gif", moving_square(5, 32, 48), fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"]) == (5, (48, 32), 100)
        assert gif.info["loop"] == 0


@pytest.mark.parametrize("shape", [(4, 8, 8), (0, 8, 8, 3), (2, 8, 8, 4)])
def test_wrong_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[T, H, W, 3\]"):
        video.write_video(tmp_path / "a.mp4", np.zeros(shape), 10)
    assert not list(tmp_path.iterdir())


def test_a_failing_encoder_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    encoder = tmp_path / "ffmpeg"
    script = ["#!/bin/bash", "cat > /dev/null", 'echo half > "${@: -1}"']
    encoder.write_text("\n".join([*script, "echo 'No space left on device' >&2", "exit 1", ""]))
    encoder.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(OSError, match="No space left"):
        video.write_video(tmp_path / "a.mp4", moving_square(2, 8, 16), 10)
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "ffmpeg"]

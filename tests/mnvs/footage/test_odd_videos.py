"""Videos as people have them: the frames asked for are read, at little cost."""

import math
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from mnvs.footage import video_frames
from mnvs.footage.input_reader import Footage, read_footage
from mnvs.footage.video_frames import FrameChoice
from training_core.config import InputError


def write_clip(path: Path, frames: int, width: int, height: int, fps: int = 30) -> Path:
    """Frame i has the grey level i, all over."""
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=fps, macro_block_size=1,
        output_params=["-crf", "10", "-preset", "ultrafast", "-g", "12"],
    )  # fmt: skip
    writer.send(None)
    for number in range(frames):
        writer.send(np.full((height, width, 3), number % 256, np.uint8).tobytes())
    writer.close()
    return path


def levels(footage: Footage) -> list[int]:
    return [round(float(image[0].mean()) * 255) for image in footage.images]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (FrameChoice(), list(range(30))),
        (FrameChoice(2), [0, 1]),
        (FrameChoice(3, start=5, stride=7), [5, 12, 19]),
        (FrameChoice(0, start=25, stride=2), [25, 27, 29]),
    ],
    ids=["all", "first", "every seventh", "the rest"],
)
def test_chosen_frames_of_a_video(tmp_path: Path, choice: FrameChoice, wanted: list[int]) -> None:
    path = write_clip(tmp_path / "a.mp4", 30, 32, 16)
    found = read_footage(path, choice)
    assert [abs(a - b) <= 2 for a, b in zip(levels(found), wanted, strict=True)] == [True] * len(
        wanted
    )
    assert found.fps == pytest.approx(30 / choice.stride)


# When each of 40 frames is shown, in seconds.
UNEVEN = {
    "a phone's": [n / 30 + 0.008 * math.sin(1.7 * n) for n in range(40)],
    "a pause": [0.0, *(1.0 + n / 30 for n in range(39))],
    "slower and slower": [n / 30 + (n / 90) ** 2 for n in range(40)],
    "a screen's, with pauses": [n / 60 + 0.7 * (n // 10) for n in range(40)],
}


@pytest.mark.parametrize("times", UNEVEN)
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_that_are_not_evenly_spaced_are_read_as_they_are(
    tmp_path: Path, times: str, suffix: str
) -> None:
    even = write_clip(tmp_path / "even.mkv", 40, 32, 16)
    shown = "+".join(f"eq(N,{n})*{round(t * 90_000)}" for n, t in enumerate(UNEVEN[times]))
    uneven = tmp_path / f"uneven.{suffix}"
    encoded = [
        *("-vf", f"settb=1/90000,setpts='{shown}'", "-fps_mode", "passthrough"),
        *("-crf", "10", "-preset", "ultrafast", str(uneven)),
    ]
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, "-v", "error", "-i", str(even), *encoded], check=True)
    assert np.abs(np.subtract(levels(read_footage(uneven)), range(40))).max() <= 2
    chosen = levels(read_footage(uneven, FrameChoice(6, start=2, stride=4)))
    assert np.abs(np.subtract(chosen, range(2, 26, 4))).max() <= 2


def test_too_few_frames_of_a_video_are_counted(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 10, 32, 16)
    with pytest.raises(InputError, match="has 10 frames: too few for 4 from number 8"):
        read_footage(path, FrameChoice(4, start=8))
    one = write_clip(tmp_path / "one.mp4", 1, 32, 16)
    assert len(read_footage(one, FrameChoice(8, stride=3, one_is_enough=True)).images) == 1


def test_large_frames_are_reduced_and_long_videos_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "a.mp4", 3, 64, 32)
    monkeypatch.setattr(video_frames, "LARGEST_SIDE", 16)
    assert read_footage(path).images.shape == (3, 4, 8, 16)
    monkeypatch.setattr(video_frames, "LARGEST_FOOTAGE", 2 * 16 * 8)
    with pytest.raises(InputError, match=r"a\.mp4: 3 frames of 16x8 are more than .* take fewer"):
        read_footage(path)
    assert len(read_footage(path, FrameChoice(2)).images) == 2


WITH_ALPHA = {
    "VP9 in WebM": ("a.webm", "-c:v libvpx-vp9 -pix_fmt yuva420p -auto-alt-ref 0 -crf 5 -b:v 0"),
    "VP8 in WebM": ("a.webm", "-c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -b:v 1M"),
    "Animation in MOV": ("a.mov", "-c:v qtrle"),
    "ProRes 4444 in MOV": ("a.mov", "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le"),
}


def write_square(path: Path, options: str, alpha: int = 255) -> None:
    """Four frames of 48x32: a red square of 16 that moves by 4, and nothing around it."""
    frames = np.zeros((4, 32, 48, 4), np.uint8)
    for time, frame in enumerate(frames):
        frame[8:24, 8 + 4 * time : 24 + 4 * time] = (220, 30, 30, alpha)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgba", "-s", "48x32", "-r", "10", "-i", "-", *options.split()]
    subprocess.run([*command, str(path)], input=frames.tobytes(), check=True)


@pytest.mark.parametrize("name, options", WITH_ALPHA.values(), ids=WITH_ALPHA)
def test_alpha_of_a_video_is_read(tmp_path: Path, name: str, options: str) -> None:
    write_square(tmp_path / name, options)
    footage = read_footage(tmp_path / name, FrameChoice(2, start=1, stride=2))
    assert footage.images.shape == (2, 4, 32, 48) and footage.fps == pytest.approx(5.0)
    for time, image in zip((1, 3), footage.images, strict=True):
        truth = np.zeros((32, 48))
        truth[8:24, 8 + 4 * time : 24 + 4 * time] = 1.0
        assert np.abs(image[3].numpy() - truth).mean() < 0.01
        inside = image[:3, 10:22, 12 + 4 * time : 20 + 4 * time].mean((1, 2)) * 255
        assert np.abs(inside.numpy() - (220, 30, 30)).max() < 12


def test_large_frames_are_reduced_with_colours_weighted_by_alpha(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A red figure whose border cuts through pixels, on transparent green."""
    frame = np.zeros((64, 64, 4), np.uint8)
    frame[:] = (0, 255, 0, 0)
    frame[13:50, 13:50] = (220, 30, 30, 255)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgba", "-s", "64x64", "-r", "10", "-i", "-", "-c:v", "qtrle"]
    path = tmp_path / "a.mov"
    subprocess.run([*command, str(path)], input=np.stack([frame] * 2).tobytes(), check=True)
    monkeypatch.setattr(video_frames, "LARGEST_SIDE", 16)
    image = read_footage(path).images[0]
    assert image.shape == (4, 16, 16)
    seen = image[:, image[3] > 0.02]
    partly = (seen[3] > 0.1) & (seen[3] < 0.9)
    assert partly.sum() > 20
    assert (seen[:3] - torch.tensor([220, 30, 30])[:, None] / 255).abs().max() < 0.05


def test_a_video_without_alpha_stays_opaque(tmp_path: Path) -> None:
    for name, codec in (("a.webm", "libvpx-vp9"), ("a.mp4", "libx264")):
        write_square(tmp_path / name, f"-c:v {codec} -pix_fmt yuv420p")
        assert read_footage(tmp_path / name).opaque


def test_alpha_that_nobody_filled_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_square(tmp_path / "a.mov", "-c:v qtrle", alpha=0)
    footage = read_footage(tmp_path / "a.mov")
    assert footage.opaque and footage.images[0, 0, 16, 16] == pytest.approx(220 / 255)
    assert "a.mov: alpha is 0 everywhere" in caplog.text


MEASURED = """
import resource, sys, time
from mnvs.footage.input_reader import read_footage
from mnvs.footage.image_transforms import square_rgba
from mnvs.footage.video_frames import FrameChoice
begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
square = square_rgba(read_footage(sys.argv[1], FrameChoice(2)).images)
assert square.shape == (2, 4, 1024, 1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time() - begin)
"""


@pytest.mark.slow
def test_two_frames_of_eight_seconds_of_720p_take_little(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 240, 1280, 720)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    kilobytes, seconds = done.stdout.split()
    assert float(kilobytes) < 1.5e6 and float(seconds) < 10.0

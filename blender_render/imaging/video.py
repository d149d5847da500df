"""Videos on disk: MP4, GIF and WebP, each complete or absent.

Input is float RGB in [0, 1], channel-last, row 0 at the top, already composited; values outside the
range are clipped. A file gets its name only once it is whole.
"""

import errno
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from blender_render.imaging.images import to_uint8
from training_core.files.atomic import replacing


def write_video(
    path: Path,
    frames: ArrayLike,
    fps: float,
    *,
    background: Sequence[float] | None = None,
    quality: int = 16,
) -> None:
    """Writes frames [T, H, W, 3], floats in [0, 1], as H.264 (yuv420p, BT.709), exactly T images.

    An odd width or height is padded by one pixel at the right or the bottom, of `background` or a
    copy of the last one: the codec needs even sizes, and resizing would move every pixel.
    `quality` is x264's constant rate factor: 0 = lossless, 16 = no visible loss, 51 = worst.
    Raises ValueError on a wrong shape, OSError where the encoder fails.
    """
    images = _checked(frames)
    height, width = images.shape[1:3]
    images = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    if background is not None:
        images[:, height:] = to_uint8(background)
        images[:, :, width:] = to_uint8(background)
    # The matrix is named twice: the filter converts, the tags tell players how to undo it.
    # "faststart" lets a browser play before it has everything.
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{images.shape[2]}x{images.shape[1]}"),
        *("-r", str(Fraction(fps).limit_denominator(1001)), "-i", "-"),
        *("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(quality)),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-movflags", "+faststart", "-f", "mp4"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        done = subprocess.run([*command, str(part)], input=images.tobytes(), capture_output=True)
        if done.returncode != 0:
            fault = done.stderr.decode(errors="replace").strip().replace("\n", "; ")
            code = errno.ENOSPC if "No space left" in fault else errno.EIO
            raise OSError(code, f"ffmpeg failed: {fault or done.returncode}", str(path))


def write_gif(path: Path, frames: ArrayLike, fps: float) -> None:
    """Writes frames [T, H, W, 3] as an endless GIF (256 colours; times in steps of 10 ms)."""
    images = [Image.fromarray(image) for image in _checked(frames)]
    milliseconds = max(20, round(100 / fps) * 10)  # browsers slow anything shorter down to 100 ms
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        images[0].save(
            part, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
        )


def write_webp(path: Path, frames: ArrayLike, fps: float, *, quality: int = 90) -> None:
    """Writes frames [T, H, W, 3] as an endless WebP of exactly that size; quality is 0 to 100."""
    images = [Image.fromarray(image) for image in _checked(frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        images[0].save(
            part,
            "WEBP",
            save_all=True,
            append_images=images[1:],
            duration=max(1, round(1000 / fps)),
            loop=0,
            quality=quality,
        )


def _checked(frames: ArrayLike) -> np.ndarray:
    images = to_uint8(frames)
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise ValueError(f"expected pictures [T, H, W, 3], got {list(images.shape)}")
    return images

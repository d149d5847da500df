"""Generated clips as MP4."""

import os
import uuid
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import torch
import torch.nn.functional as F
from torch import Tensor

_QUALITY = "16"  # x264's constant rate factor: no visible loss


def write_mp4(path: Path, frames: Tensor, fps: float) -> None:
    """Frames [T, 3, H, W] in [0, 1] as H.264, exactly T pictures; the file appears whole.

    An odd side is padded by repeating its last row or column: the codec needs even sizes, and
    imageio would resize the whole picture.

    Raises:
        ValueError: another shape. OSError: the encoder or the disk fails.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"expected frames [T, 3, H, W], got {list(frames.shape)}")
    height, width = frames.shape[-2:]
    even = F.pad(frames.float(), (0, width % 2, 0, height % 2), mode="replicate")
    pixels = (even.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.mp4")
    try:
        writer: Any = imageio.get_writer(
            part,
            format="FFMPEG",
            fps=fps,
            codec="libx264",
            pixelformat="yuv420p",
            macro_block_size=1,
            output_params=["-crf", _QUALITY, "-movflags", "+faststart"],
        )
        with writer:
            for picture in pixels:
                writer.append_data(picture)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

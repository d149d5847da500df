"""Frames of video files: only those asked for leave the decoder, reduced already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from mnvs.footage.still_images import LARGEST_PIXELS, LARGEST_SIDE
from training_core.config import InputError

# Of all frames of one input together; in memory sixteen bytes each.
LARGEST_FOOTAGE = 200_000_000


@dataclass(frozen=True)
class FrameChoice:
    """Every ``stride``-th frame from ``start`` on, ``count`` of them; 0 = all.

    Attributes:
        one_is_enough: an input of one frame gives that one, however many are asked for.
    """

    count: int = 0
    start: int = 0
    stride: int = 1
    one_is_enough: bool = False

    def numbers(self, total: int, where: Path) -> list[int]:
        """Numbers of the chosen frames among the ``total`` of an input.

        Raises:
            InputError: there are too few.
        """
        one = self.one_is_enough and total == 1
        wanted = 1 if one else self.count
        frames = list(range(self.start, total, 1 if one else self.stride))[: wanted or None]
        if not frames or len(frames) < wanted:
            raise InputError(
                f"{where}: has {total} frames: too few for {wanted or 1} "
                f"from number {self.start} in steps of {self.stride}"
            )
        return frames


def refuse_too_much(frames: int, width: int, height: int, where: Path) -> None:
    """Raise InputError where the frames together would not fit into memory."""
    if frames * width * height > LARGEST_FOOTAGE:
        raise InputError(
            f"{where}: {frames} frames of {width}x{height} are more than "
            f"{LARGEST_FOOTAGE / 1e6:.0f} megapixels together; take fewer, or reduce them first"
        )


def read_video(path: Path, choice: FrameChoice) -> tuple[Tensor, float | None]:
    """RGB [T, 3, H, W] in [0, 1] of the chosen frames, and the file's frames per second.

    Raises:
        InputError: the file is damaged, has too few frames, or frames that are too large.
    """
    frames: list[Tensor] = []
    try:
        stream = imageio_ffmpeg.read_frames(path, output_params=_filters(choice))
        facts = next(stream)
        (width, height), (wide, high) = facts["size"], facts["source_size"]
        if wide * high > LARGEST_PIXELS:
            raise InputError(f"{path}: frames of {wide}x{high} are larger than {LARGEST_PIXELS:,}")
        for data in stream:
            refuse_too_much(len(frames) + 1, width, height, path)
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            frames.append(torch.from_numpy(pixels.copy()))
    except InputError:
        raise
    except Exception as error:  # the decoder raises anything on a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: unreadable video ({reason})") from error
    if len(frames) < max(choice.count, 1):
        total = int(imageio_ffmpeg.count_frames_and_secs(str(path))[0])
        wanted = len(choice.numbers(total, path))  # raises where they are too few
        if len(frames) < wanted:
            raise InputError(f"{path}: unreadable video (only {len(frames)} of {wanted} frames)")
    fps = float(facts.get("fps") or 0.0)
    return torch.stack(frames).movedim(-1, 1).float() / 255.0, fps if fps > 0 else None


def _filters(choice: FrameChoice) -> list[str]:
    """What ffmpeg is told, so that other frames and larger ones never reach this process."""
    chosen = f"select='gte(n,{choice.start})*not(mod(n-{choice.start},{choice.stride}))'"
    # New time stamps, or a constant rate would fill the gaps with copies.
    steps = [chosen, "setpts=N/FRAME_RATE/TB"]
    most = LARGEST_SIDE
    steps.append(
        f"scale='if(gt(iw,ih),min(iw,{most}),-1)':'if(gt(iw,ih),-1,min(ih,{most}))':flags=area"
    )
    limit = ["-frames:v", str(choice.count)] if choice.count else []
    return ["-vf", ",".join(steps), *limit]

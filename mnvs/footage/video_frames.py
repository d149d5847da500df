"""Frames of video files: only those asked for leave the decoder, reduced already."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imageio_ffmpeg
import numpy as np
import torch
from torch import Tensor

from mnvs.footage.still_images import LARGEST_PIXELS, LARGEST_SIDE
from training_core.config import InputError

logger = logging.getLogger(__name__)

# Of all frames of one input together; in memory sixteen bytes each.
LARGEST_FOOTAGE = 200_000_000
# ffmpeg's own decoders of these drop alpha, which the files keep as a second stream inside.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Forms of pixels with alpha, by ffmpeg's names.
_ALPHA = re.compile(r"yuva|rgba|bgra|argb|abgr|gbrap|ya8|ya16")


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
    """The chosen frames [T, 3, H, W] in [0, 1], RGB, and the file's frames per second; RGBA
    [T, 4, H, W] of a file with alpha.

    Raises:
        InputError: the file is damaged, has too few frames, or frames that are too large.
    """
    frames: list[Tensor] = []
    try:
        stream, facts, channels = _opened(path, choice)
        (width, height), (wide, high) = facts["size"], facts["source_size"]
        if wide * high > LARGEST_PIXELS:
            raise InputError(f"{path}: frames of {wide}x{high} are larger than {LARGEST_PIXELS:,}")
        for data in stream:
            refuse_too_much(len(frames) + 1, width, height, path)
            pixels = np.frombuffer(data, np.uint8).reshape(height, width, channels)
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
    images = torch.stack(frames).movedim(-1, 1)
    if channels == 4 and not images[:, 3].any():
        logger.warning("%s: alpha is 0 everywhere and taken for unused", path)
        images = images[:, :3]
    return images.float() / 255.0, fps if fps > 0 else None


def _opened(path: Path, choice: FrameChoice) -> tuple[Iterator[Any], dict[str, Any], Literal[3, 4]]:
    """A stream of chosen frames as bytes, what the decoder says of the file, and the channels."""
    filters = _filters(choice)
    stream = imageio_ffmpeg.read_frames(path, output_params=filters)
    facts = next(stream)
    decoder = ALPHA_DECODERS.get(str(facts.get("codec")).strip(","))
    ask = ["-c:v", decoder] if decoder else []
    if not _ALPHA.match(str(_facts(path, ask).get("pix_fmt") if ask else facts.get("pix_fmt"))):
        return stream, facts, 3
    stream.close()
    if max(facts["source_size"]) > LARGEST_SIDE:
        filters = _filters(choice, by_alpha=True)
    stream = imageio_ffmpeg.read_frames(
        path, "rgba", bits_per_pixel=32, input_params=ask, output_params=filters
    )
    return stream, next(stream), 4


def _facts(path: Path, ask: list[str]) -> dict[str, Any]:
    """What another decoder than ffmpeg's choice says of a file; empty where it is not there."""
    stream = imageio_ffmpeg.read_frames(path, input_params=ask)
    try:
        return dict(next(stream))
    except OSError:
        logger.warning("%s: alpha, if it has any, is not read: ffmpeg has no %s", path, ask[-1])
        return {}
    finally:
        stream.close()


def _filters(choice: FrameChoice, *, by_alpha: bool = False) -> list[str]:
    """What ffmpeg is told, so that other frames and larger ones never reach this process.

    Args:
        by_alpha: frames are made smaller with their colours weighted by alpha, so that none comes
            in from behind the object.
    """
    chosen = f"select='gte(n,{choice.start})*not(mod(n-{choice.start},{choice.stride}))'"
    steps = [chosen, "setpts=N/FRAME_RATE/TB"]
    most = LARGEST_SIDE
    scale = f"scale='if(gt(iw,ih),min(iw,{most}),-1)':'if(gt(iw,ih),-1,min(ih,{most}))':flags=area"
    if by_alpha:
        before, after = "format=gbrap,premultiply=inplace=1", "unpremultiply=inplace=1"
        scale = f"{before},{scale},{after}"
    steps.append(scale)
    limit = ["-frames:v", str(choice.count)] if choice.count else []
    # As many frames as there are: at a constant rate gaps would be filled with copies, and of those
    # that come too soon some be left out, as in what phones and screen recorders write.
    return ["-vf", ",".join(steps), "-fps_mode", "passthrough", *limit]

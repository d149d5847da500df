"""The first stage of the pipeline: a picture or video, cut out, centred, padded to squares."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.imaging.images import encode_png
from mnvs.encoders.vae_scaling import on_grey
from mnvs.footage.background import cut_out, doubts_of_mask
from mnvs.footage.image_transforms import resize, square_rgba
from mnvs.footage.input_reader import Footage
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import InputError, option
from training_core.files.atomic import publish_directory, write_bytes, write_text

logger = logging.getLogger(__name__)

PICTURES, RECORD, MASK = "pictures", "prepare.json", "mask.png"
_SHOWN = 4  # frames in the picture of the mask
_OPAQUE = 0.95  # pictures whose least opacity is above this have no alpha worth using


@dataclass
class CutOutConfig:
    """How a character is cut out and placed."""

    background: str = option(
        "auto",
        "auto = the picture's alpha if it has any, else border; alpha = insist on it; border = "
        "remove a plain background that is like the picture's border",
        choices=("auto", "alpha", "border"),
    )
    fill: float = option(
        0.95, "share of the square that the longer side of the object's box over all frames takes"
    )
    max_side: int = option(512, "larger squares are reduced to this, pixels")

    def validate(self) -> None:
        """Raises ValueError on squares that hold nothing."""
        positive(fill=self.fill)
        in_unit_interval(fill=self.fill)
        at_least(16, max_side=self.max_side)


def prepare_footage(footage: Footage, folder: Path, config: CutOutConfig) -> None:
    """Write ``pictures/000.png`` …, ``mask.png`` to look at, and ``prepare.json`` into a folder.

    Raises:
        InputError: no alpha where it is asked for, or nothing to be cut out.
    """
    rgba, method, doubts = matte(footage, config.background)
    squares = square_rgba(rgba, recentre=config.fill, max_side=config.max_side)
    write_bytes(folder / MASK, encode_png(_picture_of_mask(footage.images, rgba)))
    logger.info("background: %s, %d picture(s)", method, len(rgba))
    for doubt in doubts:
        logger.warning("the mask is doubtful: %s; look at %s", doubt, folder / MASK)
    record = {"background": method, "doubts": doubts, "fps": footage.fps, "frames": len(rgba)}
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    work = folder / f".{PICTURES}.partial"
    for leftover in (work, folder / PICTURES):
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir()
    for time, pixels in enumerate(_bytes(squares)):
        (work / f"{fmt.image_name(time)}.png").write_bytes(encode_png(pixels))
    publish_directory(work, folder / PICTURES)


def matte(footage: Footage, background: str) -> tuple[Tensor, str, list[str]]:
    """The pictures as RGBA [T, 4, H, W] with the character cut out, how that was done, and doubts.

    Raises:
        InputError: ``background`` is alpha and there is none, or nothing is found.
    """
    pictures = footage.images
    has_alpha = float(pictures[:, 3].amin()) < _OPAQUE
    if background == "alpha" and not has_alpha:
        raise InputError(f"prepare.background=alpha, but {footage.name} is opaque everywhere")
    doubts: dict[str, int] = {}
    if has_alpha and background != "border":
        masks = (pictures[:, 3] >= 0.5).numpy()
        for mask in masks:
            for doubt in doubts_of_mask(mask):
                doubts.setdefault(doubt, len(doubts))
        return pictures, "the input's own alpha", list(doubts)
    over_white = on_grey(pictures.movedim(1, -1), 1.0)
    try:
        cuts = [cut_out(picture) for picture in over_white]
    except InputError as error:
        raise InputError(f"{footage.name}: {error}") from None
    for time, cut in enumerate(cuts):
        for doubt in cut.doubts:
            doubts.setdefault(f"frame {time}: {doubt}" if len(cuts) > 1 else doubt, time)
    return torch.stack([cut.rgba for cut in cuts]), "removed, plain border method", list(doubts)


def _picture_of_mask(before: Tensor, after: Tensor) -> np.ndarray:
    """Frames side by side [H, W, 4]: above as given, below cut out, over magenta."""
    some = torch.linspace(0, len(before) - 1, min(_SHOWN, len(before))).round().long()
    side = min(256, max(before.shape[-2:]))
    shown = [resize(square_rgba(video[some]), side) for video in (before, after)]
    magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    over = torch.lerp(magenta, shown[1][:, :3], shown[1][:, 3:])
    below = torch.cat([over, torch.ones_like(over[:, :1])], 1)
    rows = [torch.cat(list(video), -1) for video in (shown[0], below)]
    return _bytes(torch.cat(rows, -2)[None])[0]


def _bytes(pictures: Tensor) -> np.ndarray:
    """[T, 4, H, W] in [0, 1] → [T, H, W, 4] uint8."""
    pixels = (pictures.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return pixels.movedim(1, -1).contiguous().numpy()

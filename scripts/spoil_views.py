"""Spoil a six-view dataset on purpose, to measure what corrections of its pictures are worth.

    python scripts/spoil_views.py input=data/few_views/six/animals_wolf output=data/moved kind=moved

    moved      every picture by 2 to 5 pixels in a direction of its own, less what all have in
               common; what leaves a picture comes in again on its other side
    neighbour  one picture is the next view's
    mirrored   one picture is left for right
    colours    every picture's red, green and blue times 0.8 to 1.2, plus up to 0.06 either way

Every frame is spoiled alike. Depth stays as it is, and no longer belongs to what was moved.
docs/few_views.md has the figures.
"""

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import SixViewClip, read_sixview
from blender_render.imaging.images import write_png
from sjc_papr.data.outline_gaps import OutlineGaps
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, option

logger = logging.getLogger(__name__)

KINDS = ("moved", "neighbour", "mirrored", "colours")


@dataclass
class SpoilConfig:
    input: str = option("", "folder of a six-view dataset")
    output: str = option("", "folder of the spoiled one; must not be there")
    kind: str = option("moved", "what is wrong with it", choices=KINDS)
    view: int = option(2, "neighbour, mirrored: number of the picture")
    seed: int = option(0, "moved, colours: draws them")
    common: bool = option(
        False,
        "moved: keep what all moves have in common, which no picture tells from a moved object",
    )

    def validate(self) -> None:
        """Raises ValueError on a view that is not there."""
        at_least(0, view=self.view)
        if self.view > 5:
            raise ValueError(f"view must be 0 to 5, is {self.view}")


def moves(clip: SixViewClip, seed: int, common: bool) -> list[tuple[int, int]]:
    """Whole pixels to the right and down, of each view."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2.0 * math.pi * torch.rand(6, generator=generator)
    length = 2.0 + 3.0 * torch.rand(6, generator=generator)
    shift = torch.stack([angle.cos() * length, angle.sin() * length], dim=-1)
    if not common:
        gaps = OutlineGaps(clip.views[:, 0, ..., 3].float() / 255.0, clip.cameras)
        shift = gaps.without_common(torch.cat([shift, torch.zeros(6, 1)], dim=1))[:, :2]
    return [(int(x), int(y)) for x, y in shift.round().tolist()]


def spoiled(clip: SixViewClip, config: SpoilConfig) -> Tensor:
    """Pictures [6, T, S, S, 4] uint8."""
    views = clip.views.clone()
    if config.kind == "moved":
        shifts = moves(clip, config.seed, config.common)
        logger.info("moved to the right and down by %s pixels", ", ".join(map(str, shifts)))
        rows = zip(views, shifts, strict=True)
        return torch.stack([own.roll((down, right), (1, 2)) for own, (right, down) in rows])
    if config.kind == "neighbour":
        views[config.view] = clip.views[(config.view + 1) % 6]
    elif config.kind == "mirrored":
        views[config.view] = clip.views[config.view].flip(2)
    else:
        generator = torch.Generator().manual_seed(config.seed)
        gain = 0.8 + 0.4 * torch.rand(6, 1, 1, 1, 3, generator=generator)
        offset = 255.0 * (0.12 * torch.rand(6, 1, 1, 1, 3, generator=generator) - 0.06)
        views[..., :3] = (views[..., :3] * gain + offset).round().clamp(0, 255).byte()
    return views


def _read(config: SpoilConfig) -> SixViewClip:
    for key in ("input", "output"):
        if not getattr(config, key):
            raise ConfigError(f"{key} is missing: which folder?")
    if not Path(config.input).is_dir():
        raise InputError(f"{config.input}: not a folder; unpack archives first")
    if Path(config.output).exists():
        raise ConfigError(f"{config.output} is there already")
    return read_sixview(config.input)


def run(config: SpoilConfig) -> None:
    """Write the spoiled dataset beside the other."""
    views = spoiled(_read(config), config)
    partial = Path(f"{config.output}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    shutil.copytree(config.input, partial)
    for view, pictures in enumerate(views):
        for index, picture in enumerate(pictures):
            file = partial / fmt.view_folder(view) / f"{fmt.image_name(index)}.png"
            write_png(file, picture.numpy())
    partial.rename(config.output)
    logger.info("%s: %s", config.output, config.kind)


def plan(config: SpoilConfig) -> str:
    """What ``--dry-run`` prints."""
    clip = _read(config)
    return f"{len(clip)} frame(s) of six views, {config.kind}, to {config.output}"


def main() -> int:
    return run_command(SpoilConfig, run=run, plan=plan, description=__doc__ or "")


if __name__ == "__main__":
    raise SystemExit(main())

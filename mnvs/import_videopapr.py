"""Import the reference project's published six-view samples into our six-view dataset format.

``python -m mnvs.import_videopapr SRC DST [--view-size 256] [--fps 24] [--dry-run]``

What is published: per frame ``NN_input.png``, the input view, and ``NN_gt.png``, a tile of 3 rows x
2 columns; both 512x512, the tile squashed from 2:3 to square, all pixels opaque, the object on pure
white. The tile is stretched back to 2:3 before it is cut into views.

Opacity is estimated, because our images carry it: white pixels become transparent, and pixels at
the outline, which are mixtures of object and white, get the opacity at which their colour lies
between white and that of the object beside them. White spots on the object become holes;
``--opaque`` leaves the images as they are (``validate`` then reports that they have no background).

Cameras are the rig of the project's renderer: v1.1 angles, field of view 49.13 degrees, distance
1.5, which clips wide objects.
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree, open_tree
from blender_render.geometry.cameras import SIXVIEW_RIGS
from blender_render.imaging.images import decode_rgba
from mnvs.data.sixview_writer import write_sixview_dataset
from mnvs.data.tiles import unpack_tile
from training_core.cli import exit_code_of
from training_core.config import InputError

logger = logging.getLogger(__name__)

IMPORTER_VERSION = 1
_DISTANCE = 1.5
_NAME = re.compile(r"(\d+)_(input|gt)\.png")
_WHITE = 254.5 / 255.0


def import_sample(
    source: Path, target: Path, *, view_size: int = 256, fps: float = 24.0, opaque: bool = False
) -> None:
    """Write the six-view dataset ``target`` from one published object, unless it is complete.

    Args:
        source: folder or .zip with NN_input.png and NN_gt.png.
        view_size: side of the images written; 256 keeps the tile's horizontal resolution.
        fps: written into the dataset; not published with the samples.
        opaque: keep the white background.

    Raises:
        InputError: images are missing or damaged, or the target holds something else.
    """
    settings = {"importer": IMPORTER_VERSION, "size": view_size, "fps": fps, "opaque": opaque}
    with open_tree(source) as tree:
        frames = _frames(tree)
        digest = fmt.config_hash({**settings, "source": str(source), "frames": frames})
        if fmt.is_complete(target, digest):
            logger.info("%s is complete already; nothing to do", target)
            return
        _refuse_occupied(target)
        inputs = torch.stack([_image(tree, f"{n}_input.png") for n in frames])
        tiles = torch.stack([_image(tree, f"{n}_gt.png") for n in frames])
    views = unpack_tile(_resize(tiles, 3 * view_size, 2 * view_size))
    images = torch.cat([_resize(inputs, view_size, view_size)[:, None], views], dim=1)
    if opaque:
        images = torch.cat([images, torch.ones_like(images[..., :1, :, :])], dim=-3)
    else:
        images = matte_from_white(images)
    rig = replace(SIXVIEW_RIGS["v1.1"], distance=_DISTANCE)
    write_sixview_dataset(
        target,
        inputs=images[:, 0],
        views=images[:, 1:],
        rig=rig,
        rig_name="v1.1",
        fps=fps,
        config_hash=digest,
        info={
            "asset": source.name,
            "source": "six-view samples published by the VideoPAPR reference project",
            "alpha": "opaque, on white" if opaque else "estimated from the white background",
        },
    )
    logger.info("wrote %d frames of 7 views to %s", len(frames), target)


def describe(source: Path, target: Path, view_size: int) -> str:
    """What ``--dry-run`` prints.

    Raises:
        InputError: see ``import_sample``; images are not opened.
    """
    with open_tree(source) as tree:
        frames = _frames(tree)
    _refuse_occupied(target)
    return f"{len(frames)} frames of 7 views of {view_size}x{view_size} to {target}"


def _refuse_occupied(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists and holds something else; choose another place")


def matte_from_white(images: Tensor) -> Tensor:
    """RGB [..., 3, H, W] of an object on pure white → straight-alpha RGBA [..., 4, H, W].

    Composited over white, the result is the given image, except where an outline pixel is
    darker or more saturated than the object beside it.
    """
    flat = images.flatten(0, -4) if images.ndim > 3 else images[None]
    covered = (flat.amin(1, keepdim=True) < _WHITE).float()
    # Mixtures are at most two pixels thick: the images were resized once, by an unknown filter.
    inner = -F.max_pool2d(-F.pad(covered, (2, 2, 2, 2), value=1.0), 5, 1)
    beside, known = _mean_beside(flat, inner, 7)
    # Thin parts have no inner pixels near; they take the mean colour of a larger square.
    farther, found = _mean_beside(flat, inner, 25)
    beside, known = torch.where(known, beside, farther), known | found
    known &= (inner == 0) & (covered > 0)
    span = (1.0 - beside).square().sum(1, keepdim=True)
    share = ((1.0 - flat) * (1.0 - beside)).sum(1, keepdim=True) / span.clamp(min=1e-6)
    alpha = torch.where(known, share.clamp(0.0, 1.0), covered)
    # The colour that, with this alpha over white, gives the image back.
    colour = (1.0 - (1.0 - flat) / alpha.clamp(min=1e-3)).clamp(0.0, 1.0) * (alpha > 0)
    return torch.cat([colour, alpha], 1).view(*images.shape[:-3], 4, *images.shape[-2:])


def _mean_beside(images: Tensor, inner: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Mean colour [N, 3, H, W] of the inner pixels in a square around each, and whether any is."""
    weight = F.avg_pool2d(inner, size, 1, size // 2)
    total = F.avg_pool2d(images * inner, size, 1, size // 2)
    return total / weight.clamp(min=1e-6), weight > 0


def _frames(tree: Tree) -> list[str]:
    """Numbers, as written, of the frames that have both images; both must be there."""
    found: dict[str, set[str]] = {}
    for name in tree.list():
        if match := _NAME.fullmatch(name):
            found.setdefault(match[1], set()).add(match[2])
    if not found:
        raise InputError(f"{tree.label()}: holds no images NN_input.png and NN_gt.png")
    for number, kinds in found.items():
        for kind in {"input", "gt"} - kinds:
            raise InputError(f"{tree.label(f'{number}_{kind}.png')}: file is missing")
    return sorted(found, key=int)


def _image(tree: Tree, rel: str) -> Tensor:
    """RGB [3, H, W] in [0, 1]; where alpha is not 1, over white."""
    pixels = torch.from_numpy(decode_rgba(tree.read_bytes(rel), tree.label(rel)).copy())
    rgba = pixels.movedim(-1, 0).float() / 255.0
    return torch.lerp(torch.ones(()), rgba[:3], rgba[3:])


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    size = (height, width)
    if images.shape[-2:] == size:
        return images
    resized = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0.0, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m mnvs.import_videopapr", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("source", type=Path, help="folder with 00_input.png, 00_gt.png, ...")
    parser.add_argument("target", type=Path, help="dataset folder to write")
    parser.add_argument("--view-size", type=int, default=256, help="side of a view, pixels")
    parser.add_argument("--fps", type=float, default=24.0, help="frames per second to write")
    parser.add_argument("--opaque", action="store_true", help="keep the white background")
    parser.add_argument("--dry-run", action="store_true", help="check, show the plan and stop")
    arguments = parser.parse_args(argv)

    def work() -> None:
        if arguments.view_size < 8 or not arguments.fps > 0:
            raise InputError("--view-size must be at least 8 and --fps positive")
        if arguments.dry_run:
            plan = describe(arguments.source, arguments.target, arguments.view_size)
            sys.stdout.write(plan + "\n")
            return
        import_sample(
            arguments.source,
            arguments.target,
            view_size=arguments.view_size,
            fps=arguments.fps,
            opaque=arguments.opaque,
        )

    return exit_code_of(work)


if __name__ == "__main__":
    raise SystemExit(main())

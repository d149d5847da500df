"""Convert the VideoPAPR reference project's published renders into our multi-view format.

What is published: one folder ``frame_NNN`` per animation frame with RGBA images and
``frame_NNN.json``, whose ``camera_data`` lists ``camera_angle_x`` (radians), ``file_path`` (its
folder does not exist; the file's name is what counts) and ``transform_matrix``, which holds
world-to-camera. Every camera's own pose is used, also where one stands at another distance.

The scene's scale is not published, so it is measured. The visual hull of the masks of all images
of each frame is carved (``visual_hull``), on a grid of 64 voxels over everything the cameras can
show and again on 96 voxels over what was found; voxels whose depth the cameras do not fix are left
out. The box around the hulls of all frames is centred at the origin and scaled to longest side 1.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blender_render.dataset import format as fmt
from blender_render.dataset import videopapr_source as published
from blender_render.dataset.archive import Tree, open_tree
from blender_render.dataset.videopapr_source import SourceFrame
from blender_render.geometry.visual_hull import carve, reprojection_iou
from blender_render.imaging.images import decode_rgba, encode_png, to_uint8
from blender_render.imaging.resize import resize_rgba
from training_core.cli import exit_code_of
from training_core.files.atomic import new_directory

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

CONVERTER_VERSION = 1
# Every 8th camera to test, from the first; every 16th, halfway between, to val.
TEST_EVERY, VAL_EVERY, VAL_OFFSET = 8, 16, 4


def convert(
    source: Path,
    target: Path,
    resolution: tuple[int, int] | None = None,
    frames: Sequence[int] | None = None,
) -> None:
    """Convert ``source`` into the dataset folder ``target``; return at once if that is done.

    Args:
        resolution: (width, height); images are averaged by area with premultiplied alpha.
        frames: frame numbers to take; None = all.

    Raises:
        InputError: the source is damaged, or the target holds something else.
    """
    with open_tree(source) as tree:
        names = published.select_frames(tree, frames)
        arguments = {
            "converter": CONVERTER_VERSION,
            "cameras": {
                n: hashlib.sha256(tree.read_bytes(published.json_name(n))).hexdigest()
                for n in names
            },
            "resolution": resolution,
        }
        digest = fmt.config_hash(arguments)
        if fmt.is_complete(target, digest):
            logger.info("%s is complete already; nothing to do", target)
            return
        with new_directory(target) as work:
            sources = [published.read_frame(tree, name) for name in names]
            to_world = published.normalisation(sources)
            quality = {f.name: _write_frame(tree, f, work, to_world, resolution) for f in sources}
            fmt.write_dataset_info(work, _info(source, sources, resolution, to_world, quality))
            fmt.mark_complete(work, digest)
    count = len(sources[0].cameras)
    shares = [sum(_split_of(i) == split for i in range(count)) for split in fmt.SPLITS]
    logger.info("Each frame's pictures went %d to train, %d to val, %d to test.", *shares)
    logger.info("Depth was left out: it is 8 bit, normalised, and its unit is not published.")
    logger.info(
        "Wrote %d frames to %s; 1 unit is %.4g source units.",
        len(names),
        target,
        1 / to_world[0, 0],
    )


def _write_frame(
    tree: Tree,
    frame: SourceFrame,
    work: Path,
    to_world: Array,
    resolution: tuple[int, int] | None,
) -> dict[str, Any]:
    """Write one frame folder; how well the carved hull matches the masks, as JSON."""
    folder = work / frame.name
    scale = float(to_world[0, 0])
    moved = []
    for camera in frame.cameras:
        pose = camera.cam_to_world.copy()
        pose[:3, 3] = scale * pose[:3, 3] + to_world[:3, 3]
        moved.append(replace(camera, cam_to_world=pose))
    low, high = (scale * corner + to_world[:3, 3] for corner in frame.box)
    hull = carve(frame.masks, moved, 160, (low - 0.02, high + 0.02), tolerance=0.25)
    iou = reprojection_iou(hull, frame.masks, moved)
    width, height = resolution or (moved[0].width, moved[0].height)
    for split in fmt.SPLITS:
        (folder / split).mkdir(parents=True)
        chosen = [i for i in range(len(moved)) if _split_of(i) == split]
        names = [f"{split}/{fmt.image_name(k)}" for k in range(len(chosen))]
        for index, name in zip(chosen, names, strict=True):
            rel = frame.images[index]
            raw = decode_rgba(tree.read_bytes(rel), tree.label(rel))
            small = resize_rgba(torch.tensor(raw).float() / 255.0, width, height)
            encoded = encode_png(to_uint8(small), compress_level=4)
            (folder / f"{name}.png").write_bytes(encoded)
        fmt.write_transforms(
            folder, split, [moved[i].resized(width, height) for i in chosen], names
        )
    mean, least = float(iou.mean()), float(iou.min())
    logger.info(
        "%s: %d pictures; the hull projected back onto the masks agrees to IoU %.3f "
        "(mean; worst %.3f).",
        *(frame.name, len(moved), mean, least),
    )
    return {
        "poses_inverted": frame.inverted,
        "hull_iou_mean": round(mean, 4),
        "hull_iou_min": round(least, 4),
    }


def _split_of(index: int) -> str:
    if index % TEST_EVERY == 0:
        return "test"
    return "val" if index % VAL_EVERY == VAL_OFFSET else "train"


def _info(
    source: Path,
    frames: Sequence[SourceFrame],
    resolution: tuple[int, int] | None,
    to_world: Array,
    quality: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    first, scale = frames[0].cameras[0], float(to_world[0, 0])
    return {
        "asset": source.name,
        "source": "renders published by the VideoPAPR reference project",
        "frames": [fmt.frame_number(f.name) for f in frames],
        "resolution": list(resolution or (first.width, first.height)),
        "source_resolution": [first.width, first.height],
        "rig": "as published",
        "splits": f"every {TEST_EVERY}th camera of the published list to test, from the first; "
        f"every {VAL_EVERY}th from number {VAL_OFFSET} to val; the others to train",
        "world": "right-handed, axes as published, centred, longest side of the box over all "
        "frames is 1, measured by the visual hull of the masks",
        "world_to_asset": {
            "scale": 1.0 / scale,
            "offset": (-to_world[:3, 3] / scale).tolist(),
            "meaning": "asset = world * scale + offset, in the published cameras' units",
        },
        "camera": "camera-to-world, OpenGL axes: +X right, +Y up, looks along -Z",
        "depth": "not converted: 8 bit, normalised, unit unknown",
        "conversion": quality,
    }


def _resolution(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 240x135, got {text!r}")
    return int(width), int(height)


def _frames(text: str) -> list[int]:
    parts = text.split(",")
    if not all(p.strip().isdigit() for p in parts):
        raise argparse.ArgumentTypeError(f"expected frame numbers such as 0,5,10, got {text!r}")
    return [int(p) for p in parts]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m blender_render.convert_videopapr",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("source", type=Path, help="folder with frame_000, frame_005, ...")
    parser.add_argument("target", type=Path, help="dataset folder to write")
    parser.add_argument(
        "--resolution", type=_resolution, metavar="WxH", help="default: as published"
    )
    parser.add_argument("--frames", type=_frames, metavar="0,5,...", help="default: all")
    arguments = parser.parse_args(argv)
    # Many small operations: more threads gain nothing, and on a busy machine they lose minutes.
    torch.set_num_threads(1)
    return exit_code_of(lambda: convert(**vars(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())

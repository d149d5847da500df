"""A six-view video as a multi-view dataset: one folder per moment, the six views to train on.

The video says nothing about other directions. Pictures to be judged by come from a multi-view
dataset of the same asset where there is one, else from the input view, else they are the six views
again; ``test_views`` in ``dataset.json`` says which.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import (
    SixViewClip,
    list_frames,
    read_dataset_info,
    read_sixview,
)
from blender_render.dataset.same_world import check_same_world
from blender_render.dataset.tracks import read_tracks, write_tracks
from blender_render.geometry.cameras import Camera
from blender_render.imaging.images import encode_png
from training_core.config import InputError
from training_core.files.atomic import publish_directory

TEST_VIEWS = {
    "held out": "views that training never saw",
    "input": "the input view, which training did not see",
    "train": "the six views it was trained on; nothing else is known",
}


# What is as true of the moments as of the video.
KEPT = (
    "asset", "asset_sha256", "action", "source", "rig", "fps", "loop", "frames", "world_to_asset",
)  # fmt: skip


def write_frames(sixview: Path, target: Path, held_out: Path | None = None) -> None:
    """Write the dataset ``target``; it appears whole, in place of an older one.

    Args:
        sixview: a complete six-view video.
        held_out: a multi-view dataset of the same asset, world and moments, whose test (and
            validation) views are taken over.

    Raises:
        InputError: unreadable data, an empty view, or a ``held_out`` that does not belong to it.
    """
    clip = read_sixview(sixview)
    _refuse_empty(clip, sixview)
    info = _dataset_info(clip)
    names = [fmt.frame_name(i) for i in range(len(clip))]
    if held_out is not None:
        names = list_frames(held_out)
        info |= _checked_world(clip, sixview, held_out, len(names))
    # One picture repeated, as it is written where a single one was given, shows no other moment.
    input_moves = len(clip) == 1 or bool((clip.input[1:] != clip.input[0]).any())
    kind = "held out" if held_out else ("input" if input_moves else "train")
    info |= {"test": kind, "test_views": TEST_VIEWS[kind]}
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    for time, name in enumerate(names):
        frame = work / name
        write_split(frame, "train", clip.views[:, time], clip.cameras)
        if held_out is not None:
            _copy_splits(held_out / name, frame)
        elif input_moves:
            write_split(frame, "test", clip.input[time : time + 1], [clip.input_camera])
        else:
            write_split(frame, "test", clip.views[:, time], clip.cameras)
    tracks = read_tracks(sixview)
    if tracks is not None:
        write_tracks(work, tracks)
    fmt.write_dataset_info(work, info)
    fmt.mark_complete(work, fmt.config_hash({"sixview": str(sixview), "test": kind}))
    shutil.rmtree(target, ignore_errors=True)
    publish_directory(work, target)


def _refuse_empty(clip: SixViewClip, sixview: Path) -> None:
    covered = (clip.views[..., 3] >= 128).flatten(2).any(2)
    if not bool(covered.all()):
        view, time = (~covered).nonzero()[0].tolist()
        raise InputError(
            f"{sixview}: {fmt.view_folder(view)}/{fmt.image_name(time)}.png shows no object: "
            f"{int((~covered).sum())} of {covered.numel()} pictures are empty"
        )


def _dataset_info(clip: SixViewClip) -> dict[str, Any]:
    known = {key: clip.info[key] for key in KEPT if key in clip.info}
    unknown = {
        "frames": list(range(len(clip))),
        "world_to_asset": {"scale": 1.0, "offset": [0.0, 0.0, 0.0]},
    }
    camera = clip.cameras[0]
    return {**unknown, **known, "resolution": [camera.width, camera.height]}


def _checked_world(clip: SixViewClip, sixview: Path, held_out: Path, frames: int) -> dict[str, Any]:
    """What both datasets must agree on: asset, moments, world."""
    ours, theirs = clip.info, read_dataset_info(held_out)
    if frames != len(clip) or ours.get("frames") != theirs["frames"]:
        raise InputError(f"{held_out}: other moments than {sixview}")
    check_same_world(theirs, str(held_out), ours, str(sixview))
    return {"frames": theirs["frames"]}


def write_split(frame: Path, split: str, pictures: Tensor, cameras: Sequence[Camera]) -> None:
    """Pictures [N, H, W, 4] uint8 and their cameras as one split of a frame folder."""
    (frame / split).mkdir(parents=True)
    names = [f"{split}/{fmt.image_name(i)}" for i in range(len(pictures))]
    for name, picture in zip(names, pictures.numpy(), strict=True):
        (frame / f"{name}.png").write_bytes(encode_png(picture))
    fmt.write_transforms(frame, split, cameras, names)


def _copy_splits(source: Path, frame: Path) -> None:
    for split in ("val", "test"):
        shutil.copytree(source / split, frame / split)
        shutil.copy(source / fmt.transforms_file(split), frame)

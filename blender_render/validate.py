"""Check a dataset and name every problem of it.

``python -m blender_render.validate PATH``: PATH is a multi-view dataset, one of its frame folders,
a NeRF-synthetic folder, a six-view video, or any of these in a .zip. Problems go to stdout, one
line for each cause. Exit code 0: none; 1: at least one; 2: PATH is no dataset. An object that is
small in every picture is no problem of the data, but said on stderr, with the reason.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from blender_render.dataset import checks
from blender_render.dataset import format as fmt
from blender_render.dataset.archive import Tree, open_tree
from blender_render.dataset.camera_json import frame_entry
from blender_render.dataset.checks import FilledShare, FrameObservations
from blender_render.dataset.picture_files import camera_of, image_file, read_picture
from blender_render.dataset.readers import list_frames
from blender_render.dataset.transforms import (
    describe_notes,
    file_of,
    read_transforms,
    split_label,
    splits_of,
)
from blender_render.geometry.cameras import Camera
from blender_render.imaging.pictures import NO_ALPHA
from blender_render.problem_lines import by_cause
from training_core.cli import exit_code_of
from training_core.config import InputError

logger = logging.getLogger(__name__)

EXIT_PROBLEMS = 1
ANGLE_TOLERANCE_DEG = 0.5


def validate(path: str | Path, no_alpha: str = "refuse") -> list[str]:
    """All problems of a dataset, one line each; empty when it is sound.

    Args:
        no_alpha: what to take for the object in pictures without alpha, as ``read_views``.

    Raises:
        InputError: nothing at ``path`` is a dataset.
    """
    problems: list[str] = []
    with open_tree(path) as tree:
        if tree.compressed:
            problems.append(f"{tree.label()}: the archive is compressed; it should be stored")
        if tree.exists(fmt.SAMPLE_FILE):
            _check_sixview(tree, problems)
            return problems
        filled = FilledShare()
        info = _check_info(tree, fmt.DATASET_FILE, fmt.DATASET_KEYS, problems)
        frames = list_frames(path)
        if info is not None:
            listed = info.get("frames")
            if isinstance(listed, list) and len(listed) != len(frames):
                problems.append(
                    f"{tree.label(fmt.DATASET_FILE)}: lists {len(listed)} frames, "
                    f"but {len(frames)} are there"
                )
        previous: list[npt.NDArray[np.uint8]] = []
        for name in frames:
            seen = _check_frame(tree.sub(name), info is not None, no_alpha, problems)
            filled.add(seen.names, seen.images)
            first = seen.images[: checks.MAX_MOTION_VIEWS]
            if checks.same_images(previous, first):
                problems.append(
                    f"{tree.label(name)}: no motion, its pictures are the frame's before it"
                )
            previous = first
        _say_if_small(filled, info, tree.label())
    return problems


def _say_if_small(filled: FilledShare, info: dict[str, Any] | None, where: str) -> None:
    """Warn where no picture shows the object large."""
    config = (info or {}).get("config")
    rig = config.get("rig") if isinstance(config, dict) else None
    fitted = isinstance(rig, dict) and rig.get("distance") == 0
    small = filled.why_small(fitted)
    if small:
        logger.warning("%s: %s", where, small)


def _check_info(
    tree: Tree, rel: str, keys: Sequence[str], problems: list[str]
) -> dict[str, Any] | None:
    """Check the description of a dataset of ours; None when there is none (NeRF-synthetic)."""
    if not tree.exists(rel):
        return None
    if not tree.exists(fmt.COMPLETE_FILE):
        problems.append(f"{tree.label()}: incomplete, {fmt.COMPLETE_FILE} is missing")
    try:
        info = tree.read_json(rel)
    except InputError as error:
        problems.append(str(error))
        return {}
    problems += [f"{tree.label(rel)}: key {key!r} is missing" for key in keys if key not in info]
    if info.get("schema_version", fmt.SCHEMA_VERSION) != fmt.SCHEMA_VERSION:
        problems.append(f"{tree.label(rel)}: schema version is not {fmt.SCHEMA_VERSION}")
    return info


def _check_frame(folder: Tree, ours: bool, no_alpha: str, problems: list[str]) -> FrameObservations:
    """All splits of one frame folder. The training images come first in what is returned."""
    seen = FrameObservations()
    used: dict[str, str] = {}
    found = splits_of(folder)
    if "train" not in found:
        problems.append(f"{folder.label()}: {fmt.transforms_file('train')} is missing")
    for split in found:
        try:
            meta, frames = read_transforms(folder, split)
        except InputError as error:
            if str(error) not in problems:
                problems.append(str(error))
            continue
        if split == "train" and len(frames) == 1:
            logger.warning(
                "%s: one training picture shows no shape; training asks for more, or for "
                "points.init=cube",
                folder.label(),
            )
        label = folder.label(file_of(folder, split))
        notes: list[str] = []
        for index, frame in enumerate(frames):
            entry = frame_entry(meta, frame)
            try:
                rel = image_file(folder, entry)
            except InputError as error:
                problems.append(str(error))
                continue
            if rel in used:
                problems.append(f"{folder.label(rel)}: in {used[rel]!r} and again in {split!r}")
            used[rel] = split
            where = f"{label}: frame {index} ({rel})"
            seen.split = split
            _check_entry(folder, rel, entry, where, no_alpha, seen, notes, problems)
        describe_notes(label, notes)
    held_out = {s: split_label(folder, s) for s in found if s != "train"}
    checks.check_poses(seen, folder.label(), ours, problems, held_out)
    for split, label in held_out.items():
        _say_if_known(seen, split, f"{folder.label()}: {label}")
    return seen


def _say_if_known(seen: FrameObservations, split: str, label: str) -> None:
    """Warn where views that judge are taken from where training views are."""
    known = [camera.cam_to_world for camera in seen.of("train")[0]]
    shown = [camera.cam_to_world for camera in seen.of(split)[0]]
    same = sum(any(np.allclose(own, other, atol=1e-5) for other in known) for own in shown)
    if same:
        logger.warning(
            "%s: %d of %d views have the camera of a training view; figures on them say little",
            label, same, len(shown),
        )  # fmt: skip


def _check_entry(
    tree: Tree,
    rel: str,
    entry: dict[str, Any],
    where: str,
    no_alpha: str,
    seen: FrameObservations,
    notes: list[str],
    problems: list[str],
) -> None:
    """One image with its camera and depth."""
    try:
        image = read_picture(tree, entry, rel, no_alpha)
    except InputError as error:
        problems.append(str(error))
        return
    if not image[..., 3].any():
        problems.append(f"{tree.label(rel)}: nothing in the picture, alpha is 0 everywhere")
    try:
        seen.add(camera_of(entry, image, tree.label(rel), where, notes), image, rel)
    except InputError as error:
        problems.append(str(error))
    if entry.get("depth_path") is not None:
        checks.check_depth(tree, entry, image, problems)


def _check_sixview(tree: Tree, problems: list[str]) -> None:
    info = _check_info(tree, fmt.SAMPLE_FILE, fmt.SAMPLE_KEYS, problems) or {}
    where = tree.label(fmt.SAMPLE_FILE)
    try:
        fmt.check_rig(info.get("rig", ""), where)
    except InputError as error:
        problems.append(str(error))
    views, count = info.get("views"), info.get("num_frames")
    entries = [info.get("input"), *(views if isinstance(views, list) else [])]
    usable = all(isinstance(e, dict) and isinstance(e.get("camera"), dict) for e in entries)
    if len(entries) != 7 or not usable or not isinstance(count, int) or count < 1:
        problems.append(f"{where}: 'num_frames', 'input' and six 'views' with cameras are expected")
        return
    folders = [fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))]
    previous: list[npt.NDArray[np.uint8]] = []
    filled = FilledShare()
    for time in range(count):
        seen = FrameObservations()
        for folder, entry in zip(folders, entries, strict=True):
            rel = f"{folder}/{fmt.image_name(time)}.png"
            lines = problems if time == 0 else []
            image = checks.check_image(tree, rel, problems)
            if image is None:
                continue
            size = (image.shape[1], image.shape[0])
            camera = checks.check_camera(entry["camera"], size, f"{where}: {folder}", lines)
            if camera is not None:
                seen.add(camera, image, folder)
            elif time > 0 and lines and "wrong size" in lines[-1]:
                problems.append(f"{tree.label(rel)}: {lines[-1].partition(': ')[2]}")
        filled.add(seen.names, seen.images)
        if time == 0:
            checks.check_poses(seen, tree.label(), True, problems)
            _check_angles(seen, entries, where, problems)
        elif checks.same_images(previous, seen.images):
            problems.append(f"{tree.label()}: no motion, frame {time} is the frame before it")
        previous = seen.images
    _say_if_small(filled, info, tree.label())


def _check_angles(
    seen: FrameObservations, entries: Sequence[Any], where: str, problems: list[str]
) -> None:
    """Azimuths relative to the input, and elevations, as the file declares them."""
    cameras = dict(zip(seen.names, seen.cameras, strict=True))
    if fmt.INPUT_FOLDER not in cameras:
        return
    base = _angles_deg(cameras[fmt.INPUT_FOLDER])[0]
    for view, entry in enumerate(entries[1:]):
        camera = cameras.get(fmt.view_folder(view))
        if camera is None:
            continue
        azimuth, elevation = _angles_deg(camera)
        for name, angle in (("azimuth_deg", azimuth - base), ("elevation_deg", elevation)):
            wanted = entry.get(name)
            if not isinstance(wanted, int | float):
                problems.append(f"{where}: view {view}: key {name!r} is missing")
            elif abs((angle - wanted + 180.0) % 360.0 - 180.0) > ANGLE_TOLERANCE_DEG:
                problems.append(
                    f"{where}: view {view}: {name} is {wanted:g}, but its camera stands at "
                    f"{angle % 360.0 if name == 'azimuth_deg' else angle:.1f}"
                )


def _angles_deg(camera: Camera) -> tuple[float, float]:
    """Azimuth and elevation of a camera around the origin; the inverse of ``spherical``."""
    x, y, z = camera.position
    return float(np.degrees(np.arctan2(x, -y))), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring for the exit codes."""
    parser = argparse.ArgumentParser(
        prog="python -m blender_render.validate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("path", type=Path, help="dataset folder, frame folder or .zip")
    parser.add_argument(
        "--background",
        choices=[word for word in NO_ALPHA if word != "refuse"],
        default="refuse",
        help="what lies behind the object in pictures without alpha, as training's data.background",
    )
    parser.add_argument("--all", action="store_true", help="a line for every picture of a cause")
    arguments = parser.parse_args(argv)
    # Many small operations: more threads gain nothing, and on a busy machine they lose minutes.
    torch.set_num_threads(1)

    def work() -> int | None:
        problems = validate(arguments.path, arguments.background)
        shown = problems if arguments.all else by_cause(problems, arguments.path)
        for problem in shown:
            # What training takes as a key is an option here.
            sys.stdout.write(problem.replace("data.background=", "--background=") + "\n")
        if problems:
            return EXIT_PROBLEMS
        logger.info("%s: no problems found", arguments.path)
        return None

    return exit_code_of(work)


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m animate_papr.export`: the moving point cloud as files that other programs read.

Writes one PLY per frame, all paths of all points in one safetensors file, and `export.json`, which
says what the numbers mean.
"""

import dataclasses
import logging
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate_papr.camera_paths import PathConfig
from animate_papr.ply import encode_ply
from animate_papr.point_colours import colours_from_neighbours, point_colours
from animate_papr.run_files import completed_path, world_to_asset
from animate_papr.sequence import Sequence, load_sequence
from blender_render.geometry.cameras import Camera, fibonacci_sphere, look_at
from blender_render.imaging.images import to_uint8
from sjc_papr.networks.config import precision_option
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from training_core.cli import run_command
from training_core.config import MISSING, option, section
from training_core.devices import pick_device, prepare_cpu
from training_core.files.atomic import tensor_bytes, write_bytes, write_json
from training_core.metrics_log import progress_bar

logger = logging.getLogger(__name__)


@dataclass
class ColoursConfig:
    """Where the points' colours come from: images that the model renders from all around."""

    views: int = option(14, "pictures, evenly spread over the sphere")
    width: int = option(0, "width of these pictures; 0 = as in the dataset")
    height: int = option(0, "height of these pictures; 0 = as in the dataset")
    tolerance: float = option(
        0.03, "depth by which a point may miss the visible surface, world units"
    )
    every_frame: bool = option(False, "new colours for every frame, else those of the first frame")

    def validate(self) -> None:
        """Raises ValueError where no colour could come out."""
        if self.views < 1 or self.tolerance <= 0:
            raise ValueError("views and tolerance must be positive")


@dataclass
class ExportConfig:
    """What to export and how."""

    run: str = option(MISSING, "run folder of animate_papr.train")
    output: str = option("", "folder to write to; empty = export/ in the run folder")
    normalised: bool = option(False, "keep PLY files in the dataset's world, longest side 1")
    device: str = option("auto", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    precision: str = precision_option()
    colours: ColoursConfig = section(ColoursConfig, "colours of the points")


@torch.inference_mode()
def cloud_colours(
    sequence: Sequence, index: int, cameras: Items[Camera], config: ExportConfig
) -> tuple[Tensor, int]:
    """Colours [P, 3] in [0, 1] of one frame's points, and how many points no view saw."""
    prepare_cpu()
    device = pick_device(config.device)
    model = sequence.model(index).to(device)
    outputs = [
        render(
            model,
            camera_rays(camera).to(device),
            background=sequence.background,
            precision=config.precision,
            max_rays=4096,
        )
        for camera in cameras
    ]
    points = model.points.rows()
    rgb, seen = point_colours(
        points.positions,
        points.influence,
        torch.cat([o.rgb for o in outputs]),
        torch.cat([o.alpha for o in outputs]),
        torch.cat([o.depth for o in outputs]),
        cameras,
        tolerance=config.colours.tolerance,
        background=sequence.background,
    )
    return colours_from_neighbours(points.positions, rgb, seen).cpu(), int((seen <= 0).sum())


def surrounding_cameras(path: PathConfig, count: int) -> list[Camera]:
    """`count` cameras spread evenly over the sphere, with the lens and distance of `path`."""
    angle = float(np.radians(path.fov_deg))
    return [
        Camera.from_angle_x(look_at(path.radius * d), path.width, path.height, angle)
        for d in fibonacci_sphere(count)
    ]


def write_trajectories(
    path: Path, names: Items[str], frames: Items[PointRows], rgb: Items[Tensor], matrix: np.ndarray
) -> bool:
    """All frames in one file, where point i is the same point in each of them.

    Tensors: positions [T, P, 3] float32 in the dataset's world, influence [T, P], features
    [T, P, C], rgb [P, 3] or (one colour set per frame) [T, P, 3] uint8. Metadata: frames, and
    `world_to_asset`, a row-major 4x4 matrix. Where the number of points changes between frames
    there are no trajectories: an older file goes, and the answer is False.
    """
    if len({len(f.positions) for f in frames}) > 1:
        path.unlink(missing_ok=True)
        return False
    colours = [torch.from_numpy(to_uint8(c)) for c in rgb]
    tensors = {
        "positions": torch.stack([f.positions for f in frames]).float(),
        "influence": torch.stack([f.influence for f in frames]).float(),
        "features": torch.stack([f.features for f in frames]).float(),
        "rgb": colours[0] if len(colours) == 1 else torch.stack(colours),
    }
    metadata = {
        "frames": " ".join(names),
        "world_to_asset": " ".join(repr(float(x)) for x in matrix.ravel()),
        "convention": "world is right-handed with +Z up; asset = world_to_asset @ [x, y, z, 1]",
    }
    write_bytes(path, tensor_bytes(tensors, metadata))
    return True


def export(config: ExportConfig) -> None:
    """Write PLY files, trajectories.safetensors and export.json."""
    run = Path(config.run)
    sequence = load_sequence(run)
    output = Path(config.output or run / "export")
    output.mkdir(parents=True, exist_ok=True)
    known = world_to_asset(sequence.dataset_info)
    matrix = np.eye(4) if known is None else known
    if known is None:
        logger.warning("the dataset does not say how it was normalised: units stay normalised")
    frames = [
        PointRows(*(t.cpu().clone() for t in sequence.model(i).points.rows()))
        for i in range(len(sequence.frames))
    ]
    lens = PathConfig(width=config.colours.width, height=config.colours.height)
    cameras = surrounding_cameras(completed_path(lens, run), config.colours.views)
    same_count = len({len(f.positions) for f in frames}) == 1
    coloured = range(len(frames)) if config.colours.every_frame or not same_count else range(1)
    rgb, unseen = [], []
    with progress_bar(len(coloured), description="colours", unit="frame") as bar:
        for index in coloured:
            colours, count = cloud_colours(sequence, index, cameras, config)
            rgb.append(colours)
            unseen.append(count)
            bar.update()
    to_file = np.eye(4) if config.normalised else matrix
    unit = "normalised" if config.normalised or known is None else "asset"
    for index, (name, points) in enumerate(zip(sequence.frames, frames, strict=True)):
        moved = points.positions.double().numpy() @ to_file[:3, :3].T + to_file[:3, 3]
        stored = to_uint8(rgb[index if len(rgb) > 1 else 0])
        comments = [f"{name or 'frame'}; units: {unit}; +Z up; conventions in export.json"]
        write_bytes(output / f"{name or 'frame'}.ply", encode_ply(moved, stored, comments))
    together = write_trajectories(
        output / "trajectories.safetensors", sequence.frames, frames, rgb, matrix
    )
    write_json(
        output / "export.json", describe(config, sequence, matrix, known is not None, unseen)
    )
    logger.info("wrote %d point clouds to %s", len(frames), output)
    if not together:
        logger.warning("the number of points changes between frames: no trajectories were written")


def describe(
    config: ExportConfig,
    sequence: Sequence,
    matrix: np.ndarray,
    transform_known: bool,
    unseen: Items[int],
) -> dict[str, Any]:
    """Content of export.json: what the files hold and in which conventions."""
    return {
        "run": str(config.run),
        "frames": sequence.frames,
        "ply": {
            "units": "normalised" if config.normalised or not transform_known else "asset",
            "axes": "right-handed, +Z up; a glTF file's own axes are (x, z, -y) of these",
            "columns": "x y z float32, red green blue uint8, binary little endian",
        },
        "trajectories": {
            "units": "normalised: centred, longest side of the box over all frames is 1",
            "correspondence": "point i is the same point in every frame",
            "world_to_asset": matrix.tolist() if transform_known else None,
            "meaning": "asset = world_to_asset @ [x, y, z, 1]",
        },
        "colours": {
            **dataclasses.asdict(config.colours),
            "meaning": "mean colour rendered where a point lies on the visible surface; a point "
            "that no view saw has the colour of the nearest one that was seen",
            "points_no_view_saw": list(unseen),
        },
    }


def plan(config: ExportConfig) -> str:
    """What `export` would do, after looking at its inputs."""
    sequence = load_sequence(Path(config.run))
    world_to_asset(sequence.dataset_info)
    lens = PathConfig(width=config.colours.width, height=config.colours.height)
    path = completed_path(lens, Path(config.run))
    images = config.colours.views * (len(sequence.frames) if config.colours.every_frame else 1)
    output = config.output or Path(config.run) / "export"
    return (
        f"write {len(sequence.frames)} point clouds to {output}\n"
        f"render {images} pictures of {path.width}x{path.height} for their colours"
    )


def main(argv: Items[str] | None = None) -> int:
    return run_command(ExportConfig, run=export, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

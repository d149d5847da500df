"""`python -m animate_papr.export`: the moving character as files that other programs open.

Always writes one PLY per frame, all paths of all points in one safetensors file, and `export.json`,
which says what the numbers mean. `formats` adds an animated GLB of the points, a mesh that moves
with them (GLB, and PLY per frame), Gaussian splats, `.npz`, and nerfstudio's form of the dataset.
"""

import dataclasses
import logging
from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from animate_papr.camera_paths import PathConfig
from animate_papr.export_files import EXTRA_FORMATS, Content, write_formats
from animate_papr.formats.ply import encode_ply
from animate_papr.formats.trajectories import write_trajectories
from animate_papr.run_files import (
    completed_path,
    dataset_of,
    travel_in_asset,
    world_to_asset,
)
from animate_papr.sequence import Sequence, load_sequence
from animate_papr.surface.around import Around, look_around, surrounding_cameras
from animate_papr.surface.moving_mesh import MeshConfig
from animate_papr.surface.point_colours import colours_from_neighbours, point_colours
from blender_render.geometry.cameras import Camera
from sjc_papr.networks.config import precision_option
from sjc_papr.networks.point_cloud import PointRows
from training_core.cli import run_command
from training_core.config import MISSING, option, section
from training_core.devices import pick_device, prepare_cpu
from training_core.files.atomic import write_bytes, write_json
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
    formats: list[str] = option(
        ["points_glb", "mesh", "splats", "npz"],
        f"what to write beside PLY and trajectories, of {', '.join(EXTRA_FORMATS)}; [] = nothing",
    )
    normalised: bool = option(False, "keep files in the run's world, longest side about 1")
    fps: float = option(0.0, "frames per second of GLB files; 0 = the dataset's, or 8")
    device: str = option("auto", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    precision: str = precision_option()
    colours: ColoursConfig = section(ColoursConfig, "colours of the points")
    mesh: MeshConfig = section(MeshConfig, "the mesh that moves with the points")

    def validate(self) -> None:
        """Raises ValueError on formats that there are not and on a negative rate."""
        unknown = [name for name in self.formats if name not in EXTRA_FORMATS]
        if unknown:
            raise ValueError(
                f"formats: {unknown[0]!r} is none of {', '.join(EXTRA_FORMATS)} "
                "(PLY and trajectories are always written)"
            )
        if self.fps < 0:
            raise ValueError("fps must not be negative")


def images_around(
    sequence: Sequence, index: int, cameras: Items[Camera], config: ExportConfig
) -> Around:
    """What one frame looks like from all around."""
    prepare_cpu()
    model = sequence.model(index).to(pick_device(config.device))
    return look_around(model, cameras, background=sequence.background, precision=config.precision)


def cloud_colours(
    points: PointRows, around: Around, background: float, tolerance: float
) -> tuple[Tensor, int]:
    """Colours [P, 3] in [0, 1] of one frame's points, and how many points no view saw."""
    rgb, seen = point_colours(
        points.positions,
        points.influence,
        around.rgb,
        around.alpha,
        around.depth,
        around.cameras,
        tolerance=tolerance,
        background=background,
    )
    filled = colours_from_neighbours(points.positions, rgb, seen)
    return filled, int((seen <= 0).sum())


def export_cameras(config: ExportConfig, run: Path) -> list[Camera]:
    """The cameras around the object, with the dataset's lens and distance."""
    lens = PathConfig(width=config.colours.width, height=config.colours.height)
    path = completed_path(lens, run)
    size = (path.width, path.height)
    return surrounding_cameras(config.colours.views, path.radius, path.fov_deg, size)


def way_to_files(sequence: Sequence) -> tuple[np.ndarray, str]:
    """[4, 4] from training positions to those of the files, and whose units these are.

    The asset's, else the dataset's where a run was trained in a world of its own, else normalised.
    """
    world, known = sequence.world, world_to_asset(sequence.dataset_info)
    if known is not None:
        return known @ world.to_dataset(), "asset"
    return world.to_dataset(), "normalised" if world.is_datasets_own else "dataset"


def export(config: ExportConfig) -> None:
    """Write PLY files, trajectories.safetensors, export.json, and the formats asked for."""
    run = Path(config.run)
    sequence = load_sequence(run)
    output = Path(config.output or run / "export")
    output.mkdir(parents=True, exist_ok=True)
    matrix, unit = way_to_files(sequence)
    travel = travel_in_asset(sequence.dataset_info, sequence.frames)
    travels = bool(travel.any())
    if unit == "normalised":
        logger.warning("the dataset does not say how it was normalised: units stay normalised")
    frames = [
        PointRows(*(t.cpu().clone() for t in sequence.model(i).points.rows()))
        for i in range(len(sequence.frames))
    ]
    rgb, unseen, first = _coloured(config, sequence, run, frames)
    content = Content(
        names=[name or "frame" for name in sequence.frames],
        frames=frames,
        rgb=rgb,
        around=first,
        world_to_asset=matrix,
        world_to_dataset=sequence.world.to_dataset(),
        to_file=np.eye(4) if config.normalised else matrix,
        travel=travel if travels else None,
        travelling=not config.normalised,
        fps=config.fps or float(sequence.dataset_info.get("fps") or 8.0),
        loop=bool(sequence.dataset_info.get("loop", False)),
        dataset=dataset_of(run),
        dataset_frames=sequence.frames,
        tolerance=config.colours.tolerance,
        split_seed=sequence.config.data.split_seed,
        no_alpha=sequence.config.data.no_alpha,
    )
    ply_unit = "normalised" if config.normalised else unit
    for index, name in enumerate(content.names):
        comments = [f"{name}; units: {ply_unit}; +Z up; conventions in export.json"]
        ply = encode_ply(content.placed(index), content.colours(index), comments)
        write_bytes(output / f"{name}.ply", ply)
    together = write_trajectories(
        output / "trajectories.safetensors",
        sequence.frames,
        frames,
        rgb,
        matrix,
        travel if travels else None,
    )
    if not together:
        logger.warning("the number of points changes between frames: no trajectories were written")
    written = write_formats(output, content, config.formats, config.mesh)
    said = describe(config, sequence, matrix, unit, unseen)
    if travels:
        meaning = "how far the object had come in each frame: added to asset positions"
        said["travel"] = {"asset": travel.tolist(), "meaning": meaning}
    write_json(output / "export.json", said | written)
    logger.info("wrote %s to %s", _files(len(frames), together, written.values()), output)


def _files(clouds: int, together: bool, written: Iterable[dict[str, Any]]) -> str:
    """The files of an export in words, folders with a slash."""
    names = ["trajectories.safetensors"] if together else []
    for of_format in written:
        names += [str(of_format["file"])] if "file" in of_format else []
        names += [f"{of_format['folder']}/"] if "folder" in of_format else []
    return ", ".join([f"{clouds} point cloud{'s' if clouds > 1 else ''} (.ply)", *names])


def _coloured(
    config: ExportConfig, sequence: Sequence, run: Path, frames: list[PointRows]
) -> tuple[list[Tensor], list[int], Around]:
    """Colours of the first frame's points, or of every frame's, how many of them no camera sees,
    and the pictures that the first frame's were taken from.
    """
    cameras = export_cameras(config, run)
    same_count = len({len(f.positions) for f in frames}) == 1
    coloured = range(len(frames)) if config.colours.every_frame or not same_count else range(1)
    rgb: list[Tensor] = []
    unseen: list[int] = []
    first: Around | None = None
    with progress_bar(len(coloured), description="colours", unit="frame") as bar:
        for index in coloured:
            around = images_around(sequence, index, cameras, config)
            first = first or around
            colours, count = cloud_colours(
                frames[index], around, sequence.background, config.colours.tolerance
            )
            rgb.append(colours)
            unseen.append(count)
            bar.update()
    assert first is not None
    return rgb, unseen, first


def describe(
    config: ExportConfig,
    sequence: Sequence,
    matrix: np.ndarray,
    unit: str,
    unseen: Items[int],
) -> dict[str, Any]:
    """Content of export.json: what the files hold and in which conventions."""
    return {
        "run": str(config.run),
        "frames": sequence.frames,
        "ply": {
            "units": "normalised" if config.normalised else unit,
            "axes": "right-handed, +Z up; a glTF file's own axes are (x, z, -y) of these",
            "columns": "x y z float32, red green blue uint8, binary little endian",
        },
        "trajectories": {
            "units": "normalised: centred, longest side of the box over all frames is 1",
            "correspondence": "point i is the same point in every frame",
            "world_to_asset": matrix.tolist() if unit == "asset" else None,
            "world_to_dataset": sequence.world.to_dataset().tolist(),
            "meaning": "asset = world_to_asset @ [x, y, z, 1]; the dataset's poses likewise",
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
    travel_in_asset(sequence.dataset_info, sequence.frames)
    camera = export_cameras(config, Path(config.run))[0]
    images = config.colours.views * (len(sequence.frames) if config.colours.every_frame else 1)
    output = config.output or Path(config.run) / "export"
    more = f"also write {', '.join(config.formats)}\n" if config.formats else ""
    return (
        f"write {len(sequence.frames)} point clouds to {output}\n{more}"
        f"render {images} pictures of {camera.width}x{camera.height} for their colours"
    )


def main(argv: Items[str] | None = None) -> int:
    return run_command(ExportConfig, run=export, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

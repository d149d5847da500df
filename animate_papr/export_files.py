"""What ``animate_papr.export`` writes beside point clouds and trajectories, format by format."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animate_papr.formats.gltf import encode_glb
from animate_papr.formats.nerfstudio import write_nerfstudio
from animate_papr.formats.ply import encode_ply
from animate_papr.formats.splats import encode_splats
from animate_papr.formats.tensorboard import write_tensorboard
from animate_papr.formats.trajectories import write_npz
from animate_papr.surface.around import Around
from animate_papr.surface.moving_mesh import MeshConfig, MovingMesh, moving_mesh
from blender_render.imaging.images import to_uint8
from sjc_papr.networks.point_cloud import PointRows
from training_core.files.atomic import write_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Content:
    """An animation, ready to be written.

    Attributes:
        names: of the T frames, as files are called. frames: their points.
        rgb: colours [P, 3] in [0, 1], one set for all frames or one a frame.
        around: images of the first frame from all sides.
        world_to_asset: [4, 4]. world_to_dataset: [4, 4], from the run's world to the one of the
            dataset's poses. to_file: [4, 4], from the run's world to the files' units.
        travel: [T, 3] how far the object had come in each frame, where the dataset was rendered
            going along with it; in the asset's units. travelling: files have it added.
        fps: frames per second. loop: the motion ends where it began.
        dataset: the dataset, or None where it has gone. dataset_frames: its frame folders.
        split_seed, no_alpha: how the run read the dataset, see ``DataConfig``.
        tolerance: by which a vertex may miss the surface seen and be coloured, world units.
    """

    names: list[str]
    frames: list[PointRows]
    rgb: list[Tensor]
    around: Around
    world_to_asset: np.ndarray
    world_to_dataset: np.ndarray
    to_file: np.ndarray
    travel: np.ndarray | None
    travelling: bool
    fps: float
    loop: bool
    dataset: Path | None
    dataset_frames: list[str]
    tolerance: float
    split_seed: int = 0
    no_alpha: str = "refuse"

    def placed(self, index: int) -> np.ndarray:
        """Points [P, 3] of a frame in the files' units, +Z up."""
        placed = self._in_file(self.frames[index].positions.double().numpy())
        return placed if self._way is None else placed + self._way[index]

    def all_placed(self, positions: np.ndarray) -> np.ndarray:
        """Positions [T, N, 3] of all frames, from the run's world to the files' units."""
        placed = self._in_file(positions)
        return placed if self._way is None else placed + self._way[:, None]

    @property
    def _way(self) -> np.ndarray | None:
        """What is added to every frame's positions."""
        return self.travel if self.travelling else None

    def _in_file(self, positions: np.ndarray) -> np.ndarray:
        return np.asarray(positions @ self.to_file[:3, :3].T + self.to_file[:3, 3])

    def colours(self, index: int) -> np.ndarray:
        """Colours [P, 3] uint8 of a frame's points."""
        return to_uint8(self.rgb[index if len(self.rgb) > 1 else 0])

    @property
    def tracked(self) -> bool:
        """Whether point i is the same point in every frame."""
        return len({len(f.positions) for f in self.frames}) == 1

    def shown(self) -> np.ndarray:
        """[P] which points have influence in the first frame: the others colour no image."""
        return np.asarray(self.frames[0].influence.numpy() > 0)


Written = dict[str, Any]


def write_points_glb(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """The points, moving, as one GLB."""
    path, shown = output / "points.glb", content.shown()
    if not content.tracked or not shown.any():
        path.unlink(missing_ok=True)
        return {"missing": "the number of points changes between frames"}
    positions = np.stack([content.placed(i)[shown] for i in range(len(content.frames))])
    data = encode_glb(
        positions,
        content.colours(0)[shown],
        fps=content.fps,
        loop=content.loop,
        name="points",
        frames=content.names,
    )
    write_bytes(path, data)
    return {"file": path.name, "points": int(shown.sum()), "fps": content.fps}


def write_mesh(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """A mesh that moves with the points: one GLB, and one PLY a frame."""
    path = output / "mesh.glb"
    found = _mesh_of(content, mesh)
    if found is None:
        path.unlink(missing_ok=True)
        why = "the number of points changes between frames" if not content.tracked else "no surface"
        return {"missing": why}
    placed = content.all_placed(found.vertices.astype(np.float64))
    data = encode_glb(
        placed,
        found.rgb,
        fps=content.fps,
        triangles=found.triangles,
        loop=content.loop,
        name="mesh",
        frames=content.names,
    )
    write_bytes(path, data)
    (output / "mesh").mkdir(exist_ok=True)
    for name, vertices in zip(content.names, placed, strict=True):
        ply = encode_ply(vertices, found.rgb, (), found.triangles)
        write_bytes(output / "mesh" / f"{name}.ply", ply)
    return {
        "file": path.name,
        "vertices": placed.shape[1],
        "triangles": len(found.triangles),
        "fps": content.fps,
        "mean_distance": found.errors,
        "meaning": "mean distance to the nearest vertex or point, a frame a line; world units, in "
        "which the object's longest side is 1",
    }


def _mesh_of(content: Content, mesh: MeshConfig) -> MovingMesh | None:
    if not content.tracked:
        return None
    positions = torch.stack([f.positions for f in content.frames])
    influence = content.frames[0].influence
    return moving_mesh(content.around, positions, influence, mesh, content.tolerance)


def write_splats(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """Gaussian splats of every frame, each a file of its own."""
    folder = output / "splats"
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(content.names):
        shown = content.frames[index].influence.numpy() > 0
        data = encode_splats(content.placed(index)[shown], content.colours(index)[shown])
        write_bytes(folder / f"{name}.ply", data)
    axes = "(x, -z, y) of the PLY files': +Y down, as splat viewers have it"
    return {"folder": folder.name, "axes": axes, "meaning": "a start from points, not trained"}


def write_arrays(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """Trajectories for ``numpy.load``."""
    path = output / "trajectories.npz"
    if not content.tracked:
        path.unlink(missing_ok=True)
        return {"missing": "the number of points changes between frames"}
    positions = np.stack([f.positions.numpy() for f in content.frames])
    many = len(content.rgb) > 1
    rgb = np.stack([to_uint8(c) for c in content.rgb]) if many else content.colours(0)
    names, matrix = content.dataset_frames, content.world_to_asset
    write_npz(path, names, positions, rgb, matrix, content.travel)
    return {"file": path.name}


def write_dataset(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """Cameras and pictures of every frame as nerfstudio reads them."""
    if content.dataset is None:
        return {"missing": "the dataset is not on this machine"}
    pictures = 0
    for index, (frame, name) in enumerate(zip(content.dataset_frames, content.names, strict=True)):
        positions = content.frames[index].positions.double().numpy()
        positions = positions @ content.world_to_dataset[:3, :3].T + content.world_to_dataset[:3, 3]
        points = encode_ply(positions, content.colours(index))
        target = output / "nerfstudio" / name
        pictures += write_nerfstudio(
            content.dataset, frame, target, points, content.split_seed, content.no_alpha
        )
    return {"folder": "nerfstudio", "pictures": pictures, "units": "the dataset's world"}


def write_events(output: Path, content: Content, mesh: MeshConfig) -> Written:
    """Points and mesh for TensorBoard, in the run's world."""
    found = _mesh_of(content, mesh)
    frames = range(len(content.frames))
    write_tensorboard(
        output / "tensorboard",
        [content.frames[i].positions.numpy() for i in frames],
        [content.colours(i) for i in frames],
        None if found is None else (found.vertices, found.triangles, found.rgb),
    )
    return {"folder": "tensorboard", "units": "the run's world", "mesh": found is not None}


EXTRA_FORMATS: dict[str, Callable[[Path, Content, MeshConfig], Written]] = {
    "points_glb": write_points_glb,
    "mesh": write_mesh,
    "splats": write_splats,
    "npz": write_arrays,
    "nerfstudio": write_dataset,
    "tensorboard": write_events,
}


def write_formats(
    output: Path, content: Content, formats: Sequence[str], mesh: MeshConfig
) -> dict[str, Written]:
    """Write the formats asked for; returns what export.json says of each."""
    said = {}
    for name in formats:
        said[name] = EXTRA_FORMATS[name](output, content, mesh)
        if "missing" in said[name]:
            logger.warning("%s was not written: %s", name, said[name]["missing"])
    return said

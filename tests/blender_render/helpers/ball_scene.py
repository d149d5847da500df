"""A scene of coloured balls, drawn exactly with NumPy, and datasets made from it."""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera, multiview_cameras, sixview_cameras
from blender_render.geometry.pose_checks import stack_poses
from blender_render.imaging.depth import depth_scale_for, encode_depth
from blender_render.imaging.images import encode_png

# Centre, radius, colour. Unsymmetrical in every axis, inside the unit cube.
Ball = tuple[tuple[float, float, float], float, tuple[float, float, float]]
BALLS: tuple[Ball, ...] = (
    ((-0.3, 0.0, -0.1), 0.2, (0.9, 0.2, 0.1)),
    ((0.1, 0.2, 0.05), 0.15, (0.1, 0.8, 0.2)),
    ((0.35, -0.1, 0.2), 0.12, (0.2, 0.3, 0.9)),
)


def moved(shift: Sequence[float], balls: Sequence[Ball] = BALLS) -> tuple[Ball, ...]:
    """All balls shifted."""
    return tuple((tuple(np.add(c, shift)), r, colour) for c, r, colour in balls)


def posed(time: int) -> tuple[Ball, ...]:
    """The balls at an animation frame: the last one rises."""
    centre, radius, colour = BALLS[-1]
    return (*BALLS[:-1], ((centre[0], centre[1], centre[2] + 0.05 * time), radius, colour))


def draw(camera: Camera, balls: Sequence[Ball]) -> tuple[np.ndarray, np.ndarray]:
    """Picture [H, W, 4] uint8 and planar depth [H, W] (0 = nothing), one ray a pixel centre."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack(
        [(x - camera.cx) / camera.fl_x, (camera.cy - y) / camera.fl_y, -np.ones_like(x)], -1
    )
    # Not normalised: one unit along such a ray is one unit of planar depth.
    rays = local @ camera.cam_to_world[:3, :3].T
    depth = np.full(x.shape, np.inf)
    picture = np.zeros((*x.shape, 4))
    for centre, radius, colour in balls:
        offset = camera.position - np.asarray(centre)
        a, b = (rays**2).sum(-1), rays @ offset
        inside = b**2 - a * (offset @ offset - radius**2)
        t = (-b - np.sqrt(np.maximum(inside, 0.0))) / a
        hit = (inside > 0) & (t > 0) & (t < depth)
        depth[hit] = t[hit]
        picture[hit] = (*colour, 1.0)
    return np.rint(picture * 255).astype(np.uint8), np.where(np.isfinite(depth), depth, 0.0)


def unproject(camera: Camera, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Pixels [N, 2] and planar depth [N] → world points [N, 3]; the inverse of ``project``."""
    sides = (pixels - (camera.cx, camera.cy)) / (camera.fl_x, -camera.fl_y)
    local = np.column_stack([sides, -np.ones(len(depth))]) * np.asarray(depth)[:, None]
    return local @ camera.cam_to_world[:3, :3].T + camera.position


def ring_of_cameras(count: int = 16, size: tuple[int, int] = (64, 48)) -> tuple[Camera, ...]:
    """Cameras all around the origin at distance 2.5."""
    return multiview_cameras(count, 2.5, 0.8, size, seed=3)


def shifted(cameras: Sequence[Camera], offset: Sequence[float]) -> list[Camera]:
    """Cameras carried along with an object at ``offset``."""
    poses = stack_poses(cameras).copy()
    poses[:, :3, 3] += offset
    return [replace(c, cam_to_world=p) for c, p in zip(cameras, poses, strict=True)]


Change = Callable[[Camera], Camera]


def write_frame(
    folder: Path,
    balls: Sequence[Ball] = BALLS,
    cameras: Sequence[Camera] | None = None,
    change: Change = lambda camera: camera,
) -> None:
    """A frame folder with 12 train, 1 val and 3 test pictures, the test ones with depth.

    ``change`` alters the cameras that are written, not those that draw.
    """
    cameras = cameras or ring_of_cameras()
    scale = depth_scale_for(10.0)
    for split, first, last in (("train", 4, None), ("val", 3, 4), ("test", 0, 3)):
        chosen = cameras[first:last]
        names = [f"{split}/{fmt.image_name(i)}" for i in range(len(chosen))]
        (folder / split).mkdir(parents=True)
        for camera, name in zip(chosen, names, strict=True):
            picture, depth = draw(camera, balls)
            (folder / f"{name}.png").write_bytes(encode_png(picture))
            if split == "test":
                (folder / f"{name}_depth.png").write_bytes(encode_depth(depth, scale))
        deep = [f"{name}_depth.png" for name in names] if split == "test" else None
        written = [change(camera) for camera in chosen]
        fmt.write_transforms(folder, split, written, names, deep, scale if deep else None)


def write_dataset(folder: Path, frames: int = 2, change: Change = lambda camera: camera) -> Path:
    """A complete multi-view dataset of moving balls."""
    for time in range(frames):
        write_frame(folder / fmt.frame_name(time), posed(time), change=change)
    fmt.write_dataset_info(
        folder,
        {
            "frames": list(range(frames)),
            "resolution": [64, 48],
            "world_to_asset": {"scale": 1.0, "offset": [0.0, 0.0, 0.0]},
        },
    )
    fmt.mark_complete(folder, "balls")
    return folder


def inverted(camera: Camera) -> Camera:
    """The mistake to find: world-to-camera where camera-to-world belongs."""
    return replace(camera, cam_to_world=np.linalg.inv(camera.cam_to_world))


def write_sixview(
    folder: Path, frames: int = 2, size: int = 48, input_size: int | None = None
) -> Path:
    """A complete six-view video of moving balls, rig v1.1."""
    rig = SIXVIEW_RIGS["v1.1"]
    cameras = [rig.camera(0.0, 0.0, input_size or size), *sixview_cameras(rig, size)]
    names = [fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))]
    for camera, name in zip(cameras, names, strict=True):
        (folder / name).mkdir(parents=True)
        for time in range(frames):
            picture, _ = draw(camera, posed(time))
            (folder / name / f"{fmt.image_name(time)}.png").write_bytes(encode_png(picture))
    angles = zip(rig.azimuths_deg, rig.elevations_deg, cameras[1:], strict=True)
    fmt.write_sample_info(
        folder,
        {
            "rig": "v1.1",
            "num_frames": frames,
            "input": {"camera": fmt.camera_dict(cameras[0])},
            "views": [
                {"azimuth_deg": a, "elevation_deg": e, "camera": fmt.camera_dict(c)}
                for a, e, c in angles
            ],
        },
    )
    fmt.mark_complete(folder, "balls")
    return folder


def pack(folder: Path, archive: Path, prefix: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    """A .zip of everything below a folder."""
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return archive


def turn(picture: Path) -> None:
    """Say in EXIF that a picture is stored lying on its side."""
    image = Image.open(picture)
    image.load()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(picture, exif=exif)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))

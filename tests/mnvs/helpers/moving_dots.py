"""Six-view videos that cost nothing to draw: a dot whose colour tells view, frame and dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import SIXVIEW_RIGS, multiview_cameras, sixview_cameras
from blender_render.imaging.images import encode_png
from mnvs.data.dataset import DataConfig, SixViewDataset


def colour(dataset: int, view: int, frame: int) -> tuple[int, int, int]:
    """Of the dot in view 0 … 5 or, as view 6, the input."""
    return 40 * dataset + 20, 30 * view + 20, (12 * frame + 20) % 256


def picture(dataset: int, view: int, frame: int, size: int) -> np.ndarray:
    """[size, size, 4] uint8: a square dot that moves to the right, on nothing."""
    pixels = np.zeros((size, size, 4), np.uint8)
    left = size // 4 + frame % (size // 4)
    pixels[size // 4 : size // 2, left : left + size // 4] = (*colour(dataset, view, frame), 255)
    return pixels


def write_dots(
    folder: Path, frames: int = 6, size: int = 32, dataset: int = 0, fps: float | None = 12.0
) -> Path:
    """A complete six-view video, rig v1.2."""
    rig = SIXVIEW_RIGS["v1.2"]
    cameras = [*sixview_cameras(rig, size), rig.camera(0.0, 0.0, size)]
    names = [*(fmt.view_folder(i) for i in range(6)), fmt.INPUT_FOLDER]
    for view, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for frame in range(frames):
            data = encode_png(picture(dataset, view, frame, size))
            (folder / name / f"{fmt.image_name(frame)}.png").write_bytes(data)
    views = [
        {"azimuth_deg": a, "elevation_deg": e, "camera": fmt.camera_dict(c)}
        for a, e, c in zip(rig.azimuths_deg, rig.elevations_deg, cameras[:6], strict=True)
    ]
    info = {"rig": "v1.2", "num_frames": frames, "views": views}
    info["input"] = {"camera": fmt.camera_dict(cameras[6])}
    fmt.write_sample_info(folder, info | ({} if fps is None else {"fps": fps}))
    fmt.mark_complete(folder, "dots")
    return folder


def dots_dataset(
    paths: Sequence[Path],
    *,
    batch: int = 1,
    seed: int = 0,
    memory_bytes: int = 1 << 29,
    **clip: Any,
) -> SixViewDataset:
    """Clips of such videos, with all their input images, of the views' size, where not said."""
    sizes = {"condition_size": clip["view_size"], "condition": "video"}
    config = DataConfig(**sizes | clip)
    return SixViewDataset(paths, config, batch=batch, seed=seed, memory_bytes=memory_bytes)


def write_multiview(folder: Path, frames: int = 2, size: int = 32) -> Path:
    """A complete multi-view dataset of dots: 3 train, 1 val and 2 test views a frame."""
    cameras = multiview_cameras(6, 2.5, 0.8, (size, size), seed=1)
    for frame in range(frames):
        inside = folder / fmt.frame_name(frame)
        for split, chosen in (("train", cameras[:3]), ("val", cameras[3:4]), ("test", cameras[4:])):
            (inside / split).mkdir(parents=True)
            names = [f"{split}/{fmt.image_name(i)}" for i in range(len(chosen))]
            for view, name in enumerate(names):
                data = encode_png(picture(0, view, frame, size))
                (inside / f"{name}.png").write_bytes(data)
            fmt.write_transforms(inside, split, chosen, names)
    info = {"frames": list(range(frames)), "resolution": [size, size]}
    world = {"scale": 1.0, "offset": [0.0, 0.0, 0.0]}
    fmt.write_dataset_info(folder, info | {"world_to_asset": world})
    fmt.mark_complete(folder, "dots")
    return folder

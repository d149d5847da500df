"""Writing six-view videos as datasets, for the importer and the generator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import SixViewRig, sixview_cameras
from blender_render.imaging.images import encode_png, to_uint8
from training_core.files.atomic import naming, new_directory


def write_sixview_dataset(
    target: Path,
    *,
    inputs: Tensor,
    views: Tensor,
    rig: SixViewRig,
    rig_name: str,
    fps: float,
    config_hash: str,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write `sample.json`, the images and the completion marker; the folder appears whole.

    Args:
        target: must not exist, or be an empty folder.
        inputs: [T, 4, S, S], straight-alpha RGBA in [0, 1], the input view of each frame.
        views: [T, 6, 4, H, H], in tile order.
        rig: whose cameras are written; the views may differ in size from the inputs.
        config_hash: of what the dataset was made from, for its marker.
        info: further keys of `sample.json`.

    Raises:
        InputError: the target holds something.
        ValueError: shapes that are not as above.
    """
    frames = len(inputs)
    square = inputs.shape[-1] == inputs.shape[-2] and views.shape[-1] == views.shape[-2]
    if views.shape[:3] != (frames, 6, 4) or inputs.shape[1] != 4 or not square:
        raise ValueError(f"inputs {list(inputs.shape)} and views {list(views.shape)} do not fit")
    with new_directory(target) as work:
        _write_images(work / fmt.INPUT_FOLDER, inputs)
        for index in range(6):
            _write_images(work / fmt.view_folder(index), views[:, index])
        cameras = _cameras(rig, inputs.shape[-1], views.shape[-1])
        written = {"rig": rig_name, "num_frames": frames, "fps": fps, "resolution": views.shape[-1]}
        fmt.write_sample_info(work, written | cameras | dict(info or {}))
        fmt.mark_complete(work, config_hash)


def _cameras(rig: SixViewRig, input_size: int, view_size: int) -> dict[str, Any]:
    """The entries of `sample.json` for the input's camera and the six others."""
    first = rig.camera(0.0, 0.0, input_size)
    cameras = sixview_cameras(rig, view_size)
    angles = zip(rig.azimuths_deg, rig.elevations_deg, cameras, strict=True)
    return {
        "input": {"elevation_deg": 0.0, "camera": fmt.camera_dict(first)},
        "views": [
            {"azimuth_deg": a, "elevation_deg": e, "camera": fmt.camera_dict(c)}
            for a, e, c in angles
        ],
    }


def _write_images(folder: Path, images: Tensor) -> None:
    """[T, 4, H, W] in [0, 1] as 000.png, 001.png, …"""
    folder.mkdir(parents=True)
    for time, image in enumerate(to_uint8(images.float().movedim(1, -1).cpu())):
        path = folder / f"{fmt.image_name(time)}.png"
        with naming(path):
            path.write_bytes(encode_png(image, compress_level=4))

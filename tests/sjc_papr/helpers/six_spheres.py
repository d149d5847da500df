"""Six views of a coloured sphere with depth, drawn with NumPy, in the rig of the depth network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_scene import DEPTH_SCALE, Centre, draw_sphere
from torch import nn

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera, sixview_cameras
from blender_render.imaging.depth import encode_depth
from blender_render.imaging.images import encode_png
from sjc_papr.feed_forward.network import DepthNetwork, DepthNetworkConfig

SIDE = 24
TINY = DepthNetworkConfig(
    size=16, guesses=[0.0, 0.05, 0.1], widths=[8, 8, 16], coarse_blocks=1, heads=2
)


def rig(side: int = SIDE) -> tuple[Camera, ...]:
    """Rig v1.2: the sphere is whole in every picture."""
    return sixview_cameras(SIXVIEW_RIGS["v1.2"], side)


def six_views(centre: Centre = (0.0, 0.0, 0.0), side: int = SIDE) -> Views:
    """The sphere of ``tiny_scene`` with its true depth."""
    cameras = rig(side)
    drawn = [draw_sphere(camera, centre) for camera in cameras]
    images = torch.tensor(np.stack([picture for picture, _ in drawn]), dtype=torch.float32)
    depth = torch.tensor(np.stack([depth for _, depth in drawn]), dtype=torch.float32)
    return Views(images, cameras, depth, tuple(f"view_{i}/000" for i in range(6)))


def write_six(folder: Path, asset: str, depth: bool = True, **info: Any) -> Path:
    """A complete six-view video of two moments, the second with the sphere a little higher."""
    model = SIXVIEW_RIGS["v1.2"]
    cameras = [model.camera(0.0, 0.0, SIDE), *rig()]
    names = [fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))]
    for camera, name in zip(cameras, names, strict=True):
        (folder / name).mkdir(parents=True)
        for time in range(2):
            picture, planar = draw_sphere(camera, (0.0, 0.0, 0.05 * time))
            pixels = np.rint(picture * 255.0).astype(np.uint8)
            stem = fmt.image_name(time)
            (folder / name / f"{stem}.png").write_bytes(encode_png(pixels))
            if depth:
                encoded = encode_depth(planar, DEPTH_SCALE)
                (folder / name / f"{stem}_depth.png").write_bytes(encoded)
    entries = [{"camera": fmt.camera_dict(camera)} for camera in cameras]
    content = {"rig": "v1.2", "num_frames": 2, "input": entries[0], "views": entries[1:]}
    content |= {"asset_sha256": asset, "depth_scale": DEPTH_SCALE} if depth else {}
    content |= info
    fmt.write_sample_info(folder, content)
    fmt.mark_complete(folder, "sphere")
    return folder


def random_network(seed: int = 0) -> DepthNetwork:
    """A tiny network that says something, of all six views: new ones answer with the hull."""
    torch.manual_seed(seed)
    network = DepthNetwork(TINY)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)
    return network.eval()

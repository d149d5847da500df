"""A sphere seen by six cameras and by others, and view networks that train in seconds."""

from pathlib import Path
from typing import Any

import torch
from six_spheres import rig, six_views, write_six
from tiny_scene import write_frame
from torch import nn

from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import Camera, multiview_cameras
from sjc_papr.pseudo_views.depth_views import DepthViews
from sjc_papr.pseudo_views.network import ViewNetwork, ViewNetworkConfig

SIDE = 32
TINY_VIEWS = ViewNetworkConfig(size=SIDE, widths=[8, 8, 8, 8])
WORLD = {"scale": 1.0, "offset": [0.0, 0.0, 0.0]}


def known_views(side: int = SIDE, error: float = 0.005) -> DepthViews:
    """Six views with their true depth."""
    views = six_views(side=side)
    assert views.depth is not None
    shown = views.depth > 0
    return DepthViews(views.images, views.cameras, views.depth, torch.where(shown, error, 0.0))


def other_cameras(count: int = 4, side: int = SIDE, seed: int = 3) -> tuple[Camera, ...]:
    """From the distance of the rig, with its lens."""
    distance = float(sum(rig(side)[0].position ** 2) ** 0.5)
    return multiview_cameras(count, distance, rig(side)[0].camera_angle_x, (side, side), seed=seed)


def write_pair(folder: Path, name: str, asset: str, **info: Any) -> None:
    """A six-view video (below ``six``) and a multi-view dataset (below ``views``) of the same two
    moments; ``info`` is what the latter says otherwise.
    """
    said: dict[str, Any] = {"frames": [0.0, 1.0], "world_to_asset": WORLD, "action": "rise"}
    write_six(folder / "six" / name, asset, **said)
    dataset = folder / "views" / name
    for time in range(2):
        write_frame(dataset / fmt.frame_name(time), (0.0, 0.0, 0.05 * time))
    said |= {"asset_sha256": asset, "resolution": [20, 16], **info}
    fmt.write_dataset_info(dataset, said)
    fmt.mark_complete(dataset, "sphere")


def random_views_network(seed: int = 0) -> ViewNetwork:
    """A tiny network whose corrections are not nothing, as a new one's are."""
    torch.manual_seed(seed)
    network = ViewNetwork(TINY_VIEWS)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.05)
    return network.eval()

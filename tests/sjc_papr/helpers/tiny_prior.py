"""A prior of a few thousand parameters that sees 16 pixels, and cameras to ask it about."""

import torch

from blender_render.geometry.cameras import Camera, look_at, spherical
from sjc_papr.prior.network import PriorNetwork, PriorNetworkConfig

NETWORK = PriorNetworkConfig(size=16, patch=4, width=16, multipliers=[1, 2], heads=2)


def camera(azimuth: float, elevation: float, size: int = 16, radius: float = 2.5) -> Camera:
    return Camera.from_angle_x(look_at(spherical(azimuth, elevation, radius)), size, size, 0.6)


def awake(config: PriorNetworkConfig = NETWORK) -> PriorNetwork:
    """A network whose layers that start at zero, so as to do nothing, do something."""
    network = PriorNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return network

"""Pseudo-views: pictures of other sides of six views' object, as the network makes them."""

import logging

import numpy as np
import torch

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import multiview_cameras
from blender_render.imaging.resize import resize_rgba
from sjc_papr.feed_forward.network import DepthNetwork
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.pseudo_views.config import PseudoViewsConfig
from sjc_papr.pseudo_views.depth_views import guessed_views, require_six
from sjc_papr.pseudo_views.gathering import gather
from sjc_papr.pseudo_views.network import ViewNetwork, spread_out
from sjc_papr.pseudo_views.network_files import VIEW_FILES

logger = logging.getLogger(__name__)


def check_pseudo(config: PseudoViewsConfig, views: Views) -> None:
    """Whether pseudo-views of ``views`` can be made, before any work.

    Raises:
        ConfigError: a network that is not there, or no six views of a rig. InputError: a network
            whose files are damaged.
    """
    if config.on:
        require_six(views)
        VIEW_FILES.read(config.network), DEPTH_FILES.read(config.depth_network)


def describe_pseudo(config: PseudoViewsConfig) -> list[str]:
    """A line for the plan; none where no pseudo-views are made."""
    if not config.on:
        return []
    return [f"{config.count} pseudo-views from the six, {config.share:.0%} of the patches"]


def pseudo_views(config: PseudoViewsConfig, views: Views) -> Views | None:
    """What a run is to learn from beside ``views``; None where that is nothing. Raises what
    ``check_pseudo`` raises.
    """
    if not config.on:
        return None
    network, depth_network = VIEW_FILES.read(config.network), DEPTH_FILES.read(config.depth_network)
    return imagine_views(network, depth_network, views, config.count)


@torch.no_grad()
def imagine_views(
    network: ViewNetwork, depth_network: DepthNetwork, views: Views, count: int
) -> Views:
    """``count`` pictures from directions spread evenly over the sphere.

    Args:
        views: six pictures of a rig. The new cameras stand as far away, with the same lens.

    Returns:
        Views of the same resolution as ``views``, without depth.

    Raises:
        ConfigError: see ``require_six``.
    """
    size, side = network.config.size, views.images.shape[1]
    known = guessed_views(depth_network, views, size)
    radius = float(np.mean([np.linalg.norm(camera.position) for camera in known.cameras]))
    cameras = multiview_cameras(count, radius, known.cameras[0].camera_angle_x, (size, size))
    pictures = []
    for camera in cameras:
        picture = network(spread_out(gather(known, camera), size))[0].permute(1, 2, 0)
        pictures.append(resize_rgba(picture.clamp(0.0, 1.0), side, side))
    logger.info("%d pseudo-views from %d pictures", count, len(views))
    names = tuple(f"pseudo/{number:03d}" for number in range(count))
    cameras = tuple(camera.resized(side, side) for camera in cameras)
    return Views(torch.stack(pictures), cameras, None, names)

"""Pseudo-views: pictures of other sides of six views' object, as the network makes them."""

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
from training_core.config import ConfigError
from training_core.files import atomic
from training_core.files.digests import sha256_of
from training_core.files.json_files import read_json

logger = logging.getLogger(__name__)


NETWORKS_FILE = "pseudo_networks.json"
# Less than that of the area that the pictures show means that the hull of their outlines is torn.
_LEAST_COVERED = 0.7


def check_pseudo(config: PseudoViewsConfig, views: Views) -> None:
    """Whether pseudo-views of ``views`` can be made, before any work.

    Raises:
        ConfigError: a network that is not there, or no six views of a rig. InputError: a network
            whose files are damaged.
    """
    if config.on:
        require_six(views)
        VIEW_FILES.read(config.network), DEPTH_FILES.read(config.depth_network)


def keep_networks(config: PseudoViewsConfig, run: Path) -> None:
    """Record in a run's folder which networks make its pseudo-views: they are made anew whenever
    the run is continued, and must be the same.

    Raises:
        ConfigError: the run was begun with others.
    """
    if not config.on:
        return
    files = [
        VIEW_FILES.place(config.network) / VIEW_FILES.weights_file,
        DEPTH_FILES.place(config.depth_network) / DEPTH_FILES.weights_file,
    ]
    now, path = {file.name: sha256_of(file) for file in files}, run / NETWORKS_FILE
    if not path.is_file():
        atomic.write_json(path, now)
    elif read_json(path) != now:
        raise ConfigError(
            f"{run} was begun with other pseudo-view networks than {files[0]} and {files[1]}; give "
            "those, or start anew with resume=never"
        )


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
        pictures.append(_at_side(picture.clamp(0.0, 1.0), side))
    images = torch.stack(pictures)
    covered = images[..., 3].mean().item(), views.images[..., 3].mean().item()
    if covered[0] < _LEAST_COVERED * covered[1]:
        logger.warning(
            "pseudo-views show %.0f %% of what the pictures cover: their outlines do not agree "
            "with each other",
            100.0 * covered[0] / covered[1],
        )
    logger.info("%d pseudo-views from %d pictures", count, len(views))
    names = tuple(f"pseudo/{number:03d}" for number in range(count))
    cameras = tuple(camera.resized(side, side) for camera in cameras)
    return Views(images, cameras, None, names)


def _at_side(picture: Tensor, side: int) -> Tensor:
    """Straight RGBA [S, S, 4] with sides of ``side`` pixels, without steps where it is enlarged."""
    if side <= picture.shape[0]:
        return resize_rgba(picture, side, side)
    premultiplied = torch.cat([picture[..., :3] * picture[..., 3:], picture[..., 3:]], dim=-1)
    larger = F.interpolate(
        premultiplied.permute(2, 0, 1)[None], (side, side), mode="bilinear", align_corners=False
    )[0].permute(1, 2, 0)
    alpha = larger[..., 3:]
    return torch.cat([larger[..., :3] / alpha.clamp_min(1e-6), alpha], dim=-1)

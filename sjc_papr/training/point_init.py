"""Where points start."""

import logging

import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.object_box import Box, object_box
from blender_render.geometry.visual_hull import Hull, carve
from sjc_papr.data.seen_colours import seen_colours
from sjc_papr.feed_forward.guess import guess_depth
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.feed_forward.start import carve_by_depth, consistent_points, evenly, far_from
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.networks.rays import camera_rays
from sjc_papr.training.config import PointsConfig
from training_core.config import InputError

logger = logging.getLogger(__name__)

# The object's bounding box has longest side 1 around the origin; other people's scenes are about
# that size. Of what lies elsewhere, cameras and masks tell where.
_SEARCH_HALF_WIDTHS = (0.65, 1.5)


def initial_points(views: Views, config: PointsConfig, features: int, seed: int) -> PointRows:
    """Start values of a cloud for these training images.

    Raises:
        InputError: no place for points can be found, or depth is asked for and absent.
    """
    generator = torch.Generator().manual_seed(seed)
    if config.init == "cube":
        cube = torch.rand(config.count, 3, generator=generator) * 2.0 - 1.0
        positions = cube * config.cube_half_width
    elif config.init == "depth":
        positions = _from_depth(views, config.count, generator)
    elif config.init == "network":
        positions = _from_network(views, config, generator)
    else:
        positions = _from_hull(views, config, generator)
    count = positions.shape[0]
    values = torch.randn(count, features, generator=generator)
    if config.colours:
        values[:, :3] = (seen_colours(positions, views)[:, :features] - 0.5) * config.colours
    return PointRows(positions, torch.full((count,), config.influence), values)


def _from_hull(views: Views, config: PointsConfig, generator: torch.Generator) -> Tensor:
    """Points on the surface of the visual hull, some inside, spread by random offsets in a
    voxel.
    """
    hull = visual_hull(views, config.hull_resolution)
    surface = _on_surface(hull.points, hull.voxel_size)
    inside = round(config.count * config.hull_interior)
    chosen = torch.cat(
        [
            _pick(hull.points[surface], config.count - inside, generator),
            _pick(hull.points, inside, generator),
        ]
    )
    jitter = torch.rand(chosen.shape, generator=generator) - 0.5
    return chosen + jitter * hull.voxel_size


def _from_network(views: Views, config: PointsConfig, generator: torch.Generator) -> Tensor:
    """Points of the six views' guessed depth; where no view saw any, the surface of what these
    depths leave of the visual hull.
    """
    guess = guess_depth(DEPTH_FILES.read(config.network), views)
    seen, error = consistent_points(views, guess)
    hull = visual_hull(views, config.hull_resolution)
    solid = hull.points[carve_by_depth(hull.points, views.cameras, guess)]
    unseen = solid[:0]
    if len(solid):
        unseen = solid[_on_surface(solid, hull.voxel_size)]
        unseen = unseen[far_from(unseen, seen, config.fill_distance)]
    jitter = torch.rand(unseen.shape, generator=generator) - 0.5
    unseen = unseen + jitter * hull.voxel_size
    logger.info("depth network: %d points seen, %d filled in", len(seen), len(unseen))
    # A guess of the network, however unsure, is worth more than the hull.
    error = torch.cat([error, torch.full((len(unseen),), torch.inf)])
    return evenly(torch.cat([seen, unseen]), config.count, generator, error)


def visual_hull(views: Views, resolution: int) -> Hull:
    """The hull of the masks, with ``resolution`` voxels along its longest side.

    Raises:
        InputError: there is none.
    """
    masks = views.images[..., 3]
    if len(views) < 2:
        raise InputError(
            f"{_what(views)}: one training picture has no visual hull; give pictures from other "
            "sides, or set points.init=cube"
        )
    if bool((masks >= 0.5).all()):
        raise InputError(
            f"{_what(views)}: no training picture has an outline, all of it is object "
            "(data.background=opaque?): there is no visual hull; set points.init=cube"
        )
    # Where the object fills the images, the corners of the searched box are in few of them; what
    # few images show is carved by few, and most points would start in empty space.
    enough = max(2, len(views) // 2)
    box: Box | None = None
    for half in _SEARCH_HALF_WIDTHS:
        bounds = ([-half] * 3, [half] * 3)
        hull = carve(masks, views.cameras, resolution // 2, bounds, min_views=enough)
        if len(hull.points) == 0:
            continue
        low, high = hull.extent()
        margin = 2.0 * hull.voxel_size
        box = (low - margin, high + margin)
        if (abs(low) < half * 0.99).all() and (abs(high) < half * 0.99).all():
            break
    else:
        # Nothing, or cut off by the searched box: the object is elsewhere, or larger.
        box = object_box(masks, views.cameras) or box
    if box is not None:
        hull = carve(masks, views.cameras, resolution, box, min_views=enough)
    if len(hull.points) == 0:
        raise InputError(_why_no_hull(views))
    logger.info("visual hull: %d voxels of %.4f units", len(hull.points), hull.voxel_size)
    return hull


def _why_no_hull(views: Views) -> str:
    places = {tuple(camera.position.round(6)) for camera in views.cameras}
    if len(places) < 3:
        return (
            f"{_what(views)}: {len(views)} training pictures from {len(places)} different places "
            "have no visual hull; give pictures from more sides (python -m blender_render.validate "
            "looks at the poses), or set points.init=cube"
        )
    return (
        f"{_what(views)}: the masks of the training pictures have no visual hull: poses and "
        "pictures do not belong together (try: python -m blender_render.validate), or set "
        "points.init=cube"
    )


def _what(views: Views) -> str:
    return views.names[0] if len(views) == 1 else f"{views.names[0]} to {views.names[-1]}"


def _on_surface(points: Tensor, voxel: float) -> Tensor:
    """Bool [N]: voxels with at least one empty neighbour among six."""
    cells = torch.round((points - points.amin(0)) / voxel).long() + 1
    size = (cells.amax(0) + 2).tolist()
    full = torch.zeros(size, dtype=torch.bool)
    full[cells[:, 0], cells[:, 1], cells[:, 2]] = True
    neighbours = torch.ones_like(full)
    for axis in range(3):
        for shift in (1, -1):
            neighbours &= full.roll(shift, axis)
    return ~neighbours[cells[:, 0], cells[:, 1], cells[:, 2]]


def _pick(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` rows, each as often as any other (one more or less)."""
    rounds = [torch.randperm(len(points), generator=generator)]
    while sum(map(len, rounds)) < count:
        rounds.append(torch.randperm(len(points), generator=generator))
    return points[torch.cat(rounds)[:count]]


def _from_depth(views: Views, count: int, generator: torch.Generator) -> Tensor:
    """Random surface pixels of the depth images, lifted into the world."""
    if views.depth is None:
        raise InputError("points.init=depth, but the training pictures come without depth")
    lifted = []
    for camera, depth in zip(views.cameras, views.depth, strict=True):
        rays = camera_rays(camera)
        seen = depth > 0.0
        directions = rays.directions[0][seen]
        along = depth[seen].unsqueeze(-1) / (directions @ rays.forward[0]).unsqueeze(-1)
        lifted.append(rays.origins + directions * along)
    surface = torch.cat(lifted)
    if len(surface) == 0:
        raise InputError("points.init=depth, but no depth picture shows a surface")
    return _pick(surface, count, generator)

"""One training picture that shows something else than the others: found by its outline, and drawn
anew from what the others show.

Generators now and then turn an object the wrong way in one of their views. Left alone, it carves
away what all others show. Networks that know six views alone are given the new picture in its
place; the model learns nothing from it.
"""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.data.eyes import Eye
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.outlines import (
    LOOKUPS,
    WORTH_MOVING,
    find_placement,
    signed_distance,
    with_agreeing_outlines,
)
from sjc_papr.data.seen_colours import seen_colours
from sjc_papr.data.view_corrections import CorrectionsConfig
from sjc_papr.data.world import World

logger = logging.getLogger(__name__)

# Fewer views than that have a hull too loose to tell which of them is wrong; of more, one hardly
# counts, and leaving out each takes long.
_LEAST_VIEWS, _MOST_VIEWS = 5, 12
# What the others' gap must be smaller than, beside the next best choice.
_CLEARLY = 0.5
_DEPTHS = 128
# Rays enough to choose by; see ``OutlineGaps``.
_LOOKUPS = LOOKUPS // 4


def find_odd_view(views: Views) -> int | None:
    """The view without which all outlines agree; None where they agree with it, where they do not
    without any one, or where it is not clear which.

    Agreeing means: after they were moved, see ``find_placement``.
    """
    count = len(views)
    if not _LEAST_VIEWS <= count <= _MOST_VIEWS or _gap(views) < WORTH_MOVING:
        return None
    rest = [_gap(pick_views(views, _without(count, odd))) for odd in range(count)]
    best, second = sorted(rest)[:2]
    if best >= WORTH_MOVING or best >= _CLEARLY * second:
        return None
    return rest.index(best)


def _gap(views: Views) -> float:
    return find_placement(views.images[..., 3], views.cameras, _LOOKUPS).gap


def _without(count: int, odd: int) -> list[int]:
    return [view for view in range(count) if view != odd]


def shown_by_others(views: Views, odd: int, reach: float = 0.87) -> Tensor:
    """What a camera would see by the other views: their visual hull, in the mean of the colours in
    which they show its surface; straight RGBA [H, W, 4].

    Args:
        reach: nothing lies farther from the origin, world units.
    """
    others = pick_views(views, _without(len(views), odd))
    eye = Eye.of(views.cameras[odd])
    far = float(eye.origin.norm())
    depths = torch.linspace(far - reach, far + reach, _DEPTHS)
    points = eye.origin + depths[:, None] * eye.toward.flatten(0, 1)[:, None]
    inside = torch.full(points.shape[:2], torch.inf)
    for image, camera in zip(others.images, others.cameras, strict=True):
        distance = signed_distance(image[..., 3])
        inside = torch.minimum(inside, Eye.of(camera).look_up(distance, points, -_DEPTHS))
    alpha = (inside.amax(dim=1) + 0.5).clamp(0.0, 1.0)
    shown = alpha > 0
    # The first point that all cover; where none is covered, the one that lacks least.
    whole = inside >= 0
    first = torch.where(whole.any(dim=1), whole.float().argmax(dim=1), inside.argmax(dim=1))
    surface = points[torch.arange(len(points)), first]
    picture = torch.zeros(len(points), 4)
    picture[:, 3] = alpha
    picture[shown, :3] = seen_colours(surface[shown], others)
    return picture.reshape(*views.images.shape[1:3], 4)


def with_odd_view_redrawn(views: Views) -> Views:
    """The views, an odd one drawn from the others, which are moved first if need be; the same
    object where none is odd. Depth is not kept.
    """
    odd = find_odd_view(views)
    if odd is None:
        return views
    logger.warning(
        "%s does not show what the other %d views show: drawn anew from these",
        views.names[odd],
        len(views) - 1,
    )
    images, kept = views.images.clone(), _without(len(views), odd)
    images[kept] = with_agreeing_outlines(pick_views(views, kept)).images
    images[odd] = shown_by_others(replace(views, images=images), odd)
    return replace(views, images=images, depth=None, redrawn=(odd,))


def views_to_train(views: Views, world: World, corrections: CorrectionsConfig) -> Views:
    """Training views of the dataset as a run learns from them: in its world, and mended where that
    is asked for and needed.
    """
    views = world.views(views)
    if corrections.odd_view:
        views = with_odd_view_redrawn(views)
    return with_agreeing_outlines(views) if corrections.outlines else views

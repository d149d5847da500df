"""One training picture that shows something else than the others: found by its outline, and drawn
anew from what the others show.

Generators now and then turn an object the wrong way in one of their views. Left alone, it carves
away what all others show. What needs all views (networks that take exactly six, the alignment of
later frames) is given the new picture in its place; PAPR cuts no patch from it.
"""

from dataclasses import replace

import torch
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.data.eyes import Eye
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.outline_gaps import LOOKUPS, reach_of, signed_distance
from sjc_papr.data.placement import WORTH_MOVING, Placement, find_placement
from sjc_papr.data.seen_colours import seen_colours

# The hull of fewer views is too loose to tell which of them is wrong. Among more, a wrong one does
# little harm, and leaving out each in turn takes long.
_LEAST_VIEWS, _MOST_VIEWS = 5, 12
# How much smaller the gap without the odd view must be than without any other.
_CLEARLY = 0.5
# Gap in pixels that is left after moving, from which one view is suspected. Moved renders of one
# object have 0.01 to 0.05; moves alone can bring a mirrored picture to 0.07.
_SUSPICIOUS = 0.06
_DEPTHS = 128
# Rays enough to choose by; see ``OutlineGaps``.
_LOOKUPS = LOOKUPS // 4
# Pixels that are drawn at once: 100 MB.
_PIXELS = 16_384


def find_odd_view(views: Views) -> int | None:
    """The view without which all others agree; None where they agree with it, where they do not
    without any one, or where it is not clear which.

    They may have to be moved to agree, see ``find_placement``; where only one view's absence spares
    them that, it is that one.
    """
    count = len(views)
    if not _LEAST_VIEWS <= count <= _MOST_VIEWS or (gap := _placement(views).gap) < _SUSPICIOUS:
        return None
    rest = [_placement(pick_views(views, without(count, odd))) for odd in range(count)]
    agreeing = [odd for odd, others in enumerate(rest) if not others.needed]
    if len(agreeing) == 1:
        return agreeing[0]
    gaps = [others.gap for others in rest]
    best, second = sorted(gaps)[:2]
    clear = best < WORTH_MOVING and best < _CLEARLY * min(second, gap)
    return gaps.index(best) if clear else None


def _placement(views: Views) -> Placement:
    return find_placement(views.images[..., 3], views.cameras, _LOOKUPS)


def without(count: int, odd: int | None) -> list[int]:
    """Numbers below ``count`` but ``odd``."""
    return [view for view in range(count) if view != odd]


def shown_by_others(views: Views, odd: int) -> Tensor:
    """What a camera would see by the other views: their visual hull, in the mean of the colours in
    which they show its surface; straight RGBA [H, W, 4].
    """
    others = pick_views(views, without(len(views), odd))
    eye, eyes = Eye.of(views.cameras[odd]), [Eye.of(camera) for camera in others.cameras]
    distances = [signed_distance(image[..., 3]) for image in others.images]
    reach, far = reach_of(eyes, torch.stack(distances) > 0), float(eye.origin.norm())
    depths = torch.linspace(max(far - reach, 1e-3), far + reach, _DEPTHS)[:, None]
    alphas, surfaces = [], []
    for toward in eye.toward.flatten(0, 1).split(_PIXELS):
        points = eye.origin + depths * toward[:, None]
        inside = torch.full(points.shape[:2], torch.inf)
        for distance, other in zip(distances, eyes, strict=True):
            inside = torch.minimum(inside, other.look_up(distance, points, -_DEPTHS))
        # The first point that all cover; where none is covered, the one that lacks least.
        whole = inside >= 0
        first = torch.where(whole.any(dim=1), whole.float().argmax(dim=1), inside.argmax(dim=1))
        alphas.append((inside.amax(dim=1) + 0.5).clamp(0.0, 1.0))
        surfaces.append(points[torch.arange(len(points)), first])
    alpha, surface = torch.cat(alphas), torch.cat(surfaces)
    picture = torch.zeros(len(alpha), 4)
    picture[:, 3] = alpha
    picture[alpha > 0, :3] = seen_colours(surface[alpha > 0], others)
    return picture.reshape(*views.images.shape[1:3], 4)


def redrawn(views: Views, odd: int) -> Views:
    """The views, picture ``odd`` made out of the others; where there is depth, it has none."""
    images = views.images.clone()
    images[odd] = shown_by_others(views, odd)
    depth = views.depth
    if depth is not None:
        depth = depth.clone()
        depth[odd] = 0.0
    return replace(views, images=images, depth=depth, redrawn=(odd,))

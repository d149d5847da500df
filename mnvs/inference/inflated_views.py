"""Six views of a picture or video by inflating its silhouette: no networks, nothing random."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blender_render.geometry.cameras import (
    SIXVIEW_RIGS,
    Camera,
    SixViewRig,
    multiview_cameras,
    sixview_cameras,
)
from mnvs.data.multiview_writer import SplitViews
from mnvs.data.tiles import pack_tile
from mnvs.encoders.vae_scaling import on_grey
from mnvs.footage.image_transforms import resize, square_rgba
from mnvs.inference.result import Generated
from mnvs.inflation.crop import cut_camera, cut_out, object_square
from mnvs.inflation.frustum import Frustum, Part, Volume, bounded, camera_rays, render
from mnvs.inflation.inflate import inflate
from mnvs.inflation.limbs import find_limbs
from mnvs.inflation.motion import (
    MOTIONS,
    Body,
    Joint,
    limb_sources,
    source_of,
    walks_on,
)
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option
from training_core.metrics_log import progress_bar
from training_core.stopping import StopSignals

RIG, VIEW_SIZE = "v1.2", 128
# Further views to be judged by, and the elevations of all of them.
_HELD_OUT, _BAND_DEG = 6, (-50.0, 80.0)
# Side of the volume, and the share of it that the object takes.
_SIDE, _FILL = 128, 0.9
_SAMPLES = 96
_RAYS_AT_ONCE = 8192


@dataclasses.dataclass
class InflateConfig:
    size: float = option(
        0.8,
        "longer side of what the picture shows, the object's longest side being 1; a six-view "
        "dataset knows its own",
    )
    thickness: float = option(0.7, "factor on the roundness; 1 = as thick as wide")
    motion: str = option("walk", "how what one picture shows moves, in a loop", choices=MOTIONS)
    strength: float = option(1.0, "factor on that motion")
    around: int = option(
        13,
        "further views of the body, evenly around it, written as a dataset of frame folders with "
        "the six, the input view, and six held-out ones; 0 = no such dataset",
    )

    def validate(self) -> None:
        """Raises ValueError on numbers out of range."""
        positive(size=self.size, thickness=self.thickness)
        in_unit_interval(size=self.size)
        at_least(0, strength=self.strength, around=self.around)


def inflate_footage(
    images: Tensor, frames: int, view_size: int, config: InflateConfig, *, framed: bool
) -> Generated:
    """Six views of each frame, and further ones.

    Args:
        images: [T, 4, H, W], straight-alpha RGBA in [0, 1]; one for a motion from the list.
        frames: to make of one image. view_size: in pixels; 0 = 128.
        framed: the images are as the rig's input camera takes them.

    Raises:
        InputError: nothing is shown. Stopped: by a signal, after a view; nothing is kept.
    """
    images = square_rgba(images, recentre=0.0 if framed else config.size)
    rig, size = SIXVIEW_RIGS[RIG], view_size or VIEW_SIZE
    count = frames if len(images) == 1 else len(images)
    six, other = sixview_cameras(rig, size), _around(rig, size, config.around)
    test = _around(rig, size, _HELD_OUT if other else 0, seed=1)
    seen = _renders(images, count, (*six, *other, *test), rig, config)
    shown = resize(images, size)
    if other:
        # What is known is better than what the body looks like: the input view is the first.
        seen[: len(shown), 6] = shown
    shown = shown.expand(count, -1, -1, -1) if len(images) == 1 else shown
    known = len(six) + len(other)
    around = {
        "train": SplitViews(seen[:, :known], (*six, *other)),
        "test": SplitViews(seen[:, known:], test),
    }
    views = seen[:, :6]
    tiles = pack_tile(on_grey(views.movedim(2, -1)))
    return Generated(shown, views, tiles, RIG, "of the body", around if other else {})


def _around(rig: SixViewRig, size: int, count: int, seed: int = 0) -> tuple[Camera, ...]:
    """The rig's input camera and ``count`` others (seed 0), or others alone; none for 0."""
    if not count:
        return ()
    lens = math.radians(rig.fov_deg)
    others = multiview_cameras(count, rig.distance, lens, (size, size), seed, band_deg=_BAND_DEG)
    return others if seed else (rig.camera(0.0, 0.0, size), *others)


def _renders(
    images: Tensor, count: int, cameras: Sequence[Camera], rig: SixViewRig, config: InflateConfig
) -> Tensor:
    """RGBA [count, N, 4, H, W] of the bodies of square images [1 or count, 4, S, S]."""
    rgba = images.movedim(1, -1)
    square = object_square(rgba[..., 3], _FILL)
    bodies = cut_out(rgba, square, _SIDE)
    frustum = Frustum.of(cut_camera(rig.camera(0.0, 0.0, images.shape[-1]), square, _SIDE))
    made, figure = [], None
    with (
        StopSignals() as stop,
        progress_bar(len(cameras) * count, description="inflate") as bar,
    ):
        for number in range(count):
            if len(bodies) > 1 or not number:
                volume = inflate(bodies[number], frustum, config.thickness)
                parts = [Part(volume)]
            else:
                figure = figure or _figure(volume, bodies[0], frustum, config)
                parts = _moved(figure, number / count, config)
            parts = [bounded(part, frustum) for part in parts]
            seen = []
            for view in cameras:
                seen.append(_view(parts, frustum, view))
                bar.update()
                stop.raise_if_requested()
            made.append(torch.stack(seen))
    return torch.stack(made).movedim(-1, 2)


def _view(parts: Sequence[Part], frustum: Frustum, view: Camera) -> Tensor:
    """RGBA [H, W, 4], straight alpha, of one camera at one moment."""
    seen = []
    for places in torch.arange(view.width * view.height).split(_RAYS_AT_ONCE):
        colour, alpha = render(parts, frustum, camera_rays(view, places), _SAMPLES)
        colour = colour / alpha.clamp_min(1e-3)[:, None]
        seen.append(torch.cat([colour.clamp(0.0, 1.0), alpha[:, None]], -1))
    return torch.cat(seen).unflatten(0, (view.height, view.width))


class _Figure(NamedTuple):
    """A body at rest: in one piece, or as a trunk and limbs with a volume for each."""

    body: Body
    whole: Volume
    trunk: Volume
    limbs: list[Volume]
    joints: list[Joint]


def _figure(whole: Volume, picture: Tensor, frustum: Frustum, config: InflateConfig) -> _Figure:
    """What moves of a picture [4, S, S] and its volume."""
    inside = picture[3] >= 0.5
    body = _body(inside, frustum)
    limbs = find_limbs(inside) if config.motion == "walk" else []
    joints = [
        Joint(_world(limb.joint, frustum, len(inside)), limb.leg, limb.side, limb.raised)
        for limb in limbs
    ]
    if not walks_on(joints):
        return _Figure(body, whole, whole, [], [])
    volumes = []
    for limb in limbs:
        # At its joint a limb is round and as thick as itself, so that it hides in the trunk.
        alone = inflate(picture * limb.part, frustum, config.thickness).density
        volumes.append(whole._replace(density=torch.where(limb.own, whole.density, alone)))
        volumes[-1] = volumes[-1]._replace(density=volumes[-1].density * limb.part)
    rest = ~torch.stack([limb.own for limb in limbs]).any(0)
    return _Figure(body, whole, whole._replace(density=whole.density * rest), volumes, joints)


def _moved(figure: _Figure, phase: float, config: InflateConfig) -> list[Part]:
    """Where the parts are at a phase of the motion."""
    if not figure.limbs:
        return [Part(figure.whole, source_of(config.motion, figure.body, phase, config.strength))]
    trunk, sources = limb_sources(figure.joints, figure.body, phase, config.strength)
    return [Part(figure.trunk, trunk), *map(Part, figure.limbs, sources)]


def _world(place: Tensor, frustum: Frustum, size: int) -> tuple[float, float, float]:
    """Where (x, y) in pixels of a picture of ``size`` lies on the plane through the origin."""
    x, y = ((place / size - frustum.centre) * size * frustum.pixel(size)).tolist()
    return (x, 0.0, -y)


def _body(inside: Tensor, frustum: Frustum) -> Body:
    """Where the object of a silhouette, bool [S, S], stands in the world."""
    shown = inside.nonzero()
    (top, left), (bottom, right) = shown.amin(0).tolist(), (shown.amax(0) + 1).tolist()
    corners = torch.tensor([[left, bottom], [right, top]]).float()
    (low_x, _, low_z), (high_x, _, high_z) = (_world(c, frustum, len(inside)) for c in corners)
    return Body(low_z, high_z, (high_x - low_x) / 2)

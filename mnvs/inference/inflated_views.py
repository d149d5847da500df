"""Six views of a picture or video by inflating its silhouette: no networks, nothing random."""

import dataclasses
import math
from collections.abc import Sequence

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
from mnvs.inflation.figure import make_figure, parts_at, tracks
from mnvs.inflation.frustum import Frustum, Part, bounded, camera_rays, render
from mnvs.inflation.inflate import inflate
from mnvs.inflation.motion import MOTIONS
from training_core.checks import at_least, at_most, in_unit_interval, positive
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
# Points of the body whose paths are written.
_TRACKS = 4000
# Times the natural motion; at twice as much the body is turned inside out.
_WILDEST = 10.0


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
        at_most(_WILDEST, strength=self.strength)


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
    seen, paths = _renders(images, count, (*six, *other, *test), rig, config)
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
    around = around if other else {}
    loop = len(images) == 1 < count and config.motion != "none"
    return Generated(shown, views, tiles, RIG, "of the body", around, paths, loop)


def _around(rig: SixViewRig, size: int, count: int, seed: int = 0) -> tuple[Camera, ...]:
    """The rig's input camera and ``count`` others (seed 0), or others alone; none for 0."""
    if not count:
        return ()
    lens = math.radians(rig.fov_deg)
    others = multiview_cameras(count, rig.distance, lens, (size, size), seed, band_deg=_BAND_DEG)
    return others if seed else (rig.camera(0.0, 0.0, size), *others)


def _renders(
    images: Tensor, count: int, cameras: Sequence[Camera], rig: SixViewRig, config: InflateConfig
) -> tuple[Tensor, Tensor | None]:
    """RGBA [count, N, 4, H, W] of the bodies of square images [1 or count, 4, S, S], and the paths
    [count, P, 3] of points of the one body; None where each image has its own."""
    rgba = images.movedim(1, -1)
    square = object_square(rgba[..., 3], _FILL)
    bodies = cut_out(rgba, square, _SIDE)
    frustum = Frustum.of(cut_camera(rig.camera(0.0, 0.0, images.shape[-1]), square, _SIDE))
    figure = None
    if len(bodies) == 1:
        figure = make_figure(bodies[0], frustum, config.thickness, limbs=config.motion == "walk")
    # Half a turn after its rest a swing is where it was: two moments would show none.
    turn = 0.5 if count == 2 else 1.0
    phases, made = [turn * number / count for number in range(count)], []
    with (
        StopSignals() as stop,
        progress_bar(len(cameras) * count, description="inflate") as bar,
    ):
        for number, phase in enumerate(phases):
            if figure:
                parts = parts_at(figure, config.motion, phase, config.strength)
            else:
                parts = [Part(inflate(bodies[number], frustum, config.thickness))]
            parts = [bounded(part, frustum) for part in parts]
            seen = []
            for view in cameras:
                seen.append(_view(parts, frustum, view))
                bar.update()
                stop.raise_if_requested()
            made.append(torch.stack(seen))
    paths = None
    if figure:
        paths = tracks(figure, frustum, config.motion, phases, config.strength, _TRACKS)
    return torch.stack(made).movedim(-1, 2), paths


def _view(parts: Sequence[Part], frustum: Frustum, view: Camera) -> Tensor:
    """RGBA [H, W, 4], straight alpha, of one camera at one moment."""
    seen = []
    for places in torch.arange(view.width * view.height).split(_RAYS_AT_ONCE):
        colour, alpha = render(parts, frustum, camera_rays(view, places), _SAMPLES)
        colour = colour / alpha.clamp_min(1e-3)[:, None]
        seen.append(torch.cat([colour.clamp(0.0, 1.0), alpha[:, None]], -1))
    return torch.cat(seen).unflatten(0, (view.height, view.width))

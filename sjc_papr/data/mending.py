"""Training views as a run learns from them: in its world, and mended where they do not agree."""

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from blender_render.dataset.readers import Views
from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.odd_view import find_odd_view, redrawn, without
from sjc_papr.data.placement import Placement, find_placement, moved_back
from sjc_papr.data.view_corrections import CorrectionsConfig
from sjc_papr.data.world import World
from training_core.config import InputError
from training_core.files import atomic
from training_core.files.json_files import read_json

logger = logging.getLogger(__name__)

MENDED_FILE = "mended_views.json"


@dataclass(frozen=True)
class Mending:
    """What is done to a moment's views.

    Attributes:
        odd_view: number of the view that is drawn anew from the others, if any.
        shift, zoom: how the others stood, in their order, see ``Placement``; None where they stay.
            The log tells lengths in pixels, and by how much pictures are resized to undo it.
    """

    odd_view: int | None = None
    shift: list[list[float]] | None = None
    zoom: list[float] | None = None

    def apply(self, views: Views) -> Views:
        """The views so mended; the same object where there is nothing to do."""
        kept = without(len(views), self.odd_view)
        if self.shift is not None and self.zoom is not None:
            placement = Placement(torch.tensor(self.shift), torch.tensor(self.zoom), 0.0, 0.0)
            moved = moved_back(pick_views(views, kept), placement)
            images, depth = views.images.clone(), views.depth
            images[kept] = moved.images
            if depth is not None and moved.depth is not None:
                depth = depth.clone()
                depth[kept] = moved.depth
            views = replace(views, images=images, depth=depth)
        return views if self.odd_view is None else redrawn(views, self.odd_view)

    @staticmethod
    def from_json(content: Any, count: int, path: Path) -> "Mending":
        """A record of ``count`` views. Raises InputError where it is damaged."""
        try:
            found = Mending(**content)
            odd = None if found.odd_view is None else range(count)[found.odd_view]
            moves = zip(found.shift or [], found.zoom or [], strict=True)
            numbers = [float(number) for (x, y), zoom in moves for number in (x, y, zoom)]
        except (TypeError, ValueError, IndexError):
            numbers, odd = [math.nan], None
        if (numbers and len(numbers) != 3 * len(without(count, odd))) or not _finite(numbers):
            raise InputError(f"{path}: not a record of how {count} views were mended")
        return replace(found, odd_view=odd)


def _finite(numbers: list[float]) -> bool:
    return all(math.isfinite(number) for number in numbers)


def find_mending(views: Views, corrections: CorrectionsConfig) -> Mending:
    """What these views need of what is asked for; says so.

    Args:
        views: of an object around the origin.
    """
    odd = find_odd_view(views) if corrections.odd_view else None
    kept = pick_views(views, without(len(views), odd))
    if odd is not None:
        logger.warning(
            "%s does not show what the other %d views show: drawn anew from these, and no patch is "
            "cut from it",
            views.names[odd],
            len(kept),
        )
    if not corrections.outlines and odd is None:
        return Mending()
    placement = find_placement(kept.images[..., 3], kept.cameras)
    if placement.needed and not placement.helps:
        logger.warning(
            "outlines do not agree, and moving the pictures does not help: gap %.2f -> %.2f pixels "
            "of %d views; left as they are",
            placement.gap_before,
            placement.gap,
            len(kept),
        )
    if not placement.helps:
        return Mending(odd)
    lengths = (placement.shift * views.images.shape[2]).norm(dim=1)
    logger.info(
        "outlines did not agree: pictures moved by %s pixels, resized by %s; gap %.2f -> %.2f",
        ", ".join(f"{length:.1f}" for length in lengths),
        ", ".join(f"{100 * (-zoom).exp() - 100:+.1f} %" for zoom in placement.zoom),
        placement.gap_before,
        placement.gap,
    )
    return Mending(odd, placement.shift.tolist(), placement.zoom.tolist())


def mending_of_run(run: Path, views: Views, corrections: CorrectionsConfig) -> Mending:
    """What a run folder says was done to its views; where it says nothing, found now and, in a
    folder that is there, recorded: a run that is continued learns from the same pictures anywhere.

    Raises:
        InputError: the record is damaged.
    """
    if not (corrections.outlines or corrections.odd_view):
        return Mending()
    path = run / MENDED_FILE
    if path.is_file():
        return Mending.from_json(read_json(path), len(views), path)
    found = find_mending(views, corrections)
    if run.is_dir():
        atomic.write_json(path, asdict(found))
    return found


def views_to_train(
    views: Views, world: World, corrections: CorrectionsConfig, run: Path | None = None
) -> Views:
    """Training views of the dataset as a run learns from them.

    Args:
        run: folder in which it is recorded how they were mended; None = nowhere.

    Raises:
        InputError: see ``mending_of_run``.
    """
    views = world.views(views)
    if run is None:
        return find_mending(views, corrections).apply(views)
    return mending_of_run(run, views, corrections).apply(views)

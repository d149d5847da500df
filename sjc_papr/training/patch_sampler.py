"""What a training step draws by lot: the pixels it looks at, the points that are hidden from it,
the colour behind the object. Pure functions of seed and step, so resuming needs no state.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from blender_render.dataset.readers import Views, composite
from sjc_papr.networks.rays import CameraTable, PixelWindow, RayBundle, camera_rays
from sjc_papr.training.config import OptimizeConfig, PatchConfig
from training_core.config import ConfigError
from training_core.devices import send
from training_core.step.seeds import Stream, step_generator


class PatchSampler:
    """Cuts square patches out of training views, most of them on the object.

    What is drawn is drawn on the processor, whatever the device; images and cameras lie on the
    device, so that a step copies nothing to it and waits for nothing.

    Args:
        views: the training images; none is cut from those that are ``redrawn``.
        background: grey level they are composited on.
        config: size, number and aim.
        seed: together with the step it decides everything.
        device: where patches are cut.
        share: (i, n) = only part i of n of every batch, of a training in n processes.
        pseudo: further images, of the same size, that a network made.
        pseudo_share: share of the patches that are cut from them, by lot.

    Raises:
        ConfigError: a batch does not divide among the processes.
    """

    def __init__(
        self,
        views: Views,
        background: float,
        config: PatchConfig,
        seed: int,
        device: torch.device | None = None,
        share: tuple[int, int] = (0, 1),
        pseudo: Views | None = None,
        pseudo_share: float = 0.0,
    ) -> None:
        if config.per_step % share[1]:
            raise ConfigError(
                f"optimize.patches.per_step={config.per_step} is no multiple of the number of "
                f"processes, {share[1]}: every process takes as many patches of a batch"
            )
        self.device = device or torch.device("cpu")
        # How many are true; the others follow them.
        self.true_count, self.pseudo_share = len(views), pseudo_share if pseudo else 0.0
        views = views.followed_by(pseudo) if pseudo else views
        self.images = views.composite(background).to(self.device)
        self.cameras, self.views, self.share = views.cameras, views, share
        # On a CPU rays are made by NumPy, the window's only, as they were for every earlier run.
        cpu = self.device.type == "cpu"
        self.table = None if cpu else CameraTable(views.cameras, self.device)
        self.config = config
        self.seed = seed
        height, width = self.images.shape[1:3]
        self.height, self.width = min(config.size, height), min(config.size, width)
        self.object_pixels = [torch.nonzero(alpha > 0.5) for alpha in views.images[..., 3]]

    def sample(
        self, step: int, background: Tensor | None = None
    ) -> Iterator[tuple[RayBundle, Tensor]]:
        """Rays [B, h, w] and colours [B, h, w, 3] of this step's patches, batch after batch.

        Args:
            background: RGB [3] to put behind the object this time, instead of the usual grey; on
                the device.
        """
        generator = step_generator(Stream.DATA, self.seed, step)
        views = self._views_in_turn(generator)
        part, parts = self.share
        size = self.config.per_step // parts
        for _ in range(self.config.accumulate):
            some = itertools.islice(views, self.config.per_step)
            # Every process draws all of them, because the draws follow each other.
            drawn = [(view, self._window(view, generator)) for view in some]
            yield self._cut(drawn[part * size : (part + 1) * size], background)

    def _views_in_turn(self, generator: torch.Generator) -> Iterator[int]:
        """Numbers of the views of a step's patches, in an order by lot; enough for all of them."""
        drawn = torch.randperm(self.true_count, generator=generator).tolist()
        order = [view for view in drawn if view not in self.views.redrawn]
        if not self.pseudo_share:
            return itertools.cycle(order)
        count = len(self.cameras) - self.true_count
        imagined = (self.true_count + torch.randperm(count, generator=generator)).tolist()
        patches = self.config.per_step * self.config.accumulate
        lots = torch.rand(patches, generator=generator).tolist()
        true, made = itertools.cycle(order), itertools.cycle(imagined)
        return (next(made if lot < self.pseudo_share else true) for lot in lots)

    def _cut(
        self, patches: list[tuple[int, PixelWindow]], background: Tensor | None
    ) -> tuple[RayBundle, Tensor]:
        bundles, colours = [], []
        for view, window in patches:
            table, camera = self.table, self.cameras[view]
            bundles.append(table.rays(view, window) if table else camera_rays(camera, window))
            top, left, height, width = window
            rows, columns = slice(top, top + height), slice(left, left + width)
            if background is None:
                colours.append(self.images[view, rows, columns])
            else:
                colours.append(composite(self._rgba[view, rows, columns], background))
        views = tuple(view for view, _ in patches)
        return replace(RayBundle.stack(bundles), views=views), torch.stack(colours)

    @cached_property
    def _rgba(self) -> Tensor:
        return self.views.images.to(self.device)

    def _window(self, view: int, generator: torch.Generator) -> PixelWindow:
        image_height, image_width = self.images.shape[1:3]
        aim, row, column = torch.rand(3, generator=generator).tolist()
        highest_top, highest_left = image_height - self.height, image_width - self.width
        pixels = self.object_pixels[view]
        if aim >= self.config.on_object or len(pixels) == 0:
            top, left = round(row * highest_top), round(column * highest_left)
        else:
            (pick,) = torch.randint(len(pixels), (1,), generator=generator).tolist()
            centre_row, centre_column = pixels[pick].tolist()
            # The object pixel may fall anywhere in the patch, so edges are seen from both sides.
            top = min(max(centre_row - int(row * self.height), 0), highest_top)
            left = min(max(centre_column - int(column * self.width), 0), highest_left)
        return PixelWindow(top, left, self.height, self.width)


def points_of(
    config: OptimizeConfig, seed: int, step: int, count: int, least: int, device: torch.device
) -> Tensor | None:
    """Numbers of the points that a step sees, of ``count``, ``least`` or more; None = all,
    where none are to be hidden.
    """
    if not config.drop_points:
        return None
    generator = step_generator(Stream.HIDDEN_POINTS, seed, step)
    seen = max(least, round(count * (1.0 - config.drop_points)))
    return send(torch.randperm(count, generator=generator)[:seen], device)


def background_of(
    config: OptimizeConfig, seed: int, step: int, device: torch.device
) -> Tensor | None:
    """RGB [3] behind a step's images, on the device; None = the usual one."""
    if not config.vary_background:
        return None
    generator = step_generator(Stream.BACKGROUND, seed, step)
    colour, lot = torch.rand(3, generator=generator), torch.rand(1, generator=generator)
    return send(colour, device) if lot.tolist()[0] < config.vary_background else None

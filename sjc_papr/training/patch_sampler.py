"""Which pixels a training step looks at: a pure function of seed and step, so resuming needs no
state.
"""

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from blender_render.dataset.readers import Views, composite
from sjc_papr.networks.rays import PixelWindow, RayBundle, camera_rays
from sjc_papr.training.config import PatchConfig
from training_core.step.seeds import Stream, step_generator


class PatchSampler:
    """Cuts square patches out of training views, most of them on the object.

    Args:
        views: the training images.
        background: grey level they are composited on.
        config: size, number and aim.
        seed: together with the step it decides everything.
    """

    def __init__(self, views: Views, background: float, config: PatchConfig, seed: int) -> None:
        self.images, self.rgba = views.composite(background), views.images
        self.cameras = views.cameras
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
            background: RGB [3] to put behind the object this time, instead of the usual grey.
        """
        generator = step_generator(Stream.DATA, self.seed, step)
        order = torch.randperm(len(self.cameras), generator=generator).tolist()
        views = itertools.cycle(order)
        for _ in range(self.config.accumulate):
            some = itertools.islice(views, self.config.per_step)
            yield self._batch(some, generator, background)

    def _batch(
        self, views: Iterable[int], generator: torch.Generator, background: Tensor | None
    ) -> tuple[RayBundle, Tensor]:
        bundles, colours = [], []
        for view in views:
            window = self._window(view, generator)
            bundles.append(camera_rays(self.cameras[view], window))
            top, left, height, width = window
            rows, columns = slice(top, top + height), slice(left, left + width)
            if background is None:
                colours.append(self.images[view, rows, columns])
            else:
                colours.append(composite(self.rgba[view, rows, columns], background.tolist()))
        return RayBundle.stack(bundles), torch.stack(colours)

    def _window(self, view: int, generator: torch.Generator) -> PixelWindow:
        image_height, image_width = self.images.shape[1:3]
        aim, row, column = torch.rand(3, generator=generator).tolist()
        highest_top, highest_left = image_height - self.height, image_width - self.width
        pixels = self.object_pixels[view]
        if aim >= self.config.on_object or len(pixels) == 0:
            top, left = round(row * highest_top), round(column * highest_left)
        else:
            pick = int(torch.randint(len(pixels), (1,), generator=generator))
            centre_row, centre_column = pixels[pick].tolist()
            # The object pixel may fall anywhere in the patch, so edges are seen from both sides.
            top = min(max(centre_row - int(row * self.height), 0), highest_top)
            left = min(max(centre_column - int(column * self.width), 0), highest_left)
        return PixelWindow(top, left, self.height, self.width)

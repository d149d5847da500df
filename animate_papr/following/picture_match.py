"""Compare what two frames' pictures show at the same points of a cloud that moves between them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.dataset.readers import Views
from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import resize_rgba

# A point counts as seen where no other lies nearer to the camera by more than this within a cell of
# the picture and the cells around it: in world units, the object is about 1 unit long; and in
# sides of a cell, for surfaces that are seen at a slant.
_APART, _APART_CELLS = 0.03, 1.2
# Cells along the picture's longer side: at least and at most, and for a cloud of so many points
# the root of their number times the share, so that what lies in front leaves no gaps.
_FEWEST_CELLS, _MOST_CELLS, _CELLS_SHARE = 8, 64, 0.9
# From this difference of a channel on, errors count in proportion, not squared: highlights and
# shadows do not move with the surface.
_LARGE = 0.1
# Of blurs so many are made to a doubling.
_BLURS_TO_A_DOUBLING = 2


class PictureMatch:
    """The pictures of the frame before and of the one now, and points whose places then are known.

    Args:
        points: [P, 3] in the frame before. before, views: pictures then and now.
        side: longer side to which larger pictures are reduced, pixels.

    Every view of now is compared with the view of before that is nearest to it, which is the same
    one where the cameras stand still.
    """

    def __init__(self, points: Tensor, before: Views, views: Views, side: int) -> None:
        self.old, self.new = _Pictures(before, side, points), _Pictures(views, side, points)
        pairs = _nearest_cameras(views.cameras, before.cameras)
        self.pairs = torch.tensor(pairs, device=points.device)
        self.old_pixels, _ = self.old.project(points)
        self.seen_before = self.old.sees(points)
        self.seen = self.seen_before[self.pairs]
        self._sampled: dict[float, Tensor] = {}

    def look(self, points: Tensor) -> None:
        """Note which views of now see the points [P, 3], were they here."""
        self.seen = self.new.sees(points) & self.seen_before[self.pairs]

    def error(self, points: Tensor, chosen: Tensor, views: Tensor, blur: float) -> Tensor:
        """Mean difference of colour and opacity, as both frames show them, of those points that
        both views of a pair see; Huber's function, in units of its bend.

        Args:
            points: [N, 3] as they are now, those with the numbers ``chosen`` [N].
            views: numbers of some views [V]. blur: of the pictures, as a share of their longer
                side: the wider, the farther the right place is felt.
        """
        blur = _rounded(blur)
        pixels, _ = self.new.project(points, views)
        found = self.new.sample(pixels, blur, views)
        true = self._before(blur)[views][:, chosen]
        seen = self.seen[views][:, chosen]
        apart = F.huber_loss(found, true, reduction="none", delta=_LARGE).sum(-1) / _LARGE
        return (apart * seen).sum() / seen.sum().clamp_min(1)

    @torch.no_grad()
    def _before(self, blur: float) -> Tensor:
        """What the frame before shows at every point, [V, P, 4], by views of now."""
        if blur not in self._sampled:
            self._sampled = {blur: self.old.sample(self.old_pixels, blur)[self.pairs]}
        return self._sampled[blur]


class _Pictures:
    """Pictures and projections of one frame, on the device of the points [P, 3] ``like``."""

    def __init__(self, views: Views, side: int, like: Tensor) -> None:
        height, width = views.images.shape[1:3]
        share = min(1.0, side / max(width, height))
        self.width, self.height = max(1, round(width * share)), max(1, round(height * share))
        small = [resize_rgba(image, self.width, self.height) for image in views.images]
        rgba = torch.stack(small).movedim(-1, 1).to(like)
        self.rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
        cameras = [camera.resized(self.width, self.height) for camera in views.cameras]
        self.matrices = torch.from_numpy(np.stack([camera.projection for camera in cameras]))
        self.matrices = self.matrices.to(like)
        self._blurred: dict[float, Tensor] = {}
        cells = min(max(round(_CELLS_SHARE * len(like) ** 0.5), _FEWEST_CELLS), _MOST_CELLS)
        self.cell = max(self.width, self.height) / cells
        focal = torch.tensor([camera.fl_x for camera in cameras]).to(like)
        self.cell_at_1 = (self.cell / focal).unsqueeze(1)

    def project(self, points: Tensor, views: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pixels [V, N, 2] and planar depths [V, N] of points [N, 3]."""
        matrices = self.matrices if views is None else self.matrices[views]
        local = points @ matrices[:, :, :3].mT + matrices[:, None, :, 3]
        depth = local[..., 2]
        return local[..., :2] / depth.clamp_min(1e-6).unsqueeze(-1), depth

    def sample(self, pixels: Tensor, blur: float, views: Tensor | None = None) -> Tensor:
        """Colours by opacity, and opacity, [V, N, 4], of the blurred pictures."""
        if blur not in self._blurred:
            pixels_wide = blur * max(self.width, self.height)
            self._blurred = {blur: gaussian_blur(self.rgba, pixels_wide)}
        pictures = self._blurred[blur]
        size = pixels.new_tensor([self.width, self.height])
        grid = (2.0 * pixels / size - 1.0).unsqueeze(2)
        chosen = pictures if views is None else pictures[views]
        found = F.grid_sample(chosen, grid, padding_mode="border", align_corners=False)
        return found.squeeze(-1).mT

    @torch.no_grad()
    def sees(self, points: Tensor) -> Tensor:
        """Which views see which points, bool [V, P]; the points alone hide each other."""
        pixels, depth = self.project(points)
        columns, rows = int(self.width / self.cell) + 1, int(self.height / self.cell) + 1
        x, y = (pixels / self.cell).floor().long().unbind(-1)
        inside = (depth > 0.0) & (pixels >= 0.0).all(-1)
        inside &= (pixels[..., 0] < self.width) & (pixels[..., 1] < self.height)
        cell = torch.where(inside, y * columns + x, 0)
        far = torch.where(inside, depth, torch.inf)
        nearest = torch.full((len(depth), rows * columns), torch.inf).to(depth)
        nearest.scatter_reduce_(1, cell, far, "amin")
        nearest = nearest.view(len(depth), 1, rows, columns)
        around = -F.max_pool2d(-nearest, 3, 1, 1).flatten(1)
        apart = (_APART_CELLS * self.cell_at_1 * depth).clamp_min(_APART)
        return inside & (depth <= around.gather(1, cell) + apart)


def gaussian_blur(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures [N, C, H, W] blurred by ``sigma`` pixels; beyond their edge they go on as there."""
    reach = int(3.0 * sigma + 0.5)
    if reach == 0:
        return pictures
    at = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = kernel / kernel.sum()
    flat = pictures.flatten(0, 1).unsqueeze(1)
    flat = F.pad(flat, (reach,) * 4, mode="replicate")
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return flat.view(pictures.shape)


def _rounded(blur: float) -> float:
    """The nearest of the blurs that are made, so that few have to be."""
    return float(2.0 ** (round(np.log2(blur) * _BLURS_TO_A_DOUBLING) / _BLURS_TO_A_DOUBLING))


def _nearest_cameras(cameras: Sequence[Camera], others: Sequence[Camera]) -> list[int]:
    """For each camera the other that is placed, and then turned, most like it."""
    theirs = np.stack([other.cam_to_world for other in others])
    found = []
    for camera in cameras:
        away = np.abs(theirs[:, :3, 3] - camera.position).sum(1)
        turned = np.abs(theirs[:, :3, :3] - camera.cam_to_world[:3, :3]).sum((1, 2))
        found.append(int(np.argmin(away + 1e-3 * turned)))
    return found

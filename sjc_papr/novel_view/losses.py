"""One step's losses on views without an image: rendering, gradients, balance.

Every view is rendered once. The losses see it through leaves of their own, so that each term's
gradient at the image is known by itself (its norm is logged, SJC is balanced by it) and PAPR's
backward pass runs once a view, with their sum. The score model's graph is gone by then, and a near
view is rendered after the base view's graph is gone too (unless ``paired_l1`` sends gradients to
both). The most memory is therefore that of one view's graph and, beside it, the score model's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blender_render.dataset.readers import Views, composite
from blender_render.geometry.cameras import Camera
from blender_render.imaging.resize import resize_rgba
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import RenderOutput, render
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.novel_view.depth_smoothing import depth_smoothing
from sjc_papr.novel_view.gradient_balance import GradientBalance
from sjc_papr.novel_view.loss_accumulator import LossAccumulator, norm
from sjc_papr.novel_view.near_view import (
    NearResult,
    RenderedView,
    ground_truth_loss,
    near_camera,
    near_view_loss,
)
from sjc_papr.novel_view.silhouette import HullGrid, silhouette_losses
from sjc_papr.novel_view.sjc import Sjc
from sjc_papr.novel_view.target_cameras import TargetCameras, nearest_views
from sjc_papr.score_models.base import ScoreModel
from sjc_papr.training.auxiliary import AuxiliaryResult
from training_core.step.schedules import fraction
from training_core.step.seeds import Stream, step_generator

Leaves = tuple[Tensor, Tensor, Tensor]


class _Rendered(NamedTuple):
    """A render, and the leaves through which losses see it."""

    output: RenderOutput
    leaves: Leaves
    view: RenderedView


class _Term(NamedTuple):
    """A term on a render: weight, raw value, gradient at the leaves."""

    weight: float
    value: Tensor
    gradient: list[Tensor]


class NovelViews:
    """The terms with a weight above zero.

    Args:
        model: rendered here; gradients are added to its parameters.
        train: the views with images.
        score: needed where SJC has a weight.
        background: grey level behind the object. precision: see ``sjc_papr.networks.precision``.
        steps: of the whole run. seed: with the step, it decides cameras, levels and noise.
    """

    def __init__(
        self,
        model: Papr,
        config: NovelConfig,
        train: Views,
        score: ScoreModel | None,
        *,
        background: float,
        precision: str,
        steps: int,
        seed: int,
    ) -> None:
        self.model, self.config, self.train = model, config, train
        self.background, self.precision, self.steps, self.seed = background, precision, steps, seed
        self.device = model.points.positions.device
        self.targets = TargetCameras(train.cameras, config.targets, config.object_length)
        self.balance = GradientBalance(config.balance)
        self.scale = 1.0
        self.sjc: Sjc | None = None
        if config.sjc.weight:
            assert score is not None, "SJC without a score model"
            self.sjc = Sjc(score, config.sjc, train.composite(1.0), train.cameras)
        self.hull: HullGrid | None = None
        if config.silhouette.outside or config.silhouette.core:
            masks, grid = train.images[..., 3], config.silhouette.resolution
            self.hull = HullGrid(masks, train.cameras, grid, config.object_length)

    def due(self, step: int) -> bool:
        """Whether this step renders novel views."""
        # Counted so that a step whose number is a multiple of ``every`` is logged with its terms.
        return (step + 1) % self.config.every == 0

    @property
    def can_be_scaled(self) -> bool:
        """See ``AuxiliaryLoss``; only SJC is scaled."""
        return self.sjc is not None

    def state_dict(self) -> dict[str, float]:
        """Running means of the gradient norms."""
        return dict(self.balance.means)

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from ``state_dict``."""
        self.balance.means = dict(state)

    def backward(
        self, step: int, *, measure: bool, photometric_norm: float | None = None
    ) -> AuxiliaryResult:
        """Render this step's novel views and add their gradients.

        Args:
            measure: also find each term's gradient norm at every parameter group, which costs a
                backward pass a term.
            photometric_norm: see ``AuxiliaryLoss``; SJC is balanced by it.

        Returns:
            Numbers to log, and images; ``denoised`` is still encoded, because decoding costs a
            latent model as much as the rest of its step.
        """
        if photometric_norm is not None:
            self.balance.update("photometric", photometric_norm)
        generator = step_generator(Stream.NOVEL_VIEWS, self.seed, step)
        progress, sums = fraction(step, self.steps), LossAccumulator(self.model, measure)
        base = self._render(self._target(progress, generator))
        images = {"depth": base.view.depth.detach(), "alpha": base.view.alpha.detach()}
        terms, logged = {}, {}
        if self._sjc_due(step):
            terms["sjc"], of_sjc = self._sjc_term(base, progress, generator)
            logged, images = of_sjc.logged, images | of_sjc.images
        if self.config.smooth.weight:
            terms["smooth"] = self._smooth_term(base)
        if self.hull:
            terms |= self._silhouette_terms(base, self.hull)
        near, length = self.config.near, self.config.object_length
        if near.weight and near.mode == "paired_l1" and near.stop_gradient == "none":
            other = self._render(near_camera(base.view.camera, near, length, generator))
            loss = near_view_loss(base.view, other.view, near, length)
            terms["near"] = self._term(near.weight, loss.loss, base.leaves)
            theirs = self._term(near.weight, loss.loss, other.leaves)
            images |= _near_images(other.view, loss)
            # One loss with two sides: its value counts once.
            theirs = theirs._replace(value=torch.zeros_like(theirs.value))
            self._deliver(other, {"near": theirs}, sums)
            self._deliver(base, terms, sums)
        else:
            seen = base.view.detach()
            self._deliver(base, terms, sums)
            del base
            if near.weight:
                images |= self._near_views(seen, generator, sums)
        return AuxiliaryResult(sums.logged() | logged, images)

    def _near_views(
        self, base: RenderedView, generator: torch.Generator, sums: LossAccumulator
    ) -> dict[str, Tensor]:
        """Near views whose loss has no gradient at the base, one at a time; images of the last."""
        near, length = self.config.near, self.config.object_length
        if near.mode != "eq1_gt":
            other = self._render(near_camera(base.camera, near, length, generator))
            loss = near_view_loss(base, other.view, near, length)
            return self._deliver_near(other, loss, sums)
        images = {}
        for index in nearest_views(self.train.cameras, base.camera, near.neighbours):
            camera, image, depth = self._dataset_view(index, base.camera)
            other = self._render(camera)
            loss = ground_truth_loss(other.view, image, depth, near, length)
            images = self._deliver_near(other, loss, sums)
            del other, loss  # before the next one is rendered
        return images

    def _deliver_near(
        self, other: _Rendered, loss: NearResult, sums: LossAccumulator
    ) -> dict[str, Tensor]:
        term = self._term(self.config.near.weight, loss.loss, other.leaves)
        self._deliver(other, {"near": term}, sums)
        return _near_images(other.view, loss)

    def _dataset_view(self, index: int, like: Camera) -> tuple[Camera, Tensor, Tensor | None]:
        """A training view shrunk to about the size of a novel one."""
        camera = self.train.cameras[index]
        scale = max(like.width, like.height) / max(camera.width, camera.height)
        size = max(8, round(camera.width * scale)), max(8, round(camera.height * scale))
        image = composite(resize_rgba(self.train.images[index], *size), self.background)
        depth = self.train.depth
        small = None
        if depth is not None:
            rows = (torch.arange(size[1]) + 0.5) * camera.height / size[1]
            columns = (torch.arange(size[0]) + 0.5) * camera.width / size[0]
            small = depth[index][rows.long()][:, columns.long()].to(self.device)
        return camera.resized(*size), image.to(self.device), small

    def _target(self, progress: float, generator: torch.Generator) -> Camera:
        sides = self.config.resolutions
        side = sides[min(int(progress * len(sides)), len(sides) - 1)]
        camera = self.train.cameras[0]
        scale = side / max(camera.width, camera.height)
        size = max(8, round(camera.width * scale)), max(8, round(camera.height * scale))
        return self.targets.sample(generator, 1, size)[0]

    def _render(self, camera: Camera) -> _Rendered:
        output = render(
            self.model,
            camera_rays(camera).to(self.device),
            background=self.background,
            precision=self.precision,
        )
        parts = (output.rgb, output.depth, output.alpha)
        rgb, depth, alpha = (part.detach().requires_grad_() for part in parts)
        return _Rendered(
            output, (rgb, depth, alpha), RenderedView(camera, rgb[0], depth[0], alpha[0])
        )

    def _sjc_due(self, step: int) -> bool:
        config = self.config.sjc
        begun = fraction(step, self.steps) >= config.from_share
        return (
            self.sjc is not None and begun and (step + 1) // self.config.every % config.every == 0
        )

    def _sjc_term(
        self, base: _Rendered, progress: float, generator: torch.Generator
    ) -> tuple[_Term, AuxiliaryResult]:
        assert self.sjc is not None
        view, config = base.view, self.config.sjc
        # Score models know objects on white.
        on_white = view.rgb + (1.0 - view.alpha)[..., None] * (1.0 - self.background)
        result = self.sjc(on_white, view.camera, progress, generator)
        term = self._term(1.0, result.loss, base.leaves)
        self.balance.update("sjc", float(norm(term.gradient)))
        ramp = 1.0
        if config.ramp_share:
            ramp = min(1.0, (progress - config.from_share + 1.0 / self.steps) / config.ramp_share)
        weight = config.weight * ramp * self.balance.factor() * self.scale
        logged = {
            "sjc/residual": result.residual,
            "sjc/level": result.t.float().mean(),
            "sjc/weight": torch.tensor(weight),
        }
        images = {"render": view.rgb.detach(), "denoised": result.denoised}
        return _Term(weight, term.value, term.gradient), AuxiliaryResult(logged, images)

    def _smooth_term(self, base: _Rendered) -> _Term:
        rgb, depth, alpha = base.leaves
        config = self.config.smooth
        loss = depth_smoothing(depth, alpha, rgb, config, self.config.object_length)
        return self._term(config.weight, loss, base.leaves)

    def _silhouette_terms(self, base: _Rendered, hull: HullGrid) -> dict[str, _Term]:
        config, alpha = self.config.silhouette, base.leaves[2][0]
        chords = hull.chords(base.view.camera).to(alpha.device)
        losses = silhouette_losses(alpha, chords, config.core_depth * self.config.object_length)
        named = zip(("outside", "core"), (config.outside, config.core), losses, strict=True)
        return {name: self._term(w, loss, base.leaves) for name, w, loss in named if w}

    @staticmethod
    def _term(weight: float, loss: Tensor, leaves: Leaves) -> _Term:
        gradient = torch.autograd.grad(
            loss, leaves, allow_unused=True, materialize_grads=True, retain_graph=True
        )
        return _Term(weight, loss.detach(), list(gradient))

    @staticmethod
    def _deliver(rendered: _Rendered, terms: dict[str, _Term], sums: LossAccumulator) -> None:
        """Send the terms' gradients on to the parameters."""
        if not terms:
            return
        output = rendered.output
        parts = [output.rgb, output.depth, output.alpha]
        # Where only the UNet trains, depth and alpha are constants.
        learn = [i for i, part in enumerate(parts) if part.requires_grad]
        parts = [parts[i] for i in learn]
        weighted = {
            name: [term.weight * term.gradient[i] for i in learn] for name, term in terms.items()
        }
        for name, term in terms.items():
            sums.add(name, term.weight, term.value, parts, weighted[name])
        total = [torch.stack(own).sum(0) for own in zip(*weighted.values(), strict=True)]
        torch.autograd.backward(parts, total)


def _near_images(view: RenderedView, loss: NearResult) -> dict[str, Tensor]:
    shown = loss.mask[..., None].float().expand_as(loss.warped)
    return {"near": view.rgb.detach(), "near_warped": loss.warped, "near_mask": shown}

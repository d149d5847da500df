"""One step's losses on views without a picture: rendering, gradients, balance.

Every view is rendered once. The losses see it through leaves of their own, so that each term's
gradient at the picture is known by itself (its norm is logged, SJC is balanced by it) and PAPR's
backward pass runs once a view, with their sum. The score model's graph is gone by then, and a near
view is rendered after the base view's graph is gone too (unless ``paired_l1`` sends gradients to
both). The most memory is therefore that of one view's graph and, beside it, the score model's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blender_render.cameras import Camera
from blender_render.pictures import resize_rgba
from blender_render.readers import Views, composite
from sjc_papr.model import Papr
from sjc_papr.rays import camera_rays
from sjc_papr.renderer import RenderOutput, render
from sjc_papr.scores.contract import ScoreModel
from sjc_papr.terms.balance import Balance
from sjc_papr.terms.config import NovelConfig
from sjc_papr.terms.near_view import (
    NearResult,
    View,
    ground_truth_loss,
    near_camera,
    near_view_loss,
)
from sjc_papr.terms.silhouette import HullGrid, silhouette_losses
from sjc_papr.terms.sjc import Sjc, check_condition_view
from sjc_papr.terms.smoothing import depth_smoothing
from sjc_papr.terms.tally import Tally, norm
from sjc_papr.terms.target_cameras import TargetCameras, nearest_views
from training_core.config import ConfigError
from training_core.schedules import progress_of

Leaves = tuple[Tensor, Tensor, Tensor]


class _Rendered(NamedTuple):
    """A render, and the leaves through which losses see it."""

    output: RenderOutput
    leaves: Leaves
    view: View


class _Term(NamedTuple):
    """A term on a render: weight, raw value, gradient at the leaves."""

    weight: float
    value: Tensor
    gradient: list[Tensor]


class NovelViews:
    """The terms with a weight above zero.

    Args:
        model: rendered here; gradients are added to its parameters.
        train: the views with pictures.
        score: needed where SJC has a weight.
        background: grey level behind the object. precision: see ``sjc_papr.precision``.
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
        self.balance = Balance(config.balance)
        self.sjc_scale = 1.0
        self.sjc: Sjc | None = None
        if config.sjc.weight:
            assert score is not None, "SJC without a score model"
            self.sjc = Sjc(score, config.sjc, train.composite(1.0), train.cameras)
        self.hull: HullGrid | None = None
        if config.silhouette.outside or config.silhouette.core:
            masks, grid = train.images[..., 3], config.silhouette.resolution
            self.hull = HullGrid(masks, train.cameras, grid, config.object_length)
        # What the last step saw, for TensorBoard; ``denoised`` is still encoded, because decoding
        # costs a latent model as much as the rest of its step.
        self.pictures: dict[str, Tensor] = {}

    def due(self, step: int) -> bool:
        """Whether this step renders novel views."""
        # Counted so that a step whose number is a multiple of ``every`` is logged with its terms.
        return (step + 1) % self.config.every == 0

    def backward(self, step: int, *, measure: bool) -> dict[str, Tensor]:
        """Render this step's novel views and add their gradients; returns what is worth logging.

        Args:
            measure: also find each term's gradient norm at every parameter group, which costs a
                backward pass a term.
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_033 + step)
        progress, tally = progress_of(step, self.steps), Tally(self.model, measure)
        base = self._render(self._target(progress, generator))
        self.pictures |= {"depth": base.view.depth.detach(), "alpha": base.view.alpha.detach()}
        terms = {}
        if self._sjc_due(step):
            terms["sjc"] = self._sjc_term(base, progress, generator)
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
            self._keep_near(other.view, loss.warped, loss.mask)
            # One loss with two sides: its value counts once.
            theirs = theirs._replace(value=torch.zeros_like(theirs.value))
            self._deliver(other, {"near": theirs}, tally)
            self._deliver(base, terms, tally)
        else:
            seen = base.view.detach()
            self._deliver(base, terms, tally)
            del base
            if near.weight:
                self._near_views(seen, generator, tally)
        return tally.logged() | self._sjc_facts(terms)

    def _near_views(self, base: View, generator: torch.Generator, tally: Tally) -> None:
        """Near views whose loss leaves the base alone, one at a time."""
        near, length = self.config.near, self.config.object_length
        if near.mode != "eq1_gt":
            other = self._render(near_camera(base.camera, near, length, generator))
            loss = near_view_loss(base, other.view, near, length)
            self._deliver_near(other, loss, tally)
            return
        for index in nearest_views(self.train.cameras, base.camera, near.neighbours):
            camera, picture, depth = self._dataset_view(index, base.camera)
            other = self._render(camera)
            loss = ground_truth_loss(other.view, picture, depth, near, length)
            self._deliver_near(other, loss, tally)
            del other, loss  # before the next one is rendered

    def _deliver_near(self, other: _Rendered, loss: NearResult, tally: Tally) -> None:
        self._keep_near(other.view, loss.warped, loss.mask)
        term = self._term(self.config.near.weight, loss.loss, other.leaves)
        self._deliver(other, {"near": term}, tally)

    def _dataset_view(self, index: int, like: Camera) -> tuple[Camera, Tensor, Tensor | None]:
        """A training view shrunk to about the size of a novel one."""
        camera = self.train.cameras[index]
        scale = max(like.width, like.height) / max(camera.width, camera.height)
        size = max(8, round(camera.width * scale)), max(8, round(camera.height * scale))
        picture = composite(resize_rgba(self.train.images[index], *size), self.background)
        depth = self.train.depth
        small = None
        if depth is not None:
            rows = (torch.arange(size[1]) + 0.5) * camera.height / size[1]
            columns = (torch.arange(size[0]) + 0.5) * camera.width / size[0]
            small = depth[index][rows.long()][:, columns.long()].to(self.device)
        return camera.resized(*size), picture.to(self.device), small

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
        return _Rendered(output, (rgb, depth, alpha), View(camera, rgb[0], depth[0], alpha[0]))

    def _sjc_due(self, step: int) -> bool:
        config = self.config.sjc
        begun = progress_of(step, self.steps) >= config.from_share
        return (
            self.sjc is not None and begun and (step + 1) // self.config.every % config.every == 0
        )

    def _sjc_term(self, base: _Rendered, progress: float, generator: torch.Generator) -> _Term:
        assert self.sjc is not None
        view, config = base.view, self.config.sjc
        # Score models know objects on white.
        on_white = view.rgb + (1.0 - view.alpha)[..., None] * (1.0 - self.background)
        result = self.sjc(on_white, view.camera, progress, generator)
        term = self._term(1.0, result.loss, base.leaves)
        self.balance.see("sjc", float(norm(term.gradient)))
        ramp = 1.0
        if config.ramp_share:
            ramp = min(1.0, (progress - config.from_share + 1.0 / self.steps) / config.ramp_share)
        weight = config.weight * ramp * self.balance.factor() * self.sjc_scale
        self.pictures |= {
            "render": view.rgb.detach(),
            "denoised": result.denoised,
            "sjc_residual": result.residual,
            "sjc_level": result.t.float().mean(),
        }
        return _Term(weight, term.value, term.gradient)

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

    def _keep_near(self, view: View, warped: Tensor, mask: Tensor) -> None:
        shown = mask[..., None].float().expand_as(warped)
        self.pictures |= {"near": view.rgb.detach(), "near_warped": warped, "near_mask": shown}

    def _sjc_facts(self, terms: dict[str, _Term]) -> dict[str, Tensor]:
        if "sjc" not in terms:
            return {}
        return {
            "sjc/residual": self.pictures["sjc_residual"],
            "sjc/level": self.pictures["sjc_level"],
            "sjc/weight": torch.tensor(terms["sjc"].weight),
        }

    @staticmethod
    def _deliver(rendered: _Rendered, terms: dict[str, _Term], tally: Tally) -> None:
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
            tally.add(name, term.weight, term.value, parts, weighted[name])
        total = [torch.stack(own).sum(0) for own in zip(*weighted.values(), strict=True)]
        torch.autograd.backward(parts, total)


def check_novel(config: NovelConfig, cameras: Sequence[Camera]) -> None:
    """Raises ConfigError where the terms cannot work with these training cameras."""
    if not config.on:
        return
    TargetCameras(cameras, config.targets, config.object_length)
    if config.sjc.weight:
        check_condition_view(config.sjc, len(cameras))
        if config.sjc.condition == "nearest":
            _check_count("sjc.conditions", config.sjc.conditions, len(cameras))
    if config.near.weight and config.near.mode == "eq1_gt":
        _check_count("near.neighbours", config.near.neighbours, len(cameras))


def _check_count(key: str, count: int, views: int) -> None:
    if count > views:
        raise ConfigError(
            f"novel.{key}: {count} views are asked for, but there are {views} training views"
        )


def describe_novel(config: NovelConfig) -> list[str]:
    """A line for ``--dry-run`` on the terms that are on; none where none is."""
    if not config.on:
        return []
    sides = ", then ".join(f"{side} px" for side in config.resolutions)
    parts = {
        f"SJC from {config.sjc.score.model} ({config.sjc.weight:g})": config.sjc.weight,
        f"near views by {config.near.mode} ({config.near.weight:g})": config.near.weight,
        f"depth smoothing ({config.smooth.weight:g})": config.smooth.weight,
        f"nothing outside the hull ({config.silhouette.outside:g})": config.silhouette.outside,
        f"no holes in its core ({config.silhouette.core:g})": config.silhouette.core,
    }
    terms = ", ".join(part for part, weight in parts.items() if weight)
    return [f"every {config.every} steps a view without a picture, {sides}: {terms}"]

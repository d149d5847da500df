"""Score Jacobian Chaining: how a score model would change a rendered view, as a gradient.

With y the (encoded) render, noise level sigma, noise n and the one-step denoised D(y + sigma n),

    g = (D - y) / sigma            variance-reduced, Eq. (16) of Wang et al. 2023, or
    g = (D - y - sigma n) / sigma  plain, Eq. (15),

is what y is moved along, as pals-ttic/sjc does it. In terms of the predicted noise these are
n - eps and -eps: the first is score distillation. The two differ only by noise of zero mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.novel_view.config import SjcConfig
from sjc_papr.novel_view.target_cameras import nearest_views
from sjc_papr.score_models.base import Condition, NoiseLevels, ScoreModel
from training_core.config import ConfigError
from training_core.step.schedules import linear


class SjcResult(NamedTuple):
    """A loss whose gradient is SJC's, and what to look at.

    Attributes:
        loss: a number whose *value* means nothing; its gradient is -g over the number of elements
            (or -g, with ``reduction=sum``).
        residual: mean squared distance of y to its denoised version; this one may be watched.
        denoised: the one-step denoised views, encoded, [B, C, h, w], constant.
        t: the noise levels, [B].
    """

    loss: Tensor
    residual: Tensor
    denoised: Tensor
    t: Tensor


class Sjc:
    """The term, with its conditioning views prepared once.

    Args:
        model: see ``sjc_papr.score_models.base``.
        images: the training views on white, [N, H, W, 3] in [0, 1]. cameras: theirs.

    Raises:
        ConfigError: ``condition_view`` names a view that is not there.
    """

    def __init__(
        self, model: ScoreModel, config: SjcConfig, images: Tensor, cameras: Sequence[Camera]
    ) -> None:
        self.model, self.config, self.cameras = model, config, list(cameras)
        check_condition_view(config, len(cameras))
        self.images = images.permute(0, 3, 1, 2)
        self._prepared: dict[int, Condition] = {}

    def __call__(
        self, rgb: Tensor, target: Camera, progress: float, generator: torch.Generator
    ) -> SjcResult:
        """SJC of one rendered view.

        Args:
            rgb: [H, W, 3] in [0, 1], on white; differentiable. target: its camera.
            progress: share of the run done, for the noise range.
            generator: of the CPU; draws level and noise.
        """
        model = self.model
        image, seen_from = model.view(rgb.permute(2, 0, 1), target)
        y = model.encode(image[None])
        t = draw_level(self.config, model.levels, progress, generator).to(y.device)
        noise = torch.randn(y.shape, generator=generator).to(y.device)
        noisy = model.levels.add_noise(y.detach(), noise, t)
        predicted = torch.stack(
            [
                model.predict_noise(noisy, t, condition, [seen_from], self.config.guidance)
                for condition in self.conditions(target)
            ]
        ).mean(0)
        field = sjc_field(predicted, noise, model.levels, t, self.config)
        denoised = model.levels.clean_from_noise(noisy, predicted, t)
        return SjcResult(
            surrogate(y, field, self.config.reduction),
            F.mse_loss(y.detach(), denoised),
            denoised,
            t,
        )

    def conditions(self, target: Camera) -> list[Condition]:
        """The conditioning views for a target, each prepared when it is first asked for."""
        if self.config.condition == "fixed":
            return [self._condition(self.config.condition_view)]
        nearest = nearest_views(self.cameras, target, self.config.conditions)
        return [self._condition(index) for index in nearest]

    def _condition(self, index: int) -> Condition:
        if index not in self._prepared:
            image, camera = self.images[index], self.cameras[index]
            self._prepared[index] = self.model.condition(image, camera)
        return self._prepared[index]


def sjc_field(
    predicted: Tensor, noise: Tensor, levels: NoiseLevels, t: Tensor, config: SjcConfig
) -> Tensor:
    """g, the direction in which y [B, C, h, w] is moved: weight of the level times score.

    Args:
        predicted: the noise that the model sees in x_t. noise: the noise that was put there.
    """
    field = noise - predicted if config.form == "reduced" else -predicted
    return field * level_weight(config.weighting, levels, t)


def level_weight(weighting: str, levels: NoiseLevels, t: Tensor) -> Tensor:
    """Factor of each level, [B, 1, 1, 1], on the published code's field (D - y) / sigma."""
    sigma = levels.sigma(t)
    if weighting == "sds":
        return sigma.square() / (1.0 + sigma.square())
    if weighting == "score":
        return 1.0 / sigma
    if weighting == "residual":
        return sigma
    return torch.ones_like(sigma)


def surrogate(y: Tensor, field: Tensor, reduction: str) -> Tensor:
    """0.5 |y - constant(y + g)|²: its gradient is -g, so it adds up with losses of other kinds.

    Args:
        reduction: ``sum``, or ``mean`` to divide by the number of elements.
    """
    squared = 0.5 * (y - (y + field).detach()).square()
    return squared.sum() if reduction == "sum" else squared.mean()


def draw_level(
    config: SjcConfig, levels: NoiseLevels, progress: float, generator: torch.Generator
) -> Tensor:
    """A noise level [1], uniform over the range that holds at ``progress``."""
    last = len(levels) - 1
    low = linear(progress, config.noise_min, config.noise_min_end) * last
    high = linear(progress, config.noise_max, config.noise_max_end) * last
    share = float(torch.rand((), generator=generator))
    return torch.tensor([min(max(round(low + (high - low) * share), 0), last)])


def check_condition_view(config: SjcConfig, views: int) -> None:
    """Raises ConfigError where ``condition_view`` names none of so many training views."""
    if config.condition == "fixed" and config.condition_view >= views:
        raise ConfigError(
            f"novel.sjc.condition_view: {config.condition_view} is asked for, but there are "
            f"{views} training views"
        )

"""Score models that can be worked out on paper, to test Score Jacobian Chaining against."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera
from sjc_papr.score_models.base import Condition, NoiseLevels
from sjc_papr.score_models.framing import square_view


class GaussianMixture:
    """Images whose every pixel is drawn, by itself, from a mixture of normal distributions.

    A ``ScoreModel`` whose predicted noise is exact. With one component it is the Gaussian of
    which everything about SJC is known in closed form.

    Args:
        means, deviations, shares: of the components given a condition, [M]; shares add up to 1.
        unconditional_means: of the same components without a condition; None = the same.
        picture_size: see ``ScoreModel``.
        levels: noise schedule; None = Stable Diffusion's.
    """

    object_length = 1.0

    def __init__(
        self,
        means: Sequence[float],
        deviations: Sequence[float],
        shares: Sequence[float] = (1.0,),
        *,
        unconditional_means: Sequence[float] | None = None,
        picture_size: int = 8,
        levels: NoiseLevels | None = None,
    ) -> None:
        self.deviations, self.shares = _column(deviations), _column(shares)
        self.conditional = _column(means)
        self.unconditional = _column(unconditional_means or means)
        self.picture_size = picture_size
        self.levels = levels or NoiseLevels.scaled_linear()

    def view(self, image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
        """The view itself, at ``picture_size``."""
        return square_view(image, camera, self.picture_size)

    def encode(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def decode(self, clean: Tensor) -> Tensor:
        """The images themselves, clamped."""
        return clean.detach().clamp(0.0, 1.0)

    def condition(self, image: Tensor, camera: Camera) -> Condition:
        """Keeps the camera; what the image shows does not matter here."""
        return Condition(camera, {})

    @torch.no_grad()
    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Condition,
        targets: Sequence[Camera],
        guidance: float = 1.0,
    ) -> Tensor:
        """-sqrt(1 - abar) times the score of x_t, whose distribution is a mixture again."""
        abar = self.levels.alphas_cumprod[t.cpu()].view(-1, 1, 1, 1).to(noisy.device)
        with_ = self._noise(noisy.double(), abar, self.conditional)
        without = self._noise(noisy.double(), abar, self.unconditional)
        return (without + guidance * (with_ - without)).to(noisy.dtype)

    def _noise(self, noisy: Tensor, abar: Tensor, means: Tensor) -> Tensor:
        variance = abar * self.deviations.square() + (1.0 - abar)
        offset = noisy - abar.sqrt() * means
        exponent = self.shares.log() - 0.5 * (offset.square() / variance + variance.log())
        responsible = exponent.softmax(dim=0)
        return (1.0 - abar).sqrt() * (responsible * offset / variance).sum(0)


def _column(values: Sequence[float]) -> Tensor:
    """One number per component, in front of [B, C, h, w]."""
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1, 1)

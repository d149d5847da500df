"""The noise schedule that Zero123++ and SVD share: levels, noising, v.

A timestep t in 0..N-1 stands for ᾱ(t). In SVD's notation the same level is
σ = √((1-ᾱ)/ᾱ); its networks see x / √(1+σ²), which is exactly the variance-preserving x_t, and the
time code ¼ ln σ (EDM, Karras et al. 2022, table 1). Both predict v = √ᾱ ε - √(1-ᾱ) x0 (Salimans
and Ho 2022, appendix D).
"""

from typing import Any

import torch
from torch import Tensor


class NoiseSchedule:
    """Noise levels of N timesteps, from ᾱ.

    Every method takes ``t`` of shape [B], whole or fractional, and tensors of shape [B, ...].
    Coefficients have the schedule's own precision (float32 at least) on ``t``'s device; noised
    tensors keep the dtype of their first argument.

    Args:
        alphas_cumprod: ᾱ [N], falling, inside (0, 1).

    Raises:
        ValueError: those conditions do not hold.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        inside = bool(((alphas_cumprod > 0.0) & (alphas_cumprod < 1.0)).all())
        falling = bool((alphas_cumprod.diff() < 0.0).all())
        if alphas_cumprod.dim() != 1 or not inside or not falling:
            raise ValueError("alphas_cumprod must be one row of falling numbers between 0 and 1")
        wide = torch.promote_types(alphas_cumprod.dtype, torch.float32)
        self.alphas_cumprod = alphas_cumprod.detach().to(wide)
        self._sigmas = ((1.0 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> "NoiseSchedule":
        """The schedule of a diffusers scheduler, whatever its number of sampling steps."""
        return cls(scheduler.alphas_cumprod)

    def __len__(self) -> int:
        return len(self._sigmas)

    def sigma(self, t: Tensor) -> Tensor:
        """σ(t) = √((1-ᾱ)/ᾱ), [B]; fractional t by straight lines in σ, as Euler schedulers do."""
        sigmas = self._sigmas.to(t.device)
        if not t.is_floating_point():
            return sigmas[t]
        place = t.to(sigmas.dtype).clamp(0.0, len(sigmas) - 1.0)
        below = place.floor().long().clamp(max=len(sigmas) - 2)
        return torch.lerp(sigmas[below], sigmas[below + 1], place - below)

    def c_noise(self, t: Tensor) -> Tensor:
        """SVD's time code ¼ ln σ(t), [B]."""
        return 0.25 * self.sigma(t).log()

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio ᾱ/(1-ᾱ) = σ⁻², [B]."""
        return self.sigma(t).square().reciprocal()

    def nearest_timestep(self, sigma: Tensor) -> Tensor:
        """The whole timestep whose ln σ is nearest to that of ``sigma`` > 0, [B] long."""
        levels = self._sigmas.to(sigma.device).log()
        middles = (levels[1:] + levels[:-1]) / 2.0
        return torch.bucketize(sigma.to(levels.dtype).log(), middles)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ x0 + √(1-ᾱ) ε."""
        signal, noise = self._rates(t, x0)
        return (signal * x0 + noise * eps).to(x0.dtype)

    def velocity(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """v = √ᾱ ε - √(1-ᾱ) x0."""
        signal, noise = self._rates(t, x0)
        return (signal * eps - noise * x0).to(x0.dtype)

    def _rates(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ(t) and √(1-ᾱ(t)), shaped to multiply ``like`` [B, ...]."""
        sigma = self.sigma(t).view(-1, *[1] * (like.dim() - 1))
        signal = (1.0 + sigma.square()).rsqrt()
        return signal, sigma * signal

"""What every score model offers, and the noise levels they share.

A score model denoises a view (its pixels, or the latents of an autoencoder) given another view of
the same object and both cameras. Score Jacobian Chaining, the training of the prior and the tests
know no more than this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from blender_render.geometry.cameras import Camera


class NoiseLevels:
    """A variance-preserving noise schedule, x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.

    Args:
        alphas_cumprod: abar, [N], falling from almost 1 to almost 0.

    Raises:
        ValueError: a value outside (0, 1), or one that does not fall.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        values = alphas_cumprod.detach().double().cpu()
        if values.ndim != 1 or not bool(((values > 0) & (values < 1)).all()):
            raise ValueError("alphas_cumprod must be a list of numbers between 0 and 1")
        if not bool((values.diff() < 0).all()):
            raise ValueError("alphas_cumprod must fall from each timestep to the next")
        self.alphas_cumprod = values
        # Copied once, so that looking up a level does not wait for a GPU.
        self._on_device = {values.device: values}

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    @staticmethod
    def scaled_linear(
        timesteps: int = 1000, start: float = 0.00085, end: float = 0.012
    ) -> "NoiseLevels":
        """Stable Diffusion's and Zero123's: betas whose square roots are evenly spaced."""
        betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64).square()
        return NoiseLevels(torch.cumprod(1.0 - betas, 0))

    @staticmethod
    def cosine(
        timesteps: int = 1000, offset: float = 0.008, largest_beta: float = 0.999
    ) -> "NoiseLevels":
        """Nichol and Dhariwal 2021, Eq. (17): gentler than the above on small images."""
        t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
        signal = torch.cos((t + offset) / (1.0 + offset) * torch.pi / 2.0).square()
        betas = (1.0 - signal[1:] / signal[:-1]).clamp(max=largest_beta)
        return NoiseLevels(torch.cumprod(1.0 - betas, 0))

    def abar(self, t: Tensor) -> Tensor:
        """abar of timesteps [B] (long), shaped [B, 1, 1, 1], float32 on their device."""
        return self._at(t).to(torch.float32).view(-1, 1, 1, 1)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise over signal, sqrt((1 - abar) / abar), [B, 1, 1, 1]: SJC's sigma."""
        abar = self._at(t)
        return ((1.0 - abar) / abar).sqrt().to(torch.float32).view(-1, 1, 1, 1)

    def _at(self, t: Tensor) -> Tensor:
        """abar of timesteps [B], float64 on their device."""
        if t.device not in self._on_device:
            self._on_device[t.device] = self.alphas_cumprod.to(t.device)
        return self._on_device[t.device][t]

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t of ``clean`` [B, C, h, w] at timesteps [B]."""
        abar = self.abar(t)
        return abar.sqrt() * clean + (1.0 - abar).sqrt() * noise

    def clean_from_noise(self, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_0 estimated from x_t and predicted noise: one-step denoising."""
        abar = self.abar(t)
        return (noisy - (1.0 - abar).sqrt() * noise) / abar.sqrt()


@dataclass(frozen=True, eq=False)
class Condition:
    """One view with an image, as a score model keeps it.

    Attributes:
        camera: of that view.
        tensors: what the model made of its image; computed once and kept for the whole run.
    """

    camera: Camera
    tensors: dict[str, Tensor]


class ScoreModel(Protocol):
    """Denoises views of an object given another of its views. All cameras look at the origin.

    Attributes:
        levels: its noise schedule.
        picture_size: side S of the square images it reads, in pixels.
        object_length: length, in world units, of the longest side of the object's bounding box;
            for models that were trained on objects of one size.
    """

    levels: NoiseLevels
    picture_size: int
    object_length: float

    def view(self, image: Tensor, camera: Camera) -> tuple[Tensor, Camera]:
        """A render on white, [3, H, W] in [0, 1], as the model wants to see it: [3, S, S].

        Differentiable. The camera returned is the one to pass as its target.
        """
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in [0, 1], on white → what is noised, [B, C, h, w].

        Differentiable; a score model's own parameters never get gradients.
        """
        ...

    def decode(self, clean: Tensor) -> Tensor:
        """[B, C, h, w] → images [B, 3, S, S] in [0, 1], to look at; without gradients."""
        ...

    def condition(self, image: Tensor, camera: Camera) -> Condition:
        """Prepare the view ``image`` [3, H, W] in [0, 1], on white, of any size."""
        ...

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Condition,
        targets: Sequence[Camera],
        guidance: float = 1.0,
    ) -> Tensor:
        """The noise in x_t [B, C, h, w] at timesteps [B], seen from B target cameras; no gradients.

        Args:
            guidance: classifier-free guidance, unconditional + guidance * (conditional -
                unconditional); 1 = the conditional prediction alone, 0 = the unconditional one.
        """
        ...

"""Scaling of images and latents as in Zero123++ (source: its pipeline and its issue 66).

=================  ==============================================================================
target (the tile)  [0, 1] → (p - 0.5) / 0.8 → VAE → x scaling_factor → (latent - 0.22) · 0.75
condition          [0, 1] → feature_extractor_vae (same formula) → VAE, and nothing after it:
                   leaving the factor 0.18215 out is the paper's "scaled reference attention"
=================  ==============================================================================

The 0.8 keeps images away from the ends of the VAE's range; the shift and factor bring latents of
objects on grey to about zero mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from blender_render.dataset.readers import composite

if TYPE_CHECKING:  # diffusers takes seconds to import, and commands without networks come here
    from diffusers import AutoencoderKL

GREY = 0.5  # background behind the object, in [0, 1]

_IMAGE_MEAN, _IMAGE_STD = 0.5, 0.8
_LATENT_SHIFT, _LATENT_FACTOR = 0.22, 0.75


def on_grey(rgba: Tensor, background: float = GREY) -> Tensor:
    """Straight-alpha RGBA [..., H, W, 4] in [0, 1] → RGB [..., 3, H, W] over a grey level."""
    return composite(rgba, background).movedim(-1, -3)


def scale_image(images: Tensor) -> Tensor:
    """[0, 1] → [-0.625, 0.625], the range that Zero123++ gives its VAE; any shape."""
    return (images - _IMAGE_MEAN) / _IMAGE_STD


def unscale_image(scaled: Tensor) -> Tensor:
    """Undo `scale_image`."""
    return scaled * _IMAGE_STD + _IMAGE_MEAN


def scale_latents(latents: Tensor) -> Tensor:
    """Target latents (after the VAE's scaling factor) → scaled latents; any shape."""
    return (latents - _LATENT_SHIFT) * _LATENT_FACTOR


def unscale_latents(latents: Tensor) -> Tensor:
    """Undo `scale_latents`."""
    return latents / _LATENT_FACTOR + _LATENT_SHIFT


def raw_moments_for_unit_latents(scaling_factor: float) -> tuple[float, float]:
    """Mean and standard deviation that raw VAE latents need for N(0, 1) after all scalings."""
    mean, std = float(unscale_latents(torch.zeros(()))), 1.0 / _LATENT_FACTOR
    return mean / scaling_factor, std / scaling_factor


def encode_vae(
    vae: AutoencoderKL,
    scaled: Tensor,
    *,
    chunk: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images [..., 3, H, W] in the VAE's range → raw latents [..., C, h, w], no factor applied.

    Args:
        chunk: images in the VAE at once; limits memory, does not change the result.
        generator: draws the sample of the posterior; None takes its mean.
    """
    flat = scaled.flatten(0, -4).to(vae.dtype)
    posteriors = [vae.encode(part).latent_dist for part in flat.split(max(1, chunk))]
    raw = torch.cat([posterior.mean for posterior in posteriors])
    if generator is not None:
        # Drawn at once, so that the sample does not depend on the chunks.
        noise = torch.randn(raw.shape, generator=generator, device=generator.device)
        raw = raw + torch.cat([p.std for p in posteriors]) * noise.to(raw.device, raw.dtype)
    return raw.view(*scaled.shape[:-3], *raw.shape[1:])


def decode_vae(vae: AutoencoderKL, raw: Tensor, *, chunk: int = 1) -> Tensor:
    """Raw latents [..., C, h, w] → images [..., 3, H, W] in the VAE's range."""
    flat = raw.flatten(0, -4).to(vae.dtype)
    parts = [
        cast(Tensor, vae.decode(part, return_dict=False)[0]) for part in flat.split(max(1, chunk))
    ]
    images = torch.cat(parts)
    return images.view(*raw.shape[:-3], *images.shape[1:])


def encode_target(vae: AutoencoderKL, tiles: Tensor, *, chunk: int = 1) -> Tensor:
    """Tiles [..., 3, H, W] in [0, 1] → scaled latents [..., C, h, w], the input of diffusion."""
    raw = encode_vae(vae, scale_image(tiles), chunk=chunk)
    return scale_latents(raw * vae.config.scaling_factor)


def decode_target(vae: AutoencoderKL, latents: Tensor, *, chunk: int = 1) -> Tensor:
    """Undo `encode_target`; images [..., 3, H, W], not clipped."""
    raw = unscale_latents(latents) / vae.config.scaling_factor
    return unscale_image(decode_vae(vae, raw, chunk=chunk))

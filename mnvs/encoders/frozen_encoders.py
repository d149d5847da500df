"""The frozen networks beside the UNet: VAE, CLIP vision encoder, empty prompt, image processors."""

import dataclasses

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from mnvs.encoders import vae_scaling
from mnvs.encoders.preprocessing import Preprocessing
from mnvs.encoders.prompt import EmptyPrompt
from training_core.config import InputError


@dataclasses.dataclass(eq=False)
class Encoders:
    """The frozen networks and processors between images and the UNet's inputs.

    Images are RGB in [0, 1], composited over grey, channel-first, B videos of T frames; Tc, the
    number of condition frames, is 1 or T. Results are on the networks' device, in their dtype.

    Attributes:
        ramp: [77] float32, weight of the image embedding in each state of the prompt.
        chunk: images in the VAE at once.
        place: device of images and results; None = the VAE's. Set for CPU offload, which keeps
            networks elsewhere between their calls.
    """

    vae: AutoencoderKL
    vision: CLIPVisionModelWithProjection
    prompt: EmptyPrompt
    ramp: Tensor
    for_vae: Preprocessing
    for_clip: Preprocessing
    chunk: int = 4
    place: torch.device | None = None

    def __post_init__(self) -> None:
        tokens, width = self.prompt.states.shape
        if len(self.ramp) != tokens:
            raise InputError(f"the ramp has {len(self.ramp)} numbers for {tokens} prompt states")
        if self.vision.config.projection_dim != width:
            raise InputError(
                f"vision encoder gives {self.vision.config.projection_dim} numbers, "
                f"the prompt's states have {width}"
            )
        for network in (self.vae, self.vision, self.prompt):
            network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device of images and results."""
        return self.place or self.vae.device

    @property
    def vae_factor(self) -> int:
        """Pixels per latent in each direction."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode_target(self, tiles: Tensor) -> Tensor:
        """Tiles [B, T, 3, H, W] → scaled latents [B, T, 4, h, w], means of the VAE's posterior."""
        return vae_scaling.encode_target(self.vae, tiles.to(self.device), chunk=self.chunk)

    @torch.no_grad()
    def encode_condition(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Input images [B, Tc, 3, H, W] → raw latents [B, Tc, 4, h', w'], neither multiplied by
        the scaling factor nor shifted.
        """
        normalised = self.for_vae(images.to(self.device))
        return vae_scaling.encode_vae(self.vae, normalised, chunk=self.chunk, generator=generator)

    @torch.no_grad()
    def encode_no_condition(self, height: int, width: int) -> Tensor:
        """Raw latents [4, h', w'] of the unconditional branch, for inputs of this size.

        Zeros in the normalised range, which are mid grey; black would be another image.
        """
        size = self.for_vae.output_size(height, width)
        grey = torch.zeros(3, *size, device=self.device)
        return vae_scaling.encode_vae(self.vae, grey[None])[0]

    @torch.no_grad()
    def embed_image(self, images: Tensor) -> Tensor:
        """Input images [..., 3, H, W] → CLIP image embeddings [..., 1, D]."""
        pixels = self.for_clip(images.to(self.device)).to(self.vision.dtype)
        flat = pixels.flatten(0, -4) if pixels.ndim > 3 else pixels[None]
        embeds = torch.cat([self.vision(part).image_embeds for part in flat.split(self.chunk)])
        return embeds.view(*images.shape[:-3], 1, -1)

    def prompts(self, image_token: Tensor) -> Tensor:
        """Image tokens [..., 1, D] → prompts [..., 77, D]; zeros give the unconditional prompt."""
        return self.prompt(image_token.squeeze(-2), self.ramp)

    @torch.no_grad()
    def decode(self, latents: Tensor, chunk: int | None = None) -> Tensor:
        """Scaled latents [..., 4, h, w] → images [..., 3, H, W] clipped to [0, 1]."""
        images = vae_scaling.decode_target(self.vae, latents, chunk=chunk or self.chunk)
        return images.clamp(0.0, 1.0)

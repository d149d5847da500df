"""Options of Zero123."""

from dataclasses import dataclass

import torch

from training_core.checks import at_least
from training_core.config import option

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Zero123Config:
    """Where its weights are and how they are used; nothing is ever downloaded."""

    path: str = option(
        "",
        "a folder in either diffusers layout, an original checkpoint (.ckpt or .safetensors), or "
        "OWNER/NAME[@REVISION] in the hub's cache",
    )
    variant: str = option("", "of a folder's files, such as fp16, where there are such files")
    original_config: str = option(
        "", "YAML of an original checkpoint; empty = the published 256-pixel architecture"
    )
    dtype: str = option(
        "auto",
        "of the UNet and CLIP; auto = float16 on a GPU, else float32",
        choices=("auto", *_DTYPES),
    )
    vae_dtype: str = option(
        "float32",
        "of the VAE; gradients pass through it, which are too small for float16",
        choices=("float32", "bfloat16"),
    )
    picture_size: int = option(
        0, "side of the pictures it reads, pixels; 0 = what the UNet was built for (256)"
    )
    unconditional: str = option(
        "zero_token",
        "without a condition the UNet sees zero latents and: zero_token = a token of zeros (all "
        "published inference code), proj_zero = the projection of no picture and the camera "
        "(training)",
        choices=("zero_token", "proj_zero"),
    )
    fourth: str = option(
        "radius_difference",
        "last entry of the camera vector; condition_polar for Stable Zero123",
        choices=("radius_difference", "condition_polar"),
    )
    radius: str = option(
        "exact",
        "cameras outside 1.5 to 2.2 object lengths: exact = as they are, clamp = the nearest of "
        "these, pictures cut so that the object has the size it would have there",
        choices=("exact", "clamp"),
    )
    latent: str = option(
        "mode", "of a render: the VAE's mean, or a sample around it", choices=("mode", "sample")
    )
    chunk: int = option(0, "inputs in the UNet at once; 0 = all (guidance takes two a view)")
    vae_chunk: int = option(1, "pictures in the VAE at once; 0 = all")
    checkpoint_vae: bool = option(
        False, "compute the VAE's activations again in the backward pass: less memory, more time"
    )

    def validate(self) -> None:
        """Raises ValueError on negative counts."""
        at_least(0, picture_size=self.picture_size, chunk=self.chunk, vae_chunk=self.vae_chunk)

    def compute_dtype(self, device: torch.device) -> torch.dtype:
        """Number format of the UNet and CLIP on ``device``."""
        if self.dtype == "auto":
            return torch.float16 if device.type == "cuda" else torch.float32
        return _DTYPES[self.dtype]

    def picture_dtype(self) -> torch.dtype:
        """Number format of the VAE."""
        return _DTYPES[self.vae_dtype]

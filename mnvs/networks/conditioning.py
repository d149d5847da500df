"""The inputs of the video UNet besides the noisy latents, as one value that can be batched.

Classifier-free guidance runs two conditionings in one batch; `Conditioning.cat` puts them one
after the other (unconditional rows first by convention), videos staying whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Conditions of B videos of T frames.

    Attributes:
        prompt: [B, 77, D], one for all frames, or [B, T, 77, D]; the image embedding times
            Zero123++'s ramp, added to the empty prompt's states. Read by spatial cross-attention.
        image_token: [B, 1, D], the image embedding, for temporal cross-attention; zeros mean
            unconditional, as in Stable Video Diffusion.
        c_noise: [B], 0.25 ln sigma(t), Stable Video Diffusion's time code; dimensionless.
        added_time_ids: [B, 3], frames per second minus one, motion bucket (0 to 255), strength of
            the noise on the image: Stable Video Diffusion's micro-conditioning.

    Raises:
        ValueError: a tensor of another shape; the message names it.
    """

    prompt: Tensor
    image_token: Tensor
    c_noise: Tensor
    added_time_ids: Tensor

    def __post_init__(self) -> None:
        batch = len(self.c_noise) if self.c_noise.ndim == 1 else None
        if batch is None:
            raise ValueError(f"c_noise is [B], got {list(self.c_noise.shape)}")
        if self.prompt.ndim not in (3, 4) or len(self.prompt) != batch:
            shape = list(self.prompt.shape)
            raise ValueError(f"prompt is [{batch}, (T,) tokens, D] like c_noise, got {shape}")
        width = self.prompt.shape[-1]
        if self.image_token.shape != (batch, 1, width):
            shape = list(self.image_token.shape)
            raise ValueError(f"image_token is [{batch}, 1, {width}] like prompt, got {shape}")
        if self.added_time_ids.ndim != 2 or len(self.added_time_ids) != batch:
            shape = list(self.added_time_ids.shape)
            raise ValueError(f"added_time_ids is [{batch}, 3] like c_noise, got {shape}")

    def tensors(self) -> tuple[Tensor, ...]:
        """The four tensors, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    @classmethod
    def cat(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """The videos of all `parts`, one part after the other.

        Where one part has a prompt per frame, the others' prompts are repeated over its frames.
        """
        frames = {part.prompt.shape[1] for part in parts if part.prompt.ndim == 4}
        if len(frames) > 1:
            raise ValueError(f"prompts for different numbers of frames: {sorted(frames)}")
        if frames:
            count = frames.pop()
            parts = [part.per_frame(count) for part in parts]
        columns = zip(*(part.tensors() for part in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def per_frame(self, num_frames: int) -> Conditioning:
        """The same with `prompt` as [B, T, tokens, D]; a prompt for all frames is repeated.

        Raises:
            ValueError: the prompt is per frame already, for another number of frames.
        """
        prompt = self.prompt
        if prompt.ndim == 3:
            prompt = prompt[:, None].expand(-1, num_frames, -1, -1)
        elif prompt.shape[1] != num_frames:
            raise ValueError(f"prompt is for {prompt.shape[1]} frames, the video has {num_frames}")
        return dataclasses.replace(self, prompt=prompt)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Conditioning:
        """On `device`; `dtype` applies to prompt and image_token alone.

        The time codes stay as they are: half precision cannot tell neighbouring ones apart.
        """
        return Conditioning(
            self.prompt.to(device, dtype),
            self.image_token.to(device, dtype),
            self.c_noise.to(device),
            self.added_time_ids.to(device),
        )

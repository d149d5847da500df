"""The text input of Zero123++: the empty prompt, to which the image embedding is added.

Zero123++ uses the empty prompt only, so one table of 77 states replaces its text encoder of 340M
parameters. It is computed from a checkpoint's tokenizer and text encoder, and
kept in our own checkpoints as `empty_prompt/`, which have no text encoder.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn

from training_core.config import InputError

RAMP_KEY = "ramping_coefficients"


class EmptyPrompt(ModelMixin, ConfigMixin):
    """States of the empty prompt, to which an image embedding is added with learned weights.

    Args:
        tokens: number of states (77).
        width: of a state, D.
    """

    @register_to_config
    def __init__(self, tokens: int = 77, width: int = 1024) -> None:
        super().__init__()
        self.states = nn.Parameter(torch.zeros(tokens, width), requires_grad=False)

    def forward(self, image_embeds: Tensor, ramp: Tensor) -> Tensor:
        """Prompts [..., 77, D] of image embeddings [..., D]: states + embedding · ramp.

        Zero123++, "local and global conditioning"; ``ramp`` [77] is learned. A ramp of zeros gives
        the unconditional prompt.
        """
        return self.states + image_embeds.unsqueeze(-2) * ramp.to(self.states).unsqueeze(-1)


def check_ramp(values: Any, where: str) -> Tensor:
    """The ramp as a float32 tensor; InputError naming ``where`` if it is not a list of numbers."""
    numbers = isinstance(values, Sequence) and all(
        isinstance(v, int | float) and math.isfinite(v) for v in values
    )
    if not numbers or not values:
        raise InputError(f"{where}: {RAMP_KEY} is missing or not a list of numbers")
    return torch.tensor([float(v) for v in values])

"""The text side of Zero123++: the empty prompt, onto which the image embedding is ramped.

Zero123++ never sees another prompt than the empty one, so its 340M-parameter text encoder comes
down to one table of 77 states. It is computed from a checkpoint's tokenizer and text encoder, and
kept in our own checkpoints as `empty_prompt/`, which have no text encoder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from safetensors import SafetensorError
from torch import Tensor, nn

from mnvs.checkpoints.weights import variant_in
from training_core.config import InputError
from training_core.files.json_files import read_json

FOLDER = "empty_prompt"
INDEX_FILE = "model_index.json"
RAMP_KEY = "ramping_coefficients"

# What from_pretrained of diffusers and transformers raises for a missing or unfit checkpoint.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError)


class EmptyPrompt(ModelMixin, ConfigMixin):
    """States of the empty prompt, and the ramp onto them.

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


def read_index(folder: Path) -> dict[str, Any]:
    """Content of a checkpoint's `model_index.json`.

    Raises:
        InputError: it is missing or not a JSON object.
    """
    return read_json(folder / INDEX_FILE)


def read_ramp(folder: Path) -> Tensor:
    """The learned ramp [77] in a checkpoint's `model_index.json`; InputError without one."""
    return check_ramp(read_index(folder).get(RAMP_KEY), str(folder / INDEX_FILE))


def check_ramp(values: Any, where: str) -> Tensor:
    """The ramp as a float32 tensor; InputError naming ``where`` if it is not a list of numbers."""
    numbers = isinstance(values, Sequence) and all(isinstance(v, int | float) for v in values)
    if not numbers or not values:
        raise InputError(f"{where}: {RAMP_KEY} is missing or not a list of numbers")
    return torch.tensor([float(v) for v in values])


def load_empty_prompt(
    folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None
) -> EmptyPrompt:
    """`empty_prompt/` of a checkpoint, else computed from its tokenizer and text encoder.

    Raises:
        InputError: neither form is there, or it cannot be read.
    """
    stored = folder / FOLDER
    if stored.is_dir():
        try:
            return EmptyPrompt.from_pretrained(
                stored,
                torch_dtype=dtype,
                variant=variant_in(stored, variant),
                use_safetensors=True,
            )
        except LOAD_ERRORS as error:
            raise InputError(f"{stored}: {str(error).splitlines()[0]}") from error
    if not ((folder / "tokenizer").is_dir() and (folder / "text_encoder").is_dir()):
        raise InputError(
            f"{folder}: holds neither {FOLDER}/ nor tokenizer/ and text_encoder/, "
            "from which the empty prompt would be computed"
        )
    prompt = _compute(folder, variant)
    prompt.states.data = prompt.states.to(dtype)
    return prompt


@torch.no_grad()
def _compute(folder: Path, variant: str | None) -> EmptyPrompt:
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(
            folder / "text_encoder",
            variant=variant_in(folder / "text_encoder", variant, "model"),
            dtype=torch.float32,
            use_safetensors=True,
        )
    except LOAD_ERRORS as error:
        raise InputError(f"{folder}: text encoder: {str(error).splitlines()[0]}") from error
    length = encoder.config.max_position_embeddings
    ids = tokenizer("", padding="max_length", max_length=length, return_tensors="pt")
    states = encoder(ids.input_ids)[0][0]
    tokens, width = states.shape
    prompt = EmptyPrompt(tokens, width)
    prompt.states.copy_(states)
    return prompt

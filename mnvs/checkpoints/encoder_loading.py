"""The frozen encoders from a checkpoint: VAE, CLIP vision encoder, empty prompt, processors.

Reads the layout of Zero123++ (`sudo-ai/zero123plus-v1.2`): folders `vae`, `vision_encoder`,
`feature_extractor_vae`, `feature_extractor_clip`, `model_index.json` with the learned ramp, and
either `tokenizer` + `text_encoder` or our `empty_prompt`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from mnvs.checkpoints.progress_bars import without_progress_bars
from mnvs.checkpoints.weights import WEIGHTS, checkpoint_folder, open_weights, variant_in
from mnvs.encoders.frozen_encoders import Encoders
from mnvs.encoders.preprocessing import Preprocessing
from mnvs.encoders.prompt import RAMP_KEY, EmptyPrompt, check_ramp
from training_core.config import InputError
from training_core.files.json_files import read_json
from training_core.files.pickled_tensors import listed
from training_core.files.weight_file import refuse_not_finite

PROMPT_FOLDER = "empty_prompt"
INDEX_FILE = "model_index.json"

# What from_pretrained of diffusers and transformers raises for a missing or unfit checkpoint.
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError)


@without_progress_bars()
def load_encoders(
    checkpoint: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
    chunk: int = 4,
) -> Encoders:
    """Read a checkpoint folder, or one in the Hub cache by name; pickled weights are not read.

    Args:
        variant: of the files, such as "fp16", where there are such files.

    Raises:
        InputError: naming the folder and what is missing or does not fit.
    """
    folder = checkpoint_folder(checkpoint)
    for part, stem in (("vae", WEIGHTS), ("vision_encoder", "model")):
        # Looks at names and types of tensors. Several files, or none, are left to the libraries.
        whole = (folder / part / f"{stem}.safetensors").is_file()
        if whole or variant_in(folder / part, variant, stem):
            open_weights(folder / part, variant, stem)
    try:
        vae, read_of_vae = AutoencoderKL.from_pretrained(
            folder / "vae",
            variant=variant_in(folder / "vae", variant),
            torch_dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
        vision, read_of_vision = CLIPVisionModelWithProjection.from_pretrained(
            folder / "vision_encoder",
            variant=variant_in(folder / "vision_encoder", variant, "model"),
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except _LOAD_ERRORS as error:
        raise InputError(f"{folder}: {str(error).splitlines()[0]}") from error
    _refuse_missing(read_of_vae, folder / "vae")
    _refuse_missing(read_of_vision, folder / "vision_encoder")
    prompt = load_empty_prompt(folder, dtype, variant)
    for network in (vae, vision, prompt):
        # safetensors before 0.8 returns memory-mapped tensors: the file may be written again, and
        # their alignment in memory changes the rounding of sums.
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = tensor.data.clone()
        refuse_not_finite(network.state_dict(), f"{folder}: {type(network).__name__}")
    return Encoders(
        vae,
        vision,
        prompt,
        read_ramp(folder),
        Preprocessing.read(folder / "feature_extractor_vae"),
        Preprocessing.read(folder / "feature_extractor_clip"),
        chunk,
    )


def read_index(folder: Path) -> dict[str, Any]:
    """Content of a checkpoint's `model_index.json`.

    Raises:
        InputError: it is missing or not a JSON object.
    """
    return read_json(folder / INDEX_FILE)


def _refuse_missing(read: Mapping[str, Any], folder: Path) -> None:
    """Both libraries fill what a file does not have with random numbers, or with nothing."""
    if missing := sorted(read["missing_keys"]):
        raise InputError(f"{folder}: {len(missing)} tensors missing: {listed(missing)}")


def read_ramp(folder: Path) -> Tensor:
    """The learned ramp [77] in a checkpoint's `model_index.json`; InputError without one."""
    return check_ramp(read_index(folder).get(RAMP_KEY), str(folder / INDEX_FILE))


@without_progress_bars()
def load_empty_prompt(
    folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None
) -> EmptyPrompt:
    """`empty_prompt/` of a checkpoint, else computed from its tokenizer and text encoder.

    Raises:
        InputError: neither form is there, or it cannot be read.
    """
    stored = folder / PROMPT_FOLDER
    if stored.is_dir():
        try:
            return EmptyPrompt.from_pretrained(
                stored,
                torch_dtype=dtype,
                variant=variant_in(stored, variant),
                use_safetensors=True,
            )
        except _LOAD_ERRORS as error:
            raise InputError(f"{stored}: {str(error).splitlines()[0]}") from error
    if not ((folder / "tokenizer").is_dir() and (folder / "text_encoder").is_dir()):
        raise InputError(
            f"{folder}: holds neither {PROMPT_FOLDER}/ nor tokenizer/ and text_encoder/, "
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
    except _LOAD_ERRORS as error:
        raise InputError(f"{folder}: text encoder: {str(error).splitlines()[0]}") from error
    length = encoder.config.max_position_embeddings
    ids = tokenizer("", padding="max_length", max_length=length, return_tensors="pt")
    states = encoder(ids.input_ids)[0][0]
    tokens, width = states.shape
    prompt = EmptyPrompt(tokens, width)
    prompt.states.copy_(states)
    return prompt

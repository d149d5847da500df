"""The architecture of an original Zero123 checkpoint, in the terms of diffusers and transformers.

The published checkpoints share one (cvlab-columbia/zero123,
configs/sd-objaverse-finetune-c_concat-256.yaml); others come with a YAML file of that form. CLIP's
is read from its tensors, as OpenAI's own loader does.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sjc_papr.score_models.base import NoiseLevels
from sjc_papr.score_models.zero123.names import CLIP
from training_core.config import ConfigError, InputError, read_yaml_values
from training_core.files.weight_file import WeightFile

PUBLISHED: dict[str, Any] = {
    "linear_start": 0.00085,
    "linear_end": 0.0120,
    "timesteps": 1000,
    "scale_factor": 0.18215,
    "conditioning_key": "hybrid",
    "unet_config": {
        "params": {
            "image_size": 32,
            "in_channels": 8,
            "out_channels": 4,
            "model_channels": 320,
            "attention_resolutions": [4, 2, 1],
            "num_res_blocks": 2,
            "channel_mult": [1, 2, 4, 4],
            "num_heads": 8,
            "transformer_depth": 1,
            "context_dim": 768,
        }
    },
    "first_stage_config": {
        "params": {
            "embed_dim": 4,
            "ddconfig": {
                "z_channels": 4,
                "resolution": 256,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 128,
                "ch_mult": [1, 2, 4, 4],
                "num_res_blocks": 2,
                "attn_resolutions": [],
            },
        }
    },
}

# OpenAI's ViT-L/14.
VISION: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "projection_dim": 768,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "hidden_act": "quick_gelu",
}

Settings = dict[str, dict[str, Any]]


def published() -> Settings:
    """Configs by component of the published checkpoints."""
    unet = _unet(PUBLISHED["unet_config"]["params"])
    return {"unet": unet, "vae": _vae(PUBLISHED), "image_encoder": VISION}


def settings(file: WeightFile, yaml_path: str) -> tuple[Settings, NoiseLevels]:
    """Configs by component (unet, vae, image_encoder), and the noise schedule.

    Args:
        yaml_path: the checkpoint's own YAML; empty = the published architecture.

    Raises:
        InputError: the YAML lacks something or asks for what Zero123 does not have, the schedule
            in the checkpoint is another, or CLIP's tensors make no encoder.
    """
    params = _read(Path(yaml_path)) if yaml_path else PUBLISHED
    try:
        found = {
            "unet": _unet(params["unet_config"]["params"]),
            "vae": _vae(params),
            "image_encoder": vision_settings(file),
        }
        levels = NoiseLevels.scaled_linear(
            params["timesteps"], params["linear_start"], params["linear_end"]
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{yaml_path}: no architecture of Zero123 ({error!r})") from error
    if params.get("conditioning_key", "hybrid") != "hybrid":
        raise InputError(f"{yaml_path}: conditioning_key must be 'hybrid'")
    _compare_schedule(file, levels)
    return found, levels


def vision_settings(file: WeightFile) -> dict[str, Any]:
    """Config of CLIP's vision encoder from the shapes of OpenAI's tensors.

    Raises:
        InputError: a tensor that tells a size is not there.
    """
    try:
        width, _, patch, _ = file.shapes[f"{CLIP}visual.conv1.weight"]
        tokens = file.shapes[f"{CLIP}visual.positional_embedding"][0]
        projected = file.shapes[f"{CLIP}visual.proj"][1]
        inner = file.shapes[f"{CLIP}visual.transformer.resblocks.0.mlp.c_fc.weight"][0]
    except KeyError as error:
        raise InputError(f"{file.path}: 1 tensors missing: {error.args[0]}") from None
    block = re.compile(re.escape(f"{CLIP}visual.transformer.resblocks.") + r"(\d+)\.")
    layers = {int(m[1]) for m in map(block.match, file.shapes) if m}
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": projected,
        "num_hidden_layers": max(layers) + 1,
        "num_attention_heads": max(1, width // 64),
        "patch_size": patch,
        "image_size": patch * round((tokens - 1) ** 0.5),
        "hidden_act": "quick_gelu",
    }


def _unet(params: Mapping[str, Any]) -> dict[str, Any]:
    depth, heads = params.get("transformer_depth", 1), params.get("num_heads", -1)
    if depth != 1 or heads < 1 or params.get("use_linear_in_transformer", False):
        raise InputError(
            "the UNet of an original checkpoint must have num_heads, transformer_depth 1 and no "
            "linear layers around its attention, as Zero123's"
        )
    channels = [params["model_channels"] * factor for factor in params["channel_mult"]]
    attends = [2**level in params["attention_resolutions"] for level in range(len(channels))]
    return {
        "sample_size": params["image_size"],
        "in_channels": params["in_channels"],
        "out_channels": params["out_channels"],
        "block_out_channels": channels,
        "down_block_types": [("CrossAttn" if a else "") + "DownBlock2D" for a in attends],
        "up_block_types": [("CrossAttn" if a else "") + "UpBlock2D" for a in reversed(attends)],
        "layers_per_block": params["num_res_blocks"],
        "cross_attention_dim": params["context_dim"],
        "attention_head_dim": heads,  # the number of heads, by its historic name
    }


def _vae(params: Mapping[str, Any]) -> dict[str, Any]:
    of_vae = params["first_stage_config"]["params"]
    inner = of_vae["ddconfig"]
    if inner.get("attn_resolutions") or of_vae["embed_dim"] != inner["z_channels"]:
        raise InputError("the VAE of an original checkpoint must be that of Stable Diffusion 1")
    channels = [inner["ch"] * factor for factor in inner["ch_mult"]]
    return {
        "in_channels": inner["in_channels"],
        "out_channels": inner["out_ch"],
        "latent_channels": inner["z_channels"],
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": inner["num_res_blocks"],
        "sample_size": inner["resolution"],
        "scaling_factor": params["scale_factor"],
    }


def _compare_schedule(file: WeightFile, levels: NoiseLevels) -> None:
    """Checkpoints carry their schedule; a wrong YAML shows here."""
    if "alphas_cumprod" not in file.shapes:
        return
    stored = file.read("alphas_cumprod").double()
    ours = levels.alphas_cumprod
    if stored.shape != ours.shape or not torch.allclose(stored, ours, rtol=1e-3, atol=1e-5):
        raise InputError(f"{file.path}: alphas_cumprod is not Zero123's schedule")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml_values(path)
    except ConfigError as error:
        raise InputError(f"{error}") from error
    params = values.get("model", {}).get("params") if isinstance(values, dict) else None
    if not isinstance(params, dict):
        raise InputError(f"{path}: model.params is not there")
    return params

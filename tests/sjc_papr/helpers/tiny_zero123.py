"""A Zero123 of random weights, small enough for a CPU, in each layout in which it is published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from sjc_papr.score_models.base import NoiseLevels
from sjc_papr.score_models.zero123.loading import Zero123Networks
from sjc_papr.score_models.zero123.names import (
    PROJECTION,
    TensorLocation,
    unet_sources,
    vae_sources,
    vision_sources,
)

SIDE = 32
EMBEDDING = 16
LAYOUTS = ("clip_camera_projection", "cc_projection", "original")
# The architecture in the words of the original's YAML. Its layers normalise in 32 groups.
ARCHITECTURE: dict[str, Any] = {
    "model": {
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.0120,
            "timesteps": 1000,
            "scale_factor": 0.18215,
            "conditioning_key": "hybrid",
            "unet_config": {
                "params": {
                    "image_size": SIDE // 2,
                    "in_channels": 8,
                    "out_channels": 4,
                    "model_channels": 32,
                    "attention_resolutions": [1],
                    "num_res_blocks": 1,
                    "channel_mult": [1, 2],
                    "num_heads": 2,
                    "context_dim": EMBEDDING,
                }
            },
            "first_stage_config": {
                "params": {
                    "embed_dim": 4,
                    "ddconfig": {
                        "z_channels": 4,
                        "resolution": SIDE,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 32,
                        "ch_mult": [1, 1],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                    },
                }
            },
        }
    }
}


def tiny_networks(seed: int = 0) -> Zero123Networks:
    """Random networks, frozen, float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=SIDE // 2,
            in_channels=8,
            out_channels=4,
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=EMBEDDING,
            attention_head_dim=2,
        )
        vae = AutoencoderKL(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            sample_size=SIDE,
            scaling_factor=0.18215,
        )
        vision = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=128,
                intermediate_size=160,
                projection_dim=EMBEDDING,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=7,
            )
        )
        projection = nn.Linear(EMBEDDING + 4, EMBEDDING)
        # Random layers hardly move their bias; a token must matter in the tests.
        nn.init.normal_(projection.weight)
    networks = Zero123Networks(unet, vae, vision, projection, NoiseLevels.scaled_linear())
    for part in networks.parts():
        part.eval().requires_grad_(False)
    return networks


def write(networks: Zero123Networks, layout: str, folder: Path) -> Path:
    """What ``zero123.path`` names: a folder, or the file of an original checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "original":
        return write_original(networks, folder)
    networks.unet.save_pretrained(folder / "unet")
    networks.vae.save_pretrained(folder / "vae")
    networks.vision.save_pretrained(folder / "image_encoder")
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    ).save_pretrained(folder / "scheduler")
    inner = {"clip_camera_projection": "proj", "cc_projection": "projection"}[layout]
    (folder / layout).mkdir()
    tensors = {f"{inner}.{n}": t for n, t in networks.projection.state_dict().items()}
    save_file(tensors, folder / layout / "diffusion_pytorch_model.safetensors")
    return folder


def write_original(
    networks: Zero123Networks,
    folder: Path,
    *,
    averaged: bool = True,
    extra: Mapping[str, Tensor] | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Path:
    """``zero123.ckpt`` as Lightning writes it, and its YAML.

    Args:
        averaged: with an averaged UNet; the one beside it is then another.
        extra: more tensors. beside: more of the training state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zero123.yaml").write_text(yaml.safe_dump(ARCHITECTURE))
    state = original_state(networks, averaged=averaged) | dict(extra or {})
    path = folder / "zero123.ckpt"
    torch.save({"epoch": 3, "global_step": 105000, "state_dict": state, **(beside or {})}, path)
    return path


def original_state(networks: Zero123Networks, *, averaged: bool) -> dict[str, Tensor]:
    """State dict of the original's LatentDiffusion."""
    unet = networks.unet.state_dict()
    state = stored(unet, unet_sources(unet, 1, averaged=averaged))
    if averaged:
        last = stored(unet, unet_sources(unet, 1, averaged=False))
        state |= {name: tensor + 0.5 for name, tensor in last.items()}
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(9)}
    vae = networks.vae.state_dict()
    state |= stored(vae, vae_sources(vae, 2))
    vision = networks.vision.state_dict()
    state |= stored(vision, vision_sources(vision))
    state |= {PROJECTION + n: t for n, t in networks.projection.state_dict().items()}
    abar = networks.levels.alphas_cumprod.float()
    state |= {"alphas_cumprod": abar, "betas": torch.rand(1000), "logvar": torch.zeros(1000)}
    state["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    state["cond_stage_model.model.token_embedding.weight"] = torch.rand(5, 3)
    return {name: tensor.contiguous() for name, tensor in state.items()}


def stored(
    tensors: Mapping[str, Tensor], sources: Mapping[str, TensorLocation]
) -> dict[str, Tensor]:
    """The inverse of ``TensorLocation.take``: tensors as they lie in an original checkpoint."""
    state: dict[str, Tensor] = {}
    for name, source in sources.items():
        tensor = tensors[name]
        if source.third >= 0:
            thirds = {s.third: tensors[n] for n, s in sources.items() if s.name == source.name}
            tensor = torch.cat([thirds[0], thirds[1], thirds[2]])
        elif source.transposed:
            tensor = tensor.T
        elif source.kernel:
            tensor = tensor[..., None, None]
        state[source.name] = tensor
    return state

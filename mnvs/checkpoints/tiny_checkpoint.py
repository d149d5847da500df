"""Build a tiny checkpoint with random weights, in the layout of the real ones.

::

    FOLDER/zero123plus/   vae, vision_encoder, unet (2D, SD 2.1 form), scheduler, empty_prompt,
                          feature_extractor_vae and _clip, model_index.json with the ramp
    FOLDER/svd/unet/      the temporal UNet of Stable Video Diffusion
    FOLDER/animatediff/   a MotionAdapter
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from mnvs.checkpoints.encoder_loading import INDEX_FILE, PROMPT_FOLDER
from mnvs.checkpoints.progress_bars import without_progress_bars
from mnvs.encoders.preprocessing import CONFIG_FILE, Preprocessing
from mnvs.encoders.prompt import RAMP_KEY, EmptyPrompt
from training_core.checks import at_least
from training_core.config import SEEDS, InputError, option
from training_core.files.atomic import new_directory, write_json
from training_core.files.weight_file import refuse_not_finite

TOKENS = 77
# Zero123++ v1.2 (facts: its scheduler_config.json); trailing spacing as in all its examples.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}


@dataclasses.dataclass
class TinyConfig:
    """Sizes of a tiny checkpoint."""

    folder: str = option("models/tiny", "folder to write; must not exist yet")
    vae: str = option("", "folder of a VAE fitted by mnvs.train_vae; empty = random weights")
    view_size: int = option(64, "side of one view and of the input image, pixels")
    vae_channels: list[int] = option(
        [16, 32, 32], "random VAE: channels of its levels; each level but the last halves the size"
    )
    unet_channels: list[int] = option(
        [64, 128, 128],
        "UNet: channels of its levels, multiples of 32; the last has no attention",
    )
    heads: list[int] = option([2, 4, 4], "UNet: attention heads of its levels")
    layers: int = option(1, "UNet: residual blocks per level")
    width: int = option(64, "width of prompts, image tokens and the vision encoder")
    seed: int = option(0, "seed of all weights", bounds=SEEDS)

    def validate(self) -> None:
        """Raises ValueError on sizes that cannot be built, or do not fit together."""
        if not self.folder:
            raise ValueError("folder is missing: where to?")
        at_least(16, view_size=self.view_size, width=self.width)
        at_least(1, layers=self.layers, heads=min(self.heads, default=0))
        at_least(32, unet_channels=min(self.unet_channels, default=0))
        if not self.vae_channels or any(c < 4 or c % 4 for c in self.vae_channels):
            raise ValueError(f"vae_channels must be multiples of 4, are {self.vae_channels}")
        if len(self.unet_channels) != len(self.heads) or len(self.unet_channels) < 2:
            raise ValueError("unet_channels and heads must be of one length, at least 2")
        if any(c % 32 or c % h for c, h in zip(self.unet_channels, self.heads, strict=True)):
            raise ValueError("unet_channels must be multiples of 32 and of their heads")
        if self.view_size % 16 or self.width % 16:
            raise ValueError("view_size and width must be multiples of 16")


@dataclasses.dataclass(frozen=True)
class TinyCheckpoint:
    """Folders that `load_unet` and `load_encoders` read."""

    zero123plus: Path
    svd: Path
    animatediff: Path


def build_tiny(folder: str | Path, seed: int = 0, **sizes: Any) -> TinyCheckpoint:
    """Write a tiny checkpoint; equal arguments give equal files.

    Args:
        sizes: see `TinyConfig`.

    Raises:
        InputError: the folder exists already, or `vae` is no VAE.
    """
    config = TinyConfig(folder=str(folder), seed=seed, **sizes)
    config.validate()
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists already; choose another folder")
    made = TinyCheckpoint(folder / "zero123plus", folder / "svd", folder / "animatediff")
    # Weights come from torch's global generator, whose state is the caller's.
    with torch.random.fork_rng(devices=[]), new_directory(folder) as work:
        torch.manual_seed(config.seed)
        _write_zero123plus(config, work / made.zero123plus.name)
        temporal_unet(config).save_pretrained(work / made.svd.name / "unet")
        motion_adapter(config).save_pretrained(work / made.animatediff.name)
    return made


def _write_zero123plus(config: TinyConfig, folder: Path) -> None:
    checkpoint_vae(config).save_pretrained(folder / "vae")
    vision = vision_encoder(config)
    with without_progress_bars():
        vision.save_pretrained(folder / "vision_encoder")
    spatial_unet(config).save_pretrained(folder / "unet")
    scheduler = EulerAncestralDiscreteScheduler(**SCHEDULER)
    scheduler.save_pretrained(folder / "scheduler")
    prompt = EmptyPrompt(TOKENS, config.width)
    # Layer-normalised, as a text encoder's states are.
    torch.nn.init.normal_(prompt.states)
    prompt.save_pretrained(folder / PROMPT_FOLDER)
    side = config.view_size
    vae = Preprocessing(side, (side, side), (0.5,) * 3, (0.8,) * 3)
    for name, processing in (("clip", _clip_processing(config)), ("vae", vae)):
        target = folder / f"feature_extractor_{name}"
        target.mkdir()
        write_json(target / CONFIG_FILE, processing.settings())
    ramp = [1.2 * math.sqrt(i / (TOKENS - 1)) for i in range(TOKENS)]
    write_json(
        folder / INDEX_FILE,
        {
            "_class_name": "Zero123PlusPipeline",
            "feature_extractor_clip": ["transformers", "CLIPImageProcessor"],
            "feature_extractor_vae": ["transformers", "CLIPImageProcessor"],
            RAMP_KEY: ramp,
            "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "vision_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        },
    )


def _clip_processing(config: TinyConfig) -> Preprocessing:
    side = config.view_size
    return Preprocessing.from_settings({"size": side, "crop_size": side}, "tiny")


def checkpoint_vae(config: TinyConfig) -> AutoencoderKL:
    """The VAE in the folder `vae`, or a random one; InputError if the folder holds none."""
    if not config.vae:
        return new_vae(config.vae_channels, config.view_size)
    try:
        vae = AutoencoderKL.from_pretrained(config.vae, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"vae={config.vae}: {str(error).splitlines()[0]}") from error
    refuse_not_finite(vae.state_dict(), f"vae={config.vae}")
    return vae


def new_vae(channels: Sequence[int], sample_size: int, layers: int = 1) -> AutoencoderKL:
    """A random VAE with four latent channels; each level but the last halves the size."""
    levels = len(channels)
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=layers,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=sample_size,
        scaling_factor=0.18215,
    )


@torch.no_grad()
def vision_encoder(config: TinyConfig) -> CLIPVisionModelWithProjection:
    """A random CLIP vision encoder whose embeddings differ from image to image.

    Random layers add little to their position embeddings, so that all images would get nearly
    the same embedding; the last normalisation is set to give each channel mean 0 and deviation 1
    over blurred noise amid grey.
    """
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=config.width,
            intermediate_size=2 * config.width,
            projection_dim=config.width,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=config.view_size,
            patch_size=config.view_size // 8,
        )
    ).eval()
    blobs = F.pad(torch.randn(256, 3, 6, 6), (3, 3, 3, 3))
    images = (0.5 + 0.3 * F.interpolate(blobs, config.view_size, mode="bicubic")).clamp(0, 1)
    states = vision.vision_model(_clip_processing(config)(images)).pooler_output
    norm = vision.vision_model.post_layernorm
    norm.weight.copy_(1.0 / states.std(0))
    norm.bias.copy_(-states.mean(0) / states.std(0))
    return vision


def spatial_unet(config: TinyConfig) -> UNet2DConditionModel:
    """Zero123++'s UNet: the form of Stable Diffusion 2.1, smaller."""
    levels = len(config.unet_channels)
    return UNet2DConditionModel(
        sample_size=config.view_size // 4,
        in_channels=4,
        out_channels=4,
        block_out_channels=tuple(config.unet_channels),
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        layers_per_block=config.layers,
        cross_attention_dim=config.width,
        attention_head_dim=tuple(config.heads),  # the number of heads, by its historic name
        use_linear_projection=True,
    )


def temporal_unet(config: TinyConfig) -> UNetSpatioTemporalConditionModel:
    """SVD's UNet on the same channels: 8 input channels, its own spatial weights as well."""
    levels = len(config.unet_channels)
    return UNetSpatioTemporalConditionModel(
        sample_size=config.view_size // 4,
        in_channels=8,
        out_channels=4,
        block_out_channels=tuple(config.unet_channels),
        down_block_types=("CrossAttnDownBlockSpatioTemporal",) * (levels - 1)
        + ("DownBlockSpatioTemporal",),
        up_block_types=("UpBlockSpatioTemporal",)
        + ("CrossAttnUpBlockSpatioTemporal",) * (levels - 1),
        layers_per_block=config.layers,
        cross_attention_dim=config.width,
        num_attention_heads=tuple(config.heads),
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=96,
        num_frames=8,
    )


def motion_adapter(config: TinyConfig) -> MotionAdapter:
    """AnimateDiff's motion modules for the same channels."""
    return MotionAdapter(
        block_out_channels=tuple(config.unet_channels),
        motion_layers_per_block=config.layers,
        motion_num_attention_heads=4,
    )

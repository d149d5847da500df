"""The fused video UNet: Zero123++'s spatial layers, Stable Video Diffusion's temporal layers.

diffusers' UNetSpatioTemporalConditionModel with four input channels, its blocks as they are, and
four changes, each needed for the spatial half to be Zero123++ to the last bit of rounding:
reference attention (``reference_attention``); two time embeddings, one for each half (``blocks``);
the spatial group norms' epsilon; and mixing that can start at the spatial side.

SVD's own extra input, the image latent in channels 5 to 8, is gone: one view cannot be aligned
pixel by pixel with a tile of six others.
"""

from typing import Any, ClassVar

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.embeddings import TimestepEmbedding
from diffusers.models.resnet import AlphaBlender, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor

from mnvs.networks.blending import (
    GATED_MIX_FACTOR,
    Float32Blender,
    check_temporal_start,
    set_mix_factors,
)
from mnvs.networks.block_conversion import convert_blocks
from mnvs.networks.blocks import DualTimestepResBlock, ReferenceTransformer
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.video_unet import VideoUNetMixin

_DOWN = "CrossAttnDownBlockSpatioTemporal"
_UP = "CrossAttnUpBlockSpatioTemporal"


class MNVSUNet(PeftAdapterMixin, VideoUNetMixin, UNetSpatioTemporalConditionModel):
    """Predicts v for T frames of six-view tiles at once.

    The defaults are Zero123++ v1.2's and SVD's common sizes.

    Args:
        others: as in diffusers.
        temporal_start: `svd`, mixing as in SVD's checkpoint; `gated`, mixing starts at 1% temporal
            with a live gradient; `off`, the temporal layers are never run and every frame is
            Zero123++'s. These are start values; a saved model brings its own mix factors.
        spatial_norm_eps: epsilon of the spatial resnets' group norms. diffusers' class has 1e-6
            in most of them, Zero123++ 1e-5, and no checkpoint says so.
    """

    # diffusers wants a list; its `to` warns about these, but they stay float32 there too.
    _keep_in_fp32_modules: ClassVar[list[str]] = ["time_mixer"]

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (_DOWN, _DOWN, _DOWN, "DownBlockSpatioTemporal"),
        up_block_types: tuple[str, ...] = ("UpBlockSpatioTemporal", _UP, _UP, _UP),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        num_frames: int = 14,
        temporal_start: str = "gated",
        spatial_norm_eps: float = 1e-5,
    ) -> None:
        check_temporal_start(temporal_start)
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            addition_time_embed_dim=addition_time_embed_dim,
            projection_class_embeddings_input_dim=projection_class_embeddings_input_dim,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            transformer_layers_per_block=transformer_layers_per_block,
            num_attention_heads=num_attention_heads,
            num_frames=num_frames,
        )
        convert_blocks(
            self,
            {
                AlphaBlender: Float32Blender,
                SpatioTemporalResBlock: DualTimestepResBlock,
                TransformerSpatioTemporalModel: ReferenceTransformer,
            },
        )
        self.number_self_attentions(ReferenceTransformer)
        width = block_out_channels[0]
        self.temporal_time_embedding = TimestepEmbedding(width, 4 * width)
        self._set_norm_eps(spatial_norm_eps)
        self.reset_mix_factors()

    def reset_mix_factors(self) -> None:
        """With `gated`, set every blender to 99% spatial; otherwise keep SVD's mix factors."""
        if self.config.temporal_start == "gated":
            set_mix_factors(self, GATED_MIX_FACTOR)

    def block_arguments(
        self, sample: Tensor, timestep: Tensor | float, conditioning: Conditioning | None
    ) -> dict[str, Any]:
        videos, frames = sample.shape[:2]
        temb = self.spatial_time_embedding(timestep, sample)
        indicator = None
        if conditioning is not None:
            # Zeros mean that every frame is mixed; the blocks also read B and T from its shape.
            indicator = torch.zeros(videos, frames, dtype=sample.dtype, device=sample.device)
            temb = torch.cat([temb, self._temporal_time_embedding(conditioning, sample)], dim=-1)
        return {"temb": temb.repeat_interleave(frames, dim=0), "image_only_indicator": indicator}

    def _temporal_time_embedding(self, conditioning: Conditioning, sample: Tensor) -> Tensor:
        """[B, 4 * width]: SVD's embedding of 0.25 ln sigma and of its micro-conditioning."""
        time_code = self.temporal_time_embedding(
            self.time_proj(conditioning.c_noise).to(sample.dtype)
        )
        ids = self.add_time_proj(conditioning.added_time_ids.flatten())
        ids = ids.unflatten(0, (len(sample), -1)).flatten(1).to(sample.dtype)
        micro: Tensor = self.add_embedding(ids)
        return time_code + micro

    def _set_norm_eps(self, eps: float) -> None:
        for module in self.modules():
            if isinstance(module, DualTimestepResBlock):
                module.spatial_res_block.norm1.eps = eps
                module.spatial_res_block.norm2.eps = eps

"""The fused video UNet: Zero123++'s spatial layers, Stable Video Diffusion's temporal layers.

diffusers' UNetSpatioTemporalConditionModel with four input channels, its blocks as they are, and
four changes, each needed for the spatial half to be Zero123++ to the last bit of rounding:
reference attention (mnvs.reference); two time embeddings, one for each half (mnvs.blocks);
the spatial group norms' epsilon; and mixing that can start at the spatial side.

SVD's own extra input, the image latent in channels 5 to 8, is gone: one view cannot be aligned
pixel by pixel with a tile of six others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor

from mnvs.blocks import Float32Blender, ReferenceTransformer, TwoClockResBlock, adopt
from mnvs.conditioning import Conditioning
from mnvs.reference import ReferenceUNet

TEMPORAL_STARTS = ("svd", "gated", "off")
# sigmoid(4.595) = .99: nearly Zero123++, and a hundredth of the full gradient. At 1e4 it is zero.
GATED_MIX_FACTOR = math.log(0.99 / 0.01)

_DOWN = "CrossAttnDownBlockSpatioTemporal"
_UP = "CrossAttnUpBlockSpatioTemporal"


class MNVSUNet(PeftAdapterMixin, ReferenceUNet, UNetSpatioTemporalConditionModel):
    """Predicts v for T frames of six-view tiles at once.

    The defaults are Zero123++ v1.2's and SVD's common sizes. Beyond diffusers' entries, the
    config has:
        temporal_start: `svd`, mixing as in SVD's checkpoint; `gated`, mixing starts at 1% temporal
            with a live gradient; `off`, the temporal layers are never run and every frame is
            Zero123++'s. Where the mixing starts is set by construction and by `start_mixing`;
            loading a saved model brings its own mix factors.
        spatial_norm_eps: epsilon of the spatial resnets' group norms. diffusers' class has 1e-6
            in most of them, Zero123++ 1e-5, and no checkpoint says so.
    """

    _keep_in_fp32_modules = ("time_mixer",)

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
        if temporal_start not in TEMPORAL_STARTS:
            allowed = ", ".join(TEMPORAL_STARTS)
            raise ValueError(f"temporal_start: {temporal_start!r} is not one of: {allowed}")
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
        adopt(self)
        self.number_self_attentions(ReferenceTransformer)
        width = block_out_channels[0]
        self.temporal_time_embedding = TimestepEmbedding(width, 4 * width)
        self._set_norm_eps(spatial_norm_eps)
        if temporal_start == "gated":
            self.start_mixing(GATED_MIX_FACTOR)

    def start_mixing(self, mix_factor: float) -> None:
        """Set every blender to the same weight, sigmoid(mix_factor), of the spatial side."""
        for module in self.modules():
            if isinstance(module, Float32Blender):
                module.mix_factor.data.fill_(mix_factor)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        conditioning: Conditioning | Tensor,
        reference: Sequence[Tensor] | None = None,
        spatial_only: bool = False,
        return_reference: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """One evaluation of the network, nothing remembered between calls.

        Args:
            sample: [B, T, 4, h, w], noisy latents of the tiles, any h and w.
            timestep: [B] or one for all, training steps in 0..999, whole or not.
            conditioning: of B videos; in a pass over single frames a prompt alone will do.
            reference: what `write_reference` returned; None leaves reference attention out.
            spatial_only: treat the frames as unrelated pictures, as `temporal_start: off` does.
            return_reference: return the inputs of the spatial self-attentions instead.

        Returns:
            v [B, T, 4, h, w], or one [B, T, N, C] per spatial self-attention.

        Raises:
            ValueError: shapes that do not belong together; the message names the argument.
        """
        spatial_only = spatial_only or self.config.temporal_start == "off"
        context = self.frame_context(sample, conditioning, reference, spatial_only)
        videos, frames = sample.shape[:2]
        temb = self.spatial_time_embedding(timestep, sample)
        indicator = None
        if isinstance(conditioning, Conditioning) and not spatial_only:
            # Stands for "mix all frames"; diffusers' blocks also read B and T from its shape.
            indicator = torch.zeros(videos, frames, dtype=sample.dtype, device=sample.device)
            temb = torch.cat([temb, self._temporal_time_embedding(conditioning, sample)], dim=-1)
        temb = temb.repeat_interleave(frames, dim=0)
        hidden = self.conv_in(sample.flatten(0, 1))
        hidden = self.run_blocks(hidden, context, temb=temb, image_only_indicator=indicator)
        if return_reference:
            return context.recorded_reference()
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        return hidden.unflatten(0, (videos, frames))

    def spatial_time_embedding(self, timestep: Tensor | float, sample: Tensor) -> Tensor:
        """[B, 4 * width] in sample's precision: Zero123++'s embedding of the training step."""
        steps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedding: Tensor = self.time_embedding(self.time_proj(steps).to(sample.dtype))
        return embedding

    def _temporal_time_embedding(self, conditioning: Conditioning, sample: Tensor) -> Tensor:
        """[B, 4 * width]: SVD's embedding of 0.25 ln sigma and of its micro-conditioning."""
        clock = self.temporal_time_embedding(self.time_proj(conditioning.c_noise).to(sample.dtype))
        ids = self.add_time_proj(conditioning.added_time_ids.flatten())
        ids = ids.unflatten(0, (len(sample), -1)).flatten(1).to(sample.dtype)
        micro: Tensor = self.add_embedding(ids)
        return clock + micro

    def _set_norm_eps(self, eps: float) -> None:
        for module in self.modules():
            if isinstance(module, TwoClockResBlock):
                module.spatial_res_block.norm1.eps = eps
                module.spatial_res_block.norm2.eps = eps

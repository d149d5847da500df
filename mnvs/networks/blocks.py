"""The two block parts in which the fused UNet differs from diffusers' SVD UNet.

Each is a subclass with the same parameters under the same names; `block_conversion` puts them in
the place of the stock parts.
"""

import torch
from diffusers.models.attention import TemporalBasicTransformerBlock
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor

from mnvs.networks.reference_attention import FrameContext, ReferenceTransformerMixin, run


class DualTimestepResBlock(SpatioTemporalResBlock):
    """Spatial resnet on Zero123++'s time embedding, temporal resnet on SVD's.

    `temb` is [B*T, 2E], both embeddings side by side. In a pass over single frames
    `image_only_indicator` is None, `temb` is [B*T, E], and the temporal half is left out.
    """

    def forward(
        self,
        hidden_states: Tensor,
        temb: Tensor,
        image_only_indicator: Tensor | None = None,
    ) -> Tensor:
        if image_only_indicator is None:
            return self.spatial_res_block(hidden_states, temb)
        videos, frames = image_only_indicator.shape
        spatial_temb, temporal_temb = temb.chunk(2, dim=-1)
        spatial = self.spatial_res_block(hidden_states, spatial_temb)
        # [B*T, C, h, w] -> [B, C, T, h, w], what 3D convolutions take
        spatial = spatial.unflatten(0, (videos, frames)).transpose(1, 2)
        temporal = self.temporal_res_block(spatial, temporal_temb.unflatten(0, (videos, frames)))
        blended = self.time_mixer(spatial, temporal, image_only_indicator)
        return blended.transpose(1, 2).flatten(0, 1)


class ReferenceTransformer(ReferenceTransformerMixin, TransformerSpatioTemporalModel):
    """Spatial blocks with reference attention, each followed by a temporal block.

    With gradient checkpointing on, spatial and temporal blocks are recomputed; diffusers leaves
    the temporal ones out, which hold most of the memory.
    """

    def after_block(
        self, number: int, tokens: Tensor, context: FrameContext, indicator: Tensor | None
    ) -> Tensor:
        if indicator is None:
            return tokens
        block, token = self.temporal_transformer_blocks[number], context.image_token
        blended: Tensor = run(self, self._blend_temporal, block, tokens, token, indicator)
        return blended

    def _blend_temporal(
        self,
        block: TemporalBasicTransformerBlock,
        tokens: Tensor,
        image_token: Tensor,
        image_only_indicator: Tensor,
    ) -> Tensor:
        """Attention over the frames at each position, blended in: [B*T, N, C] -> [B*T, N, C]."""
        videos, frames = image_only_indicator.shape
        positions = tokens.shape[1]
        index = torch.arange(frames, device=tokens.device).repeat(videos)
        frame_code = self.time_pos_embed(self.time_proj(index).to(tokens.dtype))[:, None]
        # One token: the softmax over a single key is 1, as it was throughout SVD's training.
        token = image_token[:, None].expand(-1, positions, -1, -1).flatten(0, 1)
        temporal = block(tokens + frame_code, num_frames=frames, encoder_hidden_states=token)
        return self.time_mixer(tokens, temporal, image_only_indicator)

"""The two block parts in which the fused UNet differs from diffusers' SVD UNet.

Each is a subclass with the same parameters under the same names, so that state dicts fit both.
`adopt` turns the stock parts into these in place, because diffusers' blocks name the classes of
their parts and take no others.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import TemporalBasicTransformerBlock
from diffusers.models.resnet import AlphaBlender, SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import Tensor, nn

from mnvs.networks.blending import adopt_blender
from mnvs.networks.reference_attention import FrameContext, attend_with_reference, run


def adopt(model: nn.Module) -> None:
    """Make every stock blender, resnet and transformer in `model` one of ours."""
    device = next(model.parameters()).device
    for module in model.modules():
        if type(module) is AlphaBlender:
            adopt_blender(module, device)
        elif type(module) is SpatioTemporalResBlock:
            module.__class__ = DualTimestepResBlock
        elif type(module) is TransformerSpatioTemporalModel:
            module.__class__ = ReferenceTransformer


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


class ReferenceTransformer(TransformerSpatioTemporalModel):
    """Spatial blocks with reference attention, each followed by a temporal block.

    With gradient checkpointing on, spatial and temporal blocks are recomputed; diffusers leaves
    the temporal ones out, which hold most of the memory.
    """

    first_attention: int

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: FrameContext,
        image_only_indicator: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """[B*T, C, h, w] -> the same shape, in a tuple as diffusers' blocks expect."""
        context = encoder_hidden_states
        height, width = hidden_states.shape[-2:]
        tokens = self.norm(hidden_states).flatten(2).transpose(1, 2)  # [B*T, h*w, C]
        tokens = self.proj_in(tokens)
        blocks = zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True)
        for number, (spatial, temporal) in enumerate(blocks, start=self.first_attention):
            reference = context.reference_of(number)
            tokens, seen = run(
                self, attend_with_reference, spatial, tokens, context.prompt, reference
            )
            context.record(number, seen)
            if image_only_indicator is not None:
                tokens = run(
                    self,
                    self._blend_temporal,
                    temporal,
                    tokens,
                    context.image_token,
                    image_only_indicator,
                )
        tokens = self.proj_out(tokens)
        out = tokens.transpose(1, 2).unflatten(2, (height, width)).contiguous()
        return (out + hidden_states,)

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

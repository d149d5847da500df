"""The second video UNet: Zero123++'s spatial layers with AnimateDiff's motion modules between.

AnimateDiff (arXiv:2307.04725) attends over the frames alone, at each position, with the block's
own channels; those are the same in Stable Diffusion 1.5, for which it was trained, and 2.1, from
which Zero123++ comes. The report failed by loading the *spatial* layers of 1.5 too.

Interface and reference attention are MNVSUNet's. Of the conditioning only the prompt is read.
"""

from typing import Any, ClassVar

from diffusers import UNetMotionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn

from mnvs.networks.blending import (
    GATED_MIX_FACTOR,
    Float32Blender,
    check_temporal_start,
    set_mix_factors,
)
from mnvs.networks.block_conversion import convert_blocks
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.reference_attention import FrameContext, ReferenceTransformerMixin, run
from mnvs.networks.video_unet import VideoUNetMixin

# sigmoid(-1e4) is 0: the motion module alone, as in AnimateDiff.
MOTION_ONLY = -1e4

_DOWN, _UP = "CrossAttnDownBlockMotion", "CrossAttnUpBlockMotion"


class BlendedMotion(AnimateDiffTransformer3D):
    """A motion module blended with its input: alpha * input + (1 - alpha) * output."""

    time_mixer: Float32Blender

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        timestep: None = None,
        class_labels: None = None,
        num_frames: int | None = None,
        cross_attention_kwargs: None = None,
    ) -> Tensor:
        """[B*T, C, h, w] -> the same; untouched where `num_frames` is None (single frames)."""
        if num_frames is None:
            return hidden_states
        # The middle block recomputes its motion module itself, which so has no such attribute.
        moved: Tensor
        if getattr(self, "gradient_checkpointing", False):
            moved = run(self, self._blended, hidden_states, num_frames)
        else:
            moved = self._blended(hidden_states, num_frames)
        return moved

    def _blended(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        moved = super().forward(hidden_states, num_frames=num_frames)
        blended: Tensor = self.time_mixer(hidden_states, moved)
        return blended


class ReferenceTransformer2D(ReferenceTransformerMixin, Transformer2DModel):
    """Stable Diffusion's spatial transformer with reference attention."""


class MNVSMotionUNet(VideoUNetMixin, UNetMotionModel):
    """Predicts v for T frames of six-view tiles at once; T is at most `motion_max_seq_length`.

    Beyond diffusers' entries, the config has `temporal_start`: `svd`, the motion modules as the
    checkpoint has them (the name is MNVSUNet's); `gated`, they start at 1%, with a live gradient;
    `off`, they are never run and every frame is Zero123++'s.
    """

    # diffusers wants a list; its `to` warns about these, but they stay float32 there too.
    _keep_in_fp32_modules: ClassVar[list[str]] = ["time_mixer"]
    # Arguments of diffusers' class that have one value here.
    ignore_for_config: ClassVar[list[str]] = [
        "act_fn",
        "addition_embed_type",
        "addition_time_embed_dim",
        "downsample_padding",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "mid_block_layers",
        "mid_block_scale_factor",
        "norm_num_groups",
        "projection_class_embeddings_input_dim",
        "reverse_motion_num_attention_heads",
        "reverse_temporal_transformer_layers_per_block",
        "reverse_transformer_layers_per_block",
        "time_cond_proj_dim",
        "transformer_layers_per_mid_block",
        "use_linear_projection",
    ]

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (_DOWN, _DOWN, _DOWN, "DownBlockMotion"),
        up_block_types: tuple[str, ...] = ("UpBlockMotion", _UP, _UP, _UP),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int | tuple[int, ...] = 2,
        norm_eps: float = 1e-5,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        temporal_transformer_layers_per_block: int | tuple[int, ...] = 1,
        temporal_transformer_layers_per_mid_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        motion_max_seq_length: int = 32,
        motion_num_attention_heads: int | tuple[int, ...] = 8,
        use_motion_mid_block: bool = True,
        temporal_start: str = "gated",
    ) -> None:
        check_temporal_start(temporal_start)
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_eps=norm_eps,
            cross_attention_dim=cross_attention_dim,
            transformer_layers_per_block=transformer_layers_per_block,
            temporal_transformer_layers_per_block=temporal_transformer_layers_per_block,
            temporal_transformer_layers_per_mid_block=temporal_transformer_layers_per_mid_block,
            num_attention_heads=num_attention_heads,
            motion_max_seq_length=motion_max_seq_length,
            motion_num_attention_heads=motion_num_attention_heads,
            use_motion_mid_block=use_motion_mid_block,
            use_linear_projection=True,
        )
        convert_blocks(
            self,
            {Transformer2DModel: ReferenceTransformer2D, AnimateDiffTransformer3D: BlendedMotion},
        )
        for module in self.modules():
            if isinstance(module, BlendedMotion):
                blender = Float32Blender(0.0, merge_strategy="learned")
                module.time_mixer = blender.to(self.conv_in.weight.device)
        for block in (*self.down_blocks, *self.up_blocks):
            for module in block.motion_modules:
                module.gradient_checkpointing = False
        self.number_self_attentions(ReferenceTransformer2D)
        self.reset_mix_factors()

    def reset_mix_factors(self) -> None:
        """With `gated`, every motion module starts at 1%; otherwise at all of it, as trained."""
        gated = self.config.temporal_start == "gated"
        set_mix_factors(self, GATED_MIX_FACTOR if gated else MOTION_ONLY)

    def block_arguments(
        self, sample: Tensor, timestep: Tensor | float, conditioning: Conditioning | None
    ) -> dict[str, Any]:
        frames, longest = sample.shape[1], self.config.motion_max_seq_length
        temb = self.spatial_time_embedding(timestep, sample)
        if conditioning is not None and frames > longest:
            raise ValueError(f"sample has {frames} frames, the motion modules take {longest}")
        mixed = None if conditioning is None else frames
        return {"temb": temb.repeat_interleave(frames, dim=0), "num_frames": mixed}

    def arguments_of(
        self, block: nn.Module, arguments: dict[str, Any], context: FrameContext
    ) -> dict[str, Any]:
        chosen = super().arguments_of(block, arguments, context)
        # Older adapters have none in the middle; diffusers' plain block takes no `num_frames`.
        if not hasattr(block, "motion_modules"):
            chosen = {name: value for name, value in chosen.items() if name != "num_frames"}
        return chosen

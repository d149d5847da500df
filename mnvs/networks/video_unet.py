"""The parts common to both video UNets: the forward pass around their blocks, the write pass."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mnvs.networks.conditioning import Conditioning
from mnvs.networks.reference_attention import FrameContext


class VideoUNetMixin:
    """A mixin that goes before one of diffusers' video UNets.

    The class calls `number_self_attentions` once it is built, and gives with `block_arguments` the
    arguments of its blocks besides the attention layers' context.
    """

    num_self_attentions: int
    down_blocks: Any
    mid_block: Any
    up_blocks: Any
    conv_in: Any
    conv_norm_out: Any
    conv_act: Any
    conv_out: Any
    time_proj: Any
    time_embedding: Any
    config: Any
    __call__: Callable[..., Any]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        conditioning: Conditioning | Tensor,
        reference: Sequence[Tensor] | None = None,
        spatial_only: bool = False,
        return_reference: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """One evaluation of the network; nothing is remembered between calls.

        Args:
            sample: [B, T, 4, h, w], noisy latents of the tiles, any h and w.
            timestep: [B] or one for all, timesteps in 0..999, whole or not.
            conditioning: of B videos; with spatial_only, a prompt alone is enough.
            reference: result of `write_reference`; None = no reference attention.
            spatial_only: treat the frames as separate images, as `temporal_start: off` does.
            return_reference: return the inputs of the spatial self-attentions instead.

        Returns:
            v [B, T, 4, h, w], or one [B, T, N, C] per spatial self-attention.

        Raises:
            ValueError: shapes that do not belong together; the message names the argument.
        """
        spatial_only = spatial_only or self.config.temporal_start == "off"
        context = self._frame_context(
            sample, conditioning, reference, spatial_only, {} if return_reference else None
        )
        of_video = None
        if isinstance(conditioning, Conditioning) and not spatial_only:
            of_video = conditioning
        arguments = self.block_arguments(sample, timestep, of_video)
        hidden = self.conv_in(sample.flatten(0, 1))
        hidden = self._run_blocks(hidden, context, arguments)
        if return_reference:
            return context.recorded_reference()
        hidden = self.conv_out(self.conv_act(self.conv_norm_out(hidden)))
        out: Tensor = hidden.unflatten(0, sample.shape[:2])
        return out

    def write_reference(
        self, cond_latents: Tensor, timestep: Tensor | float, prompt: Tensor
    ) -> tuple[Tensor, ...]:
        """The write pass: the input of each spatial self-attention for the noised condition images.

        Args:
            cond_latents: [B, Tc, 4, h', w'], noised to `timestep`; Tc = 1 for one image per video,
                T for one per frame.
            timestep: [B], 0 to 999.
            prompt: [B, tokens, D], or [B, Tc, tokens, D].

        Returns:
            One [B, Tc, N, C] per spatial self-attention, for `forward`'s `reference`.
        """
        # Through __call__, so that hooks on forward (CPU offload, autocast) apply to this pass too.
        recorded: tuple[Tensor, ...] = self(
            cond_latents, timestep, prompt, spatial_only=True, return_reference=True
        )
        return recorded

    def reset_mix_factors(self) -> None:
        """Set the mix factors to the values that belong to `temporal_start`."""
        raise NotImplementedError

    def block_arguments(
        self, sample: Tensor, timestep: Tensor | float, conditioning: Conditioning | None
    ) -> dict[str, Any]:
        """Keyword arguments of every block; `conditioning` is None in a pass over single frames."""
        raise NotImplementedError

    def arguments_of(
        self, block: nn.Module, arguments: dict[str, Any], context: FrameContext
    ) -> dict[str, Any]:
        """Arguments of one block: `block_arguments`, and the context if the block has attention."""
        attends = getattr(block, "has_cross_attention", False)
        return {**arguments, "encoder_hidden_states": context} if attends else arguments

    def number_self_attentions(self, transformer_class: type) -> None:
        """Give each transformer the number of its first self-attention, in order of execution."""
        self.num_self_attentions = 0
        for transformer in self._in_order_of_execution(transformer_class):
            transformer.first_attention = self.num_self_attentions
            self.num_self_attentions += len(transformer.transformer_blocks)

    def spatial_time_embedding(self, timestep: Tensor | float, sample: Tensor) -> Tensor:
        """[B, 4 * width] in sample's precision: Zero123++'s embedding of the timestep."""
        steps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedding: Tensor = self.time_embedding(self.time_proj(steps).to(sample.dtype))
        return embedding

    def _run_blocks(
        self, hidden_states: Tensor, context: FrameContext, arguments: dict[str, Any]
    ) -> Tensor:
        """Down, middle and up blocks with their skip connections: [B*T, C, h, w] -> the same."""

        def of(block: nn.Module) -> dict[str, Any]:
            return self.arguments_of(block, arguments, context)

        skips = [hidden_states]
        for block in self.down_blocks:
            hidden_states, outputs = block(hidden_states, **of(block))
            skips.extend(outputs)
        hidden_states = self.mid_block(hidden_states, **of(self.mid_block))
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, used = skips[:-count], tuple(skips[-count:])
            # Doubling alone would miss the size of the next skip where a side was odd.
            size = skips[-1].shape[-2:] if skips else None
            hidden_states = block(
                hidden_states, res_hidden_states_tuple=used, upsample_size=size, **of(block)
            )
        return hidden_states

    def _frame_context(
        self,
        sample: Tensor,
        conditioning: Conditioning | Tensor,
        reference: Sequence[Tensor] | None,
        spatial_only: bool,
        recorded: dict[int, Tensor] | None,
    ) -> FrameContext:
        """Check that the shapes fit and arrange the inputs for the attention layers."""
        if sample.ndim != 5:
            raise ValueError(f"sample is [B, T, C, h, w], got {list(sample.shape)}")
        videos, frames = sample.shape[:2]
        image_token = None
        if isinstance(conditioning, Conditioning):
            prompt = conditioning.prompt
            image_token = None if spatial_only else conditioning.image_token
        elif spatial_only:
            prompt = conditioning
        else:
            raise ValueError("conditioning: a prompt alone is enough only with spatial_only")
        if prompt.ndim == 3:
            prompt = prompt[:, None].expand(-1, frames, -1, -1)
        if prompt.shape[:2] != (videos, frames):
            raise ValueError(
                f"prompt is for {list(prompt.shape[:2])} videos and frames, "
                f"sample has {[videos, frames]}"
            )
        self._check_reference(reference, videos, frames)
        return FrameContext(frames, prompt.flatten(0, 1), image_token, reference, recorded)

    def _check_reference(
        self, reference: Sequence[Tensor] | None, videos: int, frames: int
    ) -> None:
        if reference is None:
            return
        if len(reference) != self.num_self_attentions:
            raise ValueError(
                f"reference has {len(reference)} tensors, "
                f"the UNet {self.num_self_attentions} spatial self-attentions"
            )
        for tensor in reference:
            if tensor.ndim != 4 or len(tensor) != videos or tensor.shape[1] not in (1, frames):
                raise ValueError(
                    f"reference tensors are [{videos}, 1 or {frames}, N, C] like sample, "
                    f"got {list(tensor.shape)}"
                )

    def _in_order_of_execution(self, wanted: type) -> Iterator[Any]:
        for part in (self.down_blocks, self.mid_block, self.up_blocks):
            yield from (module for module in part.modules() if isinstance(module, wanted))

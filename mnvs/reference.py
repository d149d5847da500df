"""Reference attention for UNets built of diffusers' blocks, without hidden state.

Zero123++ (arXiv:2310.15110, section 2.2) runs its UNet on the noised condition image first and
keeps what each self-attention sees (the write pass); in the pass that denoises, each self-attention
takes its keys and values from its own tokens and the kept ones together. Here the kept tensors are
plain return values and arguments: a `FrameContext` carries them through diffusers' stock blocks in
the `encoder_hidden_states` slot, which those hand on without looking. Gradient checkpointing then
recomputes exactly what was computed, which processors that remember a mode do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock, _chunked_feed_forward
from torch import Tensor, nn

from mnvs.conditioning import Conditioning


@dataclass(frozen=True, eq=False)
class FrameContext:
    """What the attention layers of one pass over B videos of T frames are told.

    Attributes:
        num_frames: T.
        prompt: [B*T, tokens, D], for spatial cross-attention.
        image_token: [B, 1, D], for temporal cross-attention; None in a pass over single frames.
        reference: one [B, Tc, N', C] per spatial self-attention, Tc = 1 or T, or none.
        recorded: filled during the pass: the input of each spatial self-attention, [B*T, N, C],
            under the number of that attention.
    """

    num_frames: int
    prompt: Tensor
    image_token: Tensor | None
    reference: Sequence[Tensor] | None
    recorded: dict[int, Tensor] = field(default_factory=dict)

    def reference_of(self, attention: int) -> Tensor | None:
        return None if self.reference is None else self.reference[attention]

    def recorded_reference(self) -> tuple[Tensor, ...]:
        """What was recorded, in the order of the attentions: one [B, T, N, C] each."""
        ordered = (self.recorded[number] for number in sorted(self.recorded))
        return tuple(tokens.unflatten(0, (-1, self.num_frames)) for tokens in ordered)


def attend_with_reference(
    block: BasicTransformerBlock, hidden_states: Tensor, prompt: Tensor, reference: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One transformer block of Stable Diffusion whose self-attention also looks at a reference.

    The order is that of diffusers' BasicTransformerBlock with layer norms; without a reference
    the result is the same to the bit.

    Args:
        hidden_states: [B*T, N, C].
        prompt: [B*T, tokens, D].
        reference: [B, Tc, N', C]; frame i of a video reads frame i of it, or its only one.

    Returns:
        The block's output and the input of its self-attention, both [B*T, N, C].
    """
    seen = block.norm1(hidden_states)
    keys = None
    if reference is not None:
        videos = len(reference)
        kept = reference.expand(-1, len(seen) // videos, -1, -1).flatten(0, 1)
        keys = torch.cat([seen, kept.to(seen.dtype)], dim=1)
    hidden_states = block.attn1(seen, encoder_hidden_states=keys) + hidden_states
    hidden_states = (
        block.attn2(block.norm2(hidden_states), encoder_hidden_states=prompt) + hidden_states
    )
    normed = block.norm3(hidden_states)
    if block._chunk_size is None:
        return block.ff(normed) + hidden_states, seen
    forward = _chunked_feed_forward(block.ff, normed, block._chunk_dim, block._chunk_size)
    return forward + hidden_states, seen


class ReferenceUNet:
    """What both video UNets share: the write pass, and refusing input that does not fit together.

    A mixin for diffusers' UNets; the class calls `number_self_attentions` once it is built and has
    a `forward(sample, timestep, conditioning, reference, spatial_only, return_reference)`.
    """

    num_self_attentions: int
    down_blocks: Any
    mid_block: Any
    up_blocks: Any
    __call__: Callable[..., Any]

    def number_self_attentions(self, transformer_class: type) -> None:
        """Give each transformer the number of its first self-attention, in order of execution."""
        self.num_self_attentions = 0
        for transformer in self._in_order_of_execution(transformer_class):
            transformer.first_attention = self.num_self_attentions
            self.num_self_attentions += len(transformer.transformer_blocks)

    def write_reference(
        self, cond_latents: Tensor, timestep: Tensor, prompt: Tensor
    ) -> tuple[Tensor, ...]:
        """The write pass: what each spatial self-attention sees of the noised condition images.

        Args:
            cond_latents: [B, Tc, 4, h', w'], noised to `timestep`; Tc = 1 for one image per video,
                T for one per frame.
            timestep: [B], training steps, 0 to 999.
            prompt: [B, tokens, D], or [B, Tc, tokens, D].

        Returns:
            One [B, Tc, N, C] per spatial self-attention, for `forward`'s `reference`.
        """
        # Through __call__, so that hooks on forward (CPU offload, autocast) see this pass as well.
        recorded: tuple[Tensor, ...] = self(
            cond_latents, timestep, prompt, spatial_only=True, return_reference=True
        )
        return recorded

    def run_blocks(self, hidden_states: Tensor, context: FrameContext, **others: Any) -> Tensor:
        """Down, middle and up blocks with their skip connections: [B*T, C, h, w] -> the same.

        Args:
            others: keyword arguments for every block; `context` goes to those with attention.
        """

        def arguments(block: nn.Module) -> dict[str, Any]:
            attends = getattr(block, "has_cross_attention", False)
            return {**others, "encoder_hidden_states": context} if attends else others

        skips = [hidden_states]
        for block in self.down_blocks:
            hidden_states, outputs = block(hidden_states, **arguments(block))
            skips.extend(outputs)
        hidden_states = self.mid_block(hidden_states, **arguments(self.mid_block))
        for block in self.up_blocks:
            count = len(block.resnets)
            skips, used = skips[:-count], tuple(skips[-count:])
            # Doubling alone would miss the size of the next skip where a side was odd.
            size = skips[-1].shape[-2:] if skips else None
            hidden_states = block(
                hidden_states,
                res_hidden_states_tuple=used,
                upsample_size=size,
                **arguments(block),
            )
        return hidden_states

    def frame_context(
        self,
        sample: Tensor,
        conditioning: Conditioning | Tensor,
        reference: Sequence[Tensor] | None,
        spatial_only: bool,
    ) -> FrameContext:
        """Check that the parts belong together and lay them out for the attention layers.

        Raises:
            ValueError: a shape that does not fit; the message names the argument.
        """
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
        return FrameContext(frames, prompt.flatten(0, 1), image_token, reference)

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

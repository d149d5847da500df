"""Reference attention for UNets built of diffusers' blocks, without hidden state.

Zero123++ (arXiv:2310.15110, section 2.2) runs its UNet on the noised condition image first and
keeps the input of each self-attention (the write pass); in the pass that denoises (the read pass),
each self-attention takes its keys and values from its own tokens and the kept ones together. Here
the kept tensors are plain return values and arguments: a `FrameContext` carries them through
diffusers' stock blocks as `encoder_hidden_states`, which those pass on unread. So gradient
checkpointing recomputes exactly what was computed, which attention processors with a state do not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock, _chunked_feed_forward
from torch import Tensor


class FrameContext:
    """Inputs of the attention layers in one pass over B videos of T frames.

    No dataclass, for what wraps layers (``fully_shard``) rebuilds those among their arguments, and
    what is recorded would be recorded elsewhere.

    Args:
        num_frames: T.
        prompt: [B*T, tokens, D], for spatial cross-attention.
        image_token: [B, 1, D], for temporal cross-attention; None in a pass over single frames.
        reference: one [B, Tc, N', C] per spatial self-attention, Tc = 1 or T, or none.
        recorded: filled during a write pass: the input of each spatial self-attention,
            [B*T, N, C], under the number of that attention. None in other passes: at full size,
            8 frames with guidance, they would hold 0.8 GiB.
    """

    def __init__(
        self,
        num_frames: int,
        prompt: Tensor,
        image_token: Tensor | None,
        reference: Sequence[Tensor] | None,
        recorded: dict[int, Tensor] | None = None,
    ) -> None:
        self.num_frames, self.prompt, self.image_token = num_frames, prompt, image_token
        self.reference, self.recorded = reference, recorded

    def reference_of(self, attention: int) -> Tensor | None:
        return None if self.reference is None else self.reference[attention]

    def recorded_reference(self) -> tuple[Tensor, ...]:
        """The recorded tensors, in the order of the attentions: one [B, T, N, C] each."""
        assert self.recorded is not None, "not a write pass"
        ordered = (self.recorded[number] for number in sorted(self.recorded))
        return tuple(tokens.unflatten(0, (-1, self.num_frames)) for tokens in ordered)


def attend_with_reference(
    block: BasicTransformerBlock, hidden_states: Tensor, prompt: Tensor, reference: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One transformer block of Stable Diffusion whose self-attention also attends to a reference.

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


def run(owner: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, recomputed in the backward pass if `owner` is set to do so.

    `owner` is a module that diffusers' `enable_gradient_checkpointing` has reached.
    """
    if torch.is_grad_enabled() and owner.gradient_checkpointing:
        return owner._gradient_checkpointing_func(function, *arguments)
    return function(*arguments)


class ReferenceTransformerMixin:
    """A mixin that goes before one of diffusers' transformers and replaces its forward pass.

    Attributes:
        first_attention: number of its first self-attention, counted over the network in order of
            execution.
    """

    first_attention: int
    norm: Any
    proj_in: Any
    proj_out: Any
    transformer_blocks: Any

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: FrameContext,
        image_only_indicator: Tensor | None = None,
        **unused: Any,
    ) -> tuple[Tensor, ...]:
        """[B*T, C, h, w] -> the same shape, in a tuple as diffusers' blocks expect, which take its
        first element; in a write pass followed by what was recorded, for gradients come by it, too.

        Args:
            image_only_indicator: [B, T], from the blocks of SVD; None in a pass over single frames.
            unused: further arguments of diffusers' blocks.
        """
        context = encoder_hidden_states
        height, width = hidden_states.shape[-2:]
        tokens = self.norm(hidden_states).flatten(2).transpose(1, 2)  # [B*T, h*w, C]
        tokens = self.proj_in(tokens)
        recorded = []
        for number, block in enumerate(self.transformer_blocks):
            attention = self.first_attention + number
            reference = context.reference_of(attention)
            tokens, seen = run(
                self, attend_with_reference, block, tokens, context.prompt, reference
            )
            if context.recorded is not None:
                context.recorded[attention] = seen
                recorded.append(seen)
            tokens = self.after_block(number, tokens, context, image_only_indicator)
        out = self.proj_out(tokens).transpose(1, 2).unflatten(2, (height, width)).contiguous()
        return (out + hidden_states, *recorded)

    def after_block(
        self, number: int, tokens: Tensor, context: FrameContext, indicator: Tensor | None
    ) -> Tensor:
        """What follows spatial block ``number``: [B*T, N, C] -> the same; here nothing."""
        return tokens

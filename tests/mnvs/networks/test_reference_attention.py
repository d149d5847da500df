"""Reference attention against attention written out, and who sees whom in a batch of videos."""

import weakref
from pathlib import Path

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers.models.attention import BasicTransformerBlock
from official_zero123plus import Official
from torch import Tensor

from mnvs.networks.conditioning import Conditioning
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.reference_attention import attend_with_reference

kinds = pytest.mark.parametrize("kind", ["svd", "animatediff"])
CHANNELS, HEADS, WIDTH = 16, 4, 12


def slow_attention(attention: torch.nn.Module, rows: Tensor, keys: Tensor) -> Tensor:
    """Multi-head attention of one picture, [N, C] on [M, D], one head and one row at a time."""
    q, k, v = attention.to_q(rows), attention.to_k(keys), attention.to_v(keys)
    size = q.shape[-1] // HEADS
    out = []
    for row in q:
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            weights = (k[:, part] @ row[part] / size**0.5).exp()
            heads.append((weights[:, None] * v[:, part]).sum(0) / weights.sum())
        out.append(torch.cat(heads))
    return attention.to_out[0](torch.stack(out))


def slow_block(
    block: BasicTransformerBlock, hidden: Tensor, prompt: Tensor, reference: Tensor, frames: int
) -> Tensor:
    """The block, picture by picture: frame i of video b has row b * frames + i."""
    out = []
    for row, tokens in enumerate(hidden):
        video, frame = divmod(row, frames)
        kept = reference[video, frame if reference.shape[1] == frames else 0]
        seen = block.norm1(tokens)
        tokens = tokens + slow_attention(block.attn1, seen, torch.cat([seen, kept]))
        tokens = tokens + slow_attention(block.attn2, block.norm2(tokens), prompt[row])
        out.append(tokens + block.ff(block.norm3(tokens)))
    return torch.stack(out)


@pytest.mark.parametrize("reference_frames", [1, 3])
def test_values_and_gradients_are_those_of_attention_written_out(reference_frames: int) -> None:
    block = BasicTransformerBlock(CHANNELS, HEADS, CHANNELS // HEADS, cross_attention_dim=WIDTH)
    block.double()
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((6, 5, CHANNELS), (6, 4, WIDTH), (2, reference_frames, 3, CHANNELS))
    ]
    hidden, prompt, reference = inputs
    out, seen = attend_with_reference(block, hidden, prompt, reference)
    assert torch.equal(seen, block.norm1(hidden))
    expected = slow_block(block, hidden, prompt, reference, frames=3)
    torch.testing.assert_close(out, expected)
    direction = torch.randn_like(out)
    variables = [*inputs, *block.parameters()]
    ours = torch.autograd.grad((out * direction).sum(), variables)
    theirs = torch.autograd.grad((expected * direction).sum(), variables)
    torch.testing.assert_close(ours, theirs)


def test_without_a_reference_it_is_diffusers_block() -> None:
    block = BasicTransformerBlock(CHANNELS, HEADS, CHANNELS // HEADS, cross_attention_dim=WIDTH)
    hidden, prompt = torch.randn(6, 5, CHANNELS), torch.randn(6, 4, WIDTH)
    expected = block(hidden, encoder_hidden_states=prompt)
    assert torch.equal(attend_with_reference(block, hidden, prompt, None)[0], expected)
    calls = []
    block.ff.register_forward_pre_hook(lambda _, args: calls.append(args[0].shape[1]))
    block.set_chunk_feed_forward(1, dim=1)
    chunked = attend_with_reference(block, hidden, prompt, None)[0]
    torch.testing.assert_close(chunked, expected)
    assert calls == [1] * 5


def random_video(videos: int, frames: int, condition_frames: int) -> tuple:
    """sample, steps, conditioning with a prompt per frame, condition latents; all different."""
    width = 48
    told = Conditioning(
        torch.randn(videos, frames, 7, width),
        torch.randn(videos, 1, width),
        torch.randn(videos),
        torch.rand(videos, 3),
    )
    condition = torch.randn(videos, condition_frames, 4, 5, 7)
    steps = torch.randint(1000, (videos,))
    return torch.randn(videos, frames, 4, 9, 6), steps, told, condition


def run(
    unet: VideoUNet,
    sample: Tensor,
    steps: Tensor,
    told: Conditioning,
    condition: Tensor,
) -> Tensor:
    prompt = told.prompt if condition.shape[1] > 1 else told.prompt[:, 0]
    return unet(sample, steps, told, unet.write_reference(condition, steps, prompt))


def videos(told: Conditioning, rows: slice | list[int]) -> Conditioning:
    return Conditioning(*(tensor[rows] for tensor in told.tensors()))


@kinds
@torch.no_grad()
def test_videos_of_a_batch_do_not_see_each_other(
    official: Official, checkpoints: Path, kind: str
) -> None:
    """As in guidance, where unconditional and conditional rows share a batch (issue 7773)."""
    unet = official.fused(checkpoints, kind, "svd")
    for condition_frames in (1, 3):
        sample, steps, told, condition = random_video(2, 3, condition_frames)
        both = run(unet, sample, steps, told, condition)
        for row in range(2):
            one = slice(row, row + 1)
            alone = run(unet, sample[one], steps[one], videos(told, one), condition[one])
            torch.testing.assert_close(both[one], alone, atol=2e-6, rtol=1e-5)
        swapped = run(unet, sample, steps, videos(told, [1, 0]), condition)
        assert (swapped - both).abs().max() > 1e-3


@kinds
@torch.no_grad()
def test_frames_read_their_own_reference_and_prompt(
    official: Official, checkpoints: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind, "off")
    sample, steps, told, condition = random_video(2, 3, 3)
    together = run(unet, sample, steps, told, condition)
    for frame in range(3):
        one = slice(frame, frame + 1)
        prompt = told.prompt[:, one]
        reference = unet.write_reference(condition[:, one], steps, prompt)
        alone = unet(sample[:, one], steps, prompt, reference, spatial_only=True)
        torch.testing.assert_close(together[:, one], alone, atol=2e-6, rtol=1e-5)


@kinds
@torch.no_grad()
def test_frames_see_each_other_through_the_temporal_layers(
    official: Official, checkpoints: Path, kind: str
) -> None:
    for start, sees in (("svd", True), ("gated", True), ("off", False)):
        unet = official.fused(checkpoints, kind, start)
        sample, steps, told, condition = random_video(1, 3, 1)
        before = run(unet, sample, steps, told, condition)
        sample[:, 2] += 1.0
        after = run(unet, sample, steps, told, condition)
        assert torch.equal(before[:, 0], after[:, 0]) is not sees


@kinds
@torch.no_grad()
def test_bfloat16_throughout(official: Official, checkpoints: Path, kind: str) -> None:
    unet = official.fused(checkpoints, kind, "svd")
    sample, steps, told, condition = random_video(2, 3, 1)
    expected = run(unet, sample, steps, told, condition)
    half = torch.bfloat16
    out = run(unet.to(half), sample.to(half), steps, told.to("cpu", half), condition.to(half))
    assert out.dtype == half
    assert (out - expected).square().mean() < 0.001 * expected.square().mean()


class CountingHook(ModelHook):
    def __init__(self) -> None:
        self.calls = 0

    def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object) -> tuple:
        self.calls += 1
        return args, kwargs


@kinds
@torch.no_grad()
def test_hooks_on_forward_see_the_write_pass_too(
    official: Official, checkpoints: Path, kind: str
) -> None:
    """CPU offload moves the weights in such a hook."""
    unet = official.fused(checkpoints, kind)
    hook = CountingHook()
    add_hook_to_module(unet, hook)
    run(unet, *random_video(1, 3, 1))
    assert hook.calls == 2


@kinds
@torch.no_grad()
def test_the_pass_that_reads_keeps_nothing(
    official: Official, checkpoints: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind)
    seen: list[weakref.ref[Tensor]] = []
    kept: list[bool] = []
    unet.conv_in.register_forward_pre_hook(lambda *_: seen.clear())
    for module in unet.modules():
        if isinstance(module, BasicTransformerBlock) and module.attn2 is not None:
            module.norm1.register_forward_hook(lambda m, i, out: seen.append(weakref.ref(out)))
    unet.conv_out.register_forward_pre_hook(lambda *_: kept.extend(r() is not None for r in seen))
    run(unet, *random_video(1, 3, 1))
    assert len(kept) >= unet.num_self_attentions and not any(kept)


@kinds
@torch.no_grad()
def test_references_are_numbered_in_order_of_execution(
    official: Official, checkpoints: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind)
    order = []
    for module in unet.modules():
        if hasattr(module, "first_attention"):
            module.register_forward_pre_hook(lambda m, _: order.append(m.first_attention))
    run(unet, *random_video(1, 3, 1))
    assert order == [*range(6), *range(6)]


@torch.no_grad()
def test_input_that_does_not_fit_together_is_named(official: Official, checkpoints: Path) -> None:
    unet = official.fused(checkpoints)
    sample, steps, told, condition = random_video(2, 3, 1)
    reference = unet.write_reference(condition, steps, told.prompt[:, 0])
    assert len(reference) == unet.num_self_attentions == 6
    wrong = [
        ((sample[0], steps, told), "sample is"),
        ((sample, steps, told.prompt), "a prompt alone"),
        ((sample[:1], steps[:1], told), r"prompt is for \[2, 3\].*sample has \[1, 3\]"),
        ((sample, steps, told, reference[:-1]), "5 tensors, the UNet 6"),
        ((sample[:1], steps[:1], videos(told, slice(1)), reference), "reference tensors are"),
        ((sample, steps, told, [t.expand(-1, 2, -1, -1) for t in reference]), "1 or 3"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            unet(*arguments)
    with pytest.raises(ValueError, match=r"prompt is for \[2, 3\]"):
        unet.write_reference(condition, steps, told.prompt)

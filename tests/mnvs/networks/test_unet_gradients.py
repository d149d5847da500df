"""Gradient checkpointing changes what is kept, and nothing else; what passes see of each other."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from diffusers.models.attention import TemporalBasicTransformerBlock
from diffusers.models.attention_processor import Attention
from official_zero123plus import Official
from torch import Tensor, nn

from mnvs.networks.conditioning import Conditioning
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.motion_unet import BlendedMotion

kinds = pytest.mark.parametrize("kind", ["svd", "animatediff"])


def loss_of(unet: VideoUNet, official: Official, condition: Tensor, detach: bool = False) -> Tensor:
    """Of one call with everything it takes; the same input but for `condition` [2, Tc, 4, h, w]."""
    generator = torch.Generator().manual_seed(1)
    prompt = official.arrays["encoder_hidden_states"]
    steps = torch.tensor([231, 777])
    told = Conditioning(
        prompt,
        torch.randn(2, 1, prompt.shape[-1], generator=generator),
        torch.randn(2, generator=generator),
        torch.rand(2, 3, generator=generator),
    )
    reference = unet.write_reference(condition, steps, prompt)
    if detach:
        reference = tuple(tensor.detach() for tensor in reference)
    out = unet(torch.randn(2, 3, 4, 9, 6, generator=generator), steps, told, reference)
    return out.square().mean()


def gradients(unet: VideoUNet, official: Official, detach: bool = False) -> dict[str, Tensor]:
    """By parameter name; also that of the condition latents, which only the write pass sees."""
    generator = torch.Generator().manual_seed(2)
    condition = torch.randn(2, 3, 4, 5, 7, generator=generator, requires_grad=True)
    unet.zero_grad()
    loss_of(unet, official, condition, detach).backward()
    found = {name: p.grad for name, p in unet.named_parameters() if p.grad is not None}
    return {**found, "condition": condition.grad}


@kinds
def test_checkpointing_gives_the_same_gradients_through_both_passes(
    official: Official, checkpoints: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind)
    plain = gradients(unet, official)
    parameters = {name for name, _ in unet.named_parameters()}
    assert plain.keys() == {*parameters, "condition"}
    assert plain["condition"].abs().max() > 0
    cut = gradients(unet, official, detach=True)
    assert cut["condition"] is None
    name = "down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight"
    assert not torch.allclose(cut[name], plain[name])
    unet.enable_gradient_checkpointing()
    recomputed = gradients(unet, official)
    assert plain.keys() == recomputed.keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


@kinds
def test_spatial_and_temporal_blocks_are_recomputed(
    official: Official, checkpoints: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind)
    temporal_class = TemporalBasicTransformerBlock if kind == "svd" else BlendedMotion
    watched = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, temporal_class)
        or (isinstance(module, Attention) and ".attentions." in name)
    }
    calls: Counter[str] = Counter()
    for name, module in watched.items():
        # A motion module's own forward is not recomputed as a call of the module.
        inner = module.proj_in if isinstance(module, BlendedMotion) else module
        inner.register_forward_hook(lambda *_, name=name: calls.update([name]))
    condition = torch.randn(2, 1, 4, 5, 7)
    loss_of(unet, official, condition).backward()
    once = dict(calls)
    assert once.keys() == watched.keys()
    calls.clear()
    unet.enable_gradient_checkpointing()
    loss_of(unet, official, condition).backward()
    assert calls == {name: 2 * count for name, count in once.items()}
    calls.clear()
    with torch.no_grad():
        loss_of(unet, official, condition)
    assert calls == once


def saved_bytes(unet: VideoUNet, official: Official) -> int:
    """What autograd keeps for the backward pass, beside the parameters."""
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in unet.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = loss_of(unet, official, torch.randn(2, 1, 4, 5, 7))
    total = sum(kept.values())
    del loss
    return total


@kinds
def test_checkpointing_keeps_less(official: Official, checkpoints: Path, kind: str) -> None:
    unet = official.fused(checkpoints, kind)
    plain = saved_bytes(unet, official)
    unet.enable_gradient_checkpointing()
    assert saved_bytes(unet, official) < 0.5 * plain


def test_temporal_cross_attention_gets_one_token(official: Official, checkpoints: Path) -> None:
    unet = official.fused(checkpoints)
    tokens = []

    def note(module: nn.Module, args: tuple, kwargs: dict) -> None:
        tokens.append(kwargs["encoder_hidden_states"].shape[1])

    for name, module in unet.named_modules():
        if ".temporal_transformer_blocks." in name and name.endswith(".attn2"):
            module.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        loss_of(unet, official, torch.randn(2, 1, 4, 5, 7))
    assert tokens == [1] * unet.num_self_attentions

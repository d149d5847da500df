"""Started without its temporal layers, the video UNet is Zero123++: the official code's numbers."""

from pathlib import Path

import pytest
import torch
from official_zero123plus import FRAMES, Official

from mnvs.checkpoints.unet_loading import load_saved_unet, load_unet
from mnvs.networks.blending import Float32Blender, set_mix_factors
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.unet import MNVSUNet

TOLERANCE = 1e-5
MODES = ("train", "eval")
kinds = pytest.mark.parametrize("kind", ["svd", "animatediff"])


@kinds
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_every_frame_is_zero123pluss_and_needs_the_reference(
    official: Official, checkpoints: Path, kind: str, mode: str
) -> None:
    unet = official.fused(checkpoints, kind, "off")
    out = official.run(unet, mode)
    assert out.shape[1] == FRAMES
    assert official.error(out, mode) <= TOLERANCE
    without = official.run(unet, mode, with_reference=False)
    assert official.error(without, mode) > 100 * TOLERANCE
    if mode == "train":
        plain = official.arrays["plain_out"][:, None]
        assert (without - plain).abs().max() <= TOLERANCE


@kinds
@torch.no_grad()
def test_one_frame_and_spatial_only_passes_are_zero123pluss(
    official: Official, checkpoints: Path, kind: str
) -> None:
    one = official.run(official.fused(checkpoints, kind, "off"), "eval", frames=1)
    assert official.error(one, "eval") <= TOLERANCE
    unet = official.fused(checkpoints, kind, "svd")
    latent, steps = official.noised("eval")
    prompt = official.arrays["encoder_hidden_states"]
    reference = unet.write_reference(latent[:, None], steps, prompt)
    sample = official.arrays["sample"][:, None]
    out = unet(sample, steps, prompt, reference, spatial_only=True)
    assert official.error(out, "eval") <= TOLERANCE


@kinds
def test_gated_starts_near_zero123plus_can_learn_and_ends_there(
    official: Official, checkpoints: Path, kind: str
) -> None:
    errors = {}
    for start in ("svd", "gated"):
        unet = official.fused(checkpoints, kind, start)
        out = official.run(unet, "train")
        errors[start] = official.error(out, "train")
        if start == "gated":
            out.square().mean().backward()
            assert all(
                blender.mix_factor.grad.abs() > 0
                for blender in unet.modules()
                if isinstance(blender, Float32Blender)
            )
    assert TOLERANCE < errors["gated"] < 0.2 * errors["svd"]
    set_mix_factors(unet, 1e4)
    with torch.no_grad():
        assert official.error(official.run(unet, "train"), "train") <= TOLERANCE


@kinds
@torch.no_grad()
def test_saved_and_reloaded_by_either_loader(
    official: Official, checkpoints: Path, tmp_path: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind, "off")
    unet.save_pretrained(tmp_path / "off")
    before = official.run(unet, "eval")
    loaded: list[VideoUNet] = [
        load_saved_unet(tmp_path / "off"),
        type(unet).from_pretrained(tmp_path / "off"),
    ]
    for again in loaded:
        assert not again.training
        after = official.run(again, "eval")
        assert torch.equal(before, after)
        assert official.error(after, "eval") <= TOLERANCE


@torch.no_grad()
def test_the_two_time_embeddings_keep_to_their_halves(
    official: Official, checkpoints: Path
) -> None:
    """With one shared embedding, or SVD's added on top, the first assertion fails by 0.01."""
    unet = official.fused(checkpoints, "svd", "off")
    for part in (unet.temporal_time_embedding, unet.add_embedding):
        for parameter in part.parameters():
            parameter.normal_(std=10.0)
    assert official.error(official.run(unet, "train"), "train") <= TOLERANCE
    unet = official.fused(checkpoints, "svd", "svd")
    before = official.run(unet, "train", 1)
    unet.temporal_time_embedding.linear_2.bias.add_(1.0)
    assert (official.run(unet, "train", 1) - before).abs().max() > 1e-3


def spatial_eps(unet: MNVSUNet) -> set[float]:
    return {
        module.eps
        for name, module in unet.named_modules()
        if ".spatial_res_block.norm" in name and isinstance(module, torch.nn.GroupNorm)
    }


def test_norm_epsilons_are_zero123pluss_however_the_unet_is_made(
    official: Official, checkpoints: Path, tmp_path: Path
) -> None:
    unet = official.fused(checkpoints)
    assert isinstance(unet, MNVSUNet)
    unet.save_pretrained(tmp_path)
    with torch.device("meta"):
        on_meta = MNVSUNet.from_config(unet.config)
    made = [
        unet,
        on_meta,
        on_meta.to_empty(device="cpu"),
        MNVSUNet.from_config(unet.config),
        MNVSUNet.from_pretrained(tmp_path),
        MNVSUNet.from_pretrained(tmp_path, torch_dtype=torch.float16),
        load_saved_unet(tmp_path),
        load_unet(checkpoints / "zero123plus", None),
    ]
    stock = {
        name.replace("spatial_res_block", "temporal_res_block"): module.eps
        for name, module in official.svd().named_modules()
        if ".temporal_res_block.norm" in name
    }
    for model in made:
        assert spatial_eps(model) == {1e-5}
    modules = dict(unet.named_modules())
    assert {name: modules[name].eps for name in stock} == stock
    assert set(stock.values()) == {1e-6, 1e-5}

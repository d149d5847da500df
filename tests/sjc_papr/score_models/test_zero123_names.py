"""Zero123's tensors by name: the published architecture against diffusers' own conversion."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import nn

from sjc_papr.score_models.zero123 import original as zero123_original
from sjc_papr.score_models.zero123.loading import (
    _classes,
    build_networks,
)
from sjc_papr.score_models.zero123.names import IGNORED, unet_sources, vae_sources, vision_sources
from training_core.files.weight_file import WeightFile


@pytest.fixture(scope="module")
def full_size() -> tuple[nn.Module, ...]:
    """The published architecture on the meta device: UNet, VAE, CLIP ViT-L/14, projection."""
    clip = "cond_stage_model.model.visual."
    shapes = {
        f"{clip}conv1.weight": (1024, 3, 14, 14),
        f"{clip}positional_embedding": (257, 1024),
        f"{clip}proj": (1024, 768),
        **{f"{clip}transformer.resblocks.{i}.mlp.c_fc.weight": (4096, 1024) for i in range(24)},
    }
    file = WeightFile.__new__(WeightFile)
    file.path, file.shapes = Path("published.ckpt"), shapes
    settings, _ = zero123_original.settings(file, "")
    assert settings == zero123_original.published()
    return build_networks(settings, _classes())


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_full_size_is_zero123_s(full_size: tuple[nn.Module, ...]) -> None:
    unet, vae, vision, projection = full_size
    assert parameters(unet) == 859_532_484  # SD 1's 859,520,964 and four more channels in
    assert parameters(vae) == 83_653_863
    assert round(parameters(vision) / 1e6) == 304
    assert tuple(projection.weight.shape) == (768, 772)


def test_full_size_unet_names(full_size: tuple[nn.Module, ...]) -> None:
    """All 686 tensors, against diffusers' own conversion of Stable Diffusion checkpoints."""
    unet: Any = full_size[0]
    names = unet.state_dict()
    sources = unet_sources(names, 2, averaged=False)
    assert len({source.name for source in sources.values()}) == len(names) == 686
    original = {source.name: names[ours] for ours, source in sources.items()}
    for known, shape in (
        ("time_embed.2.bias", (1280,)),
        ("input_blocks.3.0.op.weight", (320, 320, 3, 3)),
        ("input_blocks.4.0.skip_connection.weight", (640, 320, 1, 1)),
        ("middle_block.1.transformer_blocks.0.attn2.to_k.weight", (1280, 768)),
        ("output_blocks.2.1.conv.weight", (1280, 1280, 3, 3)),
        ("output_blocks.5.2.conv.weight", (1280, 1280, 3, 3)),
        ("output_blocks.11.1.proj_out.weight", (320, 320, 1, 1)),
        ("out.2.weight", (4, 320, 3, 3)),
    ):
        assert tuple(original[f"model.diffusion_model.{known}"].shape) == shape
    converted = convert_ldm_unet_checkpoint(dict(original), dict(unet.config))
    assert {n: id(t) for n, t in converted.items()} == {n: id(t) for n, t in names.items()}


def test_full_size_averaged_unet_names(full_size: tuple[nn.Module, ...]) -> None:
    """Names without dots are still one each, and are the plain ones but for the dots."""
    names = full_size[0].state_dict()
    averaged = unet_sources(names, 2, averaged=True)
    plain = unet_sources(names, 2, averaged=False)
    assert len({source.name for source in averaged.values()}) == 686
    for ours, source in averaged.items():
        joined = plain[ours].name.removeprefix("model.").replace(".", "")
        assert source.name == f"model_ema.{joined}"


def test_full_size_vae_names(full_size: tuple[nn.Module, ...]) -> None:
    """All 248 tensors, against diffusers' conversion."""
    vae: Any = full_size[1]
    names = vae.state_dict()
    sources = vae_sources(names, 4)
    assert len({source.name for source in sources.values()}) == len(names) == 248
    original = {
        source.name: torch.empty(source.stored_shape(names[ours].shape), device="meta")
        for ours, source in sources.items()
    }
    assert tuple(original["first_stage_model.encoder.mid.attn_1.q.weight"].shape) == (
        512,
        512,
        1,
        1,
    )
    assert "first_stage_model.decoder.up.3.upsample.conv.weight" in original
    converted = convert_ldm_vae_checkpoint(dict(original), dict(vae.config))
    assert converted.keys() == names.keys()
    for ours, source in sources.items():
        theirs = converted[ours]
        # Convolution kernels of one pixel are flattened, which makes another tensor of them.
        assert theirs is original[source.name] or source.kernel
        assert theirs.shape == names[ours].shape


def test_full_size_clip_names(full_size: tuple[nn.Module, ...]) -> None:
    """Our 392 tensors take the 296 of OpenAI's ViT-L/14, all of them, each third once."""
    names = full_size[2].state_dict()
    sources = vision_sources(names)
    assert len(names) == len(set(sources.values())) == 392
    block = [
        f"{n}.{w}"
        for n in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj", "attn.out_proj")
        for w in ("weight", "bias")
    ]
    block += ["attn.in_proj_weight", "attn.in_proj_bias"]
    ends = ["class_embedding", "positional_embedding", "proj", "conv1.weight"]
    ends += [f"ln_{end}.{w}" for end in ("pre", "post") for w in ("weight", "bias")]
    expected = {f"transformer.resblocks.{i}.{n}" for i in range(24) for n in block} | set(ends)
    assert len(expected) == 296
    prefix = "cond_stage_model.model.visual."
    assert {source.name.removeprefix(prefix) for source in sources.values()} == expected


def test_what_is_ignored_is_no_network_s() -> None:
    for name in ("betas", "sqrt_recipm1_alphas_cumprod", "posterior_mean_coef2", "model_ema.decay"):
        assert IGNORED.search(name)
    for name in ("cc_projection.weight", "model.diffusion_model.out.0.bias", "control.betas"):
        assert not IGNORED.search(name)

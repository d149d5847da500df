"""In their stock settings, the video UNets' own forward passes are diffusers' to the last bit."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
)
from official_zero123plus import Official
from torch import Tensor

from mnvs.checkpoints.unet_loading import new_unet, placement
from mnvs.networks.blending import set_mix_factors
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.denoiser import VideoUNet
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.networks.unet import MNVSUNet

SIZES = [(8, 8), (13, 11)]  # the second needs the sizes of the skips in the up blocks


class InSVDsSetting(MNVSUNet):
    """SVD has one time embedding: here the spatial half gets the temporal half's."""

    def block_arguments(self, *inputs: Any) -> dict[str, Any]:
        arguments = super().block_arguments(*inputs)
        temporal = arguments["temb"].chunk(2, dim=-1)[1]
        return {**arguments, "temb": torch.cat([temporal, temporal], dim=-1)}


def like_svd(stock: UNetSpatioTemporalConditionModel) -> MNVSUNet:
    settings = {k: v for k, v in stock.config.items() if not k.startswith("_")}
    unet = InSVDsSetting(**settings, temporal_start="svd").eval()
    place = placement(unet)
    state = {ours: stock.state_dict()[theirs] for theirs, ours in place.temporal.items()}
    state |= {ours: stock.state_dict()[ours] for ours in place.zero123plus.values()}
    unet.load_state_dict(state)
    return with_norms_of(unet, stock)


def with_norms_of(unet: MNVSUNet, stock: UNetSpatioTemporalConditionModel) -> MNVSUNet:
    """SVD's own epsilons in the spatial norms, not Zero123++'s."""
    modules = dict(unet.named_modules())
    for name, module in stock.named_modules():
        if ".spatial_res_block.norm" in name:
            modules[name].eps = module.eps
    return unet


def video_of(unet: VideoUNet, videos: int, frames: int, size: tuple[int, int]) -> tuple:
    """Random input: sample, steps and conditioning with one prompt token."""
    channels, width = unet.config.in_channels, unet.config.cross_attention_dim
    width = width if isinstance(width, int) else width[0]
    token = torch.randn(videos, 1, width)
    ids = torch.tensor([[6.0, 127.0, 0.02]]).repeat(videos, 1)
    conditioning = Conditioning(token, token, torch.randn(videos), ids)
    return (
        torch.randn(videos, frames, channels, *size),
        torch.tensor([321, 7][:videos]),
        conditioning,
    )


@torch.no_grad()
def test_in_svds_setting_saved_and_reloaded(official: Official, tmp_path: Path) -> None:
    stock = official.svd(4)
    like_svd(stock).save_pretrained(tmp_path)
    again = InSVDsSetting.from_pretrained(tmp_path).eval()
    sample, steps, told = video_of(again, 2, 3, SIZES[0])
    expected = stock(sample, told.c_noise, told.image_token, told.added_time_ids).sample
    assert not torch.equal(again(sample, steps, told), expected), "Zero123++'s epsilon is set anew"
    with_norms_of(again, stock)
    assert torch.equal(again(sample, steps, told), expected)


@pytest.mark.parametrize("in_channels", [4, 8])
@torch.no_grad()
def test_in_svds_setting_the_output_is_svds(official: Official, in_channels: int) -> None:
    stock = official.svd(in_channels)
    unet = like_svd(stock)
    for size, frames in itertools.product(SIZES, (1, 3)):
        sample, steps, told = video_of(unet, 2, frames, size)
        expected = stock(sample, told.c_noise, told.image_token, told.added_time_ids).sample
        assert torch.equal(unet(sample, steps, told), expected)
    set_mix_factors(unet, 0.0)
    assert (unet(sample, steps, told) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("motion_mid_block", [True, False])
@torch.no_grad()
def test_with_its_motion_modules_the_output_is_animatediffs(
    official: Official, motion_mid_block: bool
) -> None:
    spatial = UNet2DConditionModel(**official.settings["unet"])
    given = {k: v for k, v in official.motion_adapter().config.items() if not k.startswith("_")}
    adapter = MotionAdapter(**{**given, "use_motion_mid_block": motion_mid_block})
    config = dict(adapter.config)
    stock = UNetMotionModel.from_unet2d(spatial, adapter).eval()
    unet = new_unet(official.settings["unet"], config, "animatediff", "svd").eval()
    assert isinstance(unet, MNVSMotionUNet)
    left_out, unknown = unet.load_state_dict(stock.state_dict(), strict=False)
    assert (sorted(left_out), unknown) == (sorted(placement(unet).ours_alone), [])
    for size in SIZES:
        sample, steps, told = video_of(unet, 2, 3, size)
        prompt: Tensor = torch.randn(2, 7, told.prompt.shape[-1])
        told = Conditioning(prompt, *told.tensors()[1:])
        expected = stock(sample.transpose(1, 2), steps, prompt.repeat_interleave(3, 0)).sample
        assert torch.equal(unet(sample, steps, told), expected.transpose(1, 2))


def test_more_frames_than_positions_are_refused(official: Official) -> None:
    config = {**official.motion_adapter().config, "motion_max_seq_length": 2}
    unet = new_unet(official.settings["unet"], config, "animatediff")
    sample, steps, told = video_of(unet, 1, 3, (8, 8))
    with pytest.raises(ValueError, match="sample has 3 frames, the motion modules take 2"):
        unet(sample, steps, told)
    assert unet(sample, steps, told, spatial_only=True).shape == sample.shape

"""A very small video UNet with random weights, and a call of it with everything it takes."""

import torch
from torch import Tensor

from mnvs.diffusion.noise_schedule import NoiseSchedule
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.networks.unet import MNVSUNet

WIDTH = 24  # of prompts and image tokens


def small_unet(channels: tuple[int, int] = (32, 64), seed: int = 11, **more: str) -> MNVSUNet:
    """Two levels, attention on the upper one and in the middle; the same weights for a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MNVSUNet(
            sample_size=8,
            block_out_channels=channels,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            num_attention_heads=(2, 4),
            cross_attention_dim=WIDTH,
            layers_per_block=1,
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
            **more,  # type: ignore[arg-type]
        )


def small_motion_unet(temporal_start: str = "gated", seed: int = 12) -> MNVSMotionUNet:
    """The same with AnimateDiff's motion modules."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MNVSMotionUNet(
            sample_size=8,
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
            up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
            num_attention_heads=(2, 4),
            cross_attention_dim=WIDTH,
            layers_per_block=1,
            motion_num_attention_heads=2,
            temporal_start=temporal_start,
        )


def schedule() -> NoiseSchedule:
    """Zero123++'s."""
    return NoiseSchedule((1.0 - torch.linspace(0.00085, 0.012, 1000)).cumprod(0))


def call(unet: torch.nn.Module, dtype: torch.dtype = torch.float32) -> Tensor:
    """v of two videos of three frames, with reference attention; always the same input."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    steps = torch.tensor([300, 600])
    conditioning = Conditioning(
        prompt=draw(2, 5, WIDTH),
        image_token=draw(2, 1, WIDTH),
        c_noise=schedule().c_noise(steps),
        added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]).repeat(2, 1),
    )
    base = unet.get_base_model() if hasattr(unet, "get_base_model") else unet
    reference = base.write_reference(draw(2, 1, 4, 4, 4), steps, conditioning.prompt)
    return base(draw(2, 3, 4, 6, 4), steps, conditioning, reference)

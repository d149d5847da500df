"""Without temporal layers the pipeline is Zero123++, from the picture to the tile.

The twin is written from the paper and the facts about the official pipeline: diffusers' 2D UNet,
attention processors that keep and read a bank, one frame at a time, both branches of guidance in
one batch, PIL and transformers for the input picture.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint, build_tiny
from mnvs.encoders.prompt import EmptyPrompt
from mnvs.inference.pipeline import MNVSPipeline

SIZE, FRAMES, STEPS, GUIDANCE = 32, 2, 4, 4.0


class BankProcessor:
    """Self-attention that keeps its input when writing, and when reading attends to it as well."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None
        self.reading = False

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **more):  # type: ignore[no-untyped-def]
        context = hidden_states
        if self.reading:
            context = torch.cat([hidden_states, self.kept], dim=1)
        else:
            self.kept = hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        heads = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        made = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](made))


@torch.no_grad()
def slow_zero123plus(folder: Path, picture: Image.Image, generator: torch.Generator) -> Tensor:
    """Tiles [FRAMES, 3, 96, 64], each as one call of the official pipeline would make it."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval()
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    vision = CLIPVisionModelWithProjection.from_pretrained(folder / "vision_encoder").eval()
    empty = EmptyPrompt.from_pretrained(folder / "empty_prompt").states
    ramp = json.loads((folder / "model_index.json").read_text())["ramping_coefficients"]
    scheduler = EulerAncestralDiscreteScheduler.from_pretrained(folder / "scheduler")
    banks = {}
    for name, processor in unet.attn_processors.items():
        banks[name] = BankProcessor() if ".attn1." in name else processor
    unet.set_attn_processor(dict(banks))

    grey = Image.new("RGBA", picture.size, (127, 127, 127, 255))
    rgb = Image.alpha_composite(grey, picture).convert("RGB")
    pixels = {
        name: CLIPImageProcessor.from_pretrained(folder / f"feature_extractor_{name}")(
            images=rgb, return_tensors="pt"
        ).pixel_values
        for name in ("vae", "clip")
    }
    posterior = vae.encode(pixels["vae"]).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    condition = torch.cat(
        [
            vae.encode(torch.zeros_like(pixels["vae"])).latent_dist.mean,
            posterior.mean + posterior.std * noise,
        ]
    )
    embedding = vision(pixels["clip"]).image_embeds
    prompt = torch.stack([empty, empty + embedding * torch.tensor(ramp)[:, None]])

    scheduler.set_timesteps(STEPS)
    latents = torch.randn(1, FRAMES, 4, 24, 16, generator=generator)[0] * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        sigma = scheduler.sigmas[scheduler.index_for_timestep(time)]
        noises = [torch.randn(1, 1, *condition.shape[1:], generator=generator)[0] for _ in range(2)]
        noisy = (condition + sigma * torch.cat(noises)) / (sigma**2 + 1).sqrt()
        velocities = []
        for frame in scheduler.scale_model_input(latents, time):
            for reading, sample in ((False, noisy), (True, frame.expand(2, -1, -1, -1))):
                for bank in banks.values():
                    bank.reading = reading
                answer = unet(sample, time, encoder_hidden_states=prompt).sample
            velocities.append(answer[0] + GUIDANCE * (answer[1] - answer[0]))
        latents = scheduler.step(
            torch.stack(velocities), time, latents, generator=generator
        ).prev_sample
    decoded = vae.decode((latents / 0.75 + 0.22) / vae.config.scaling_factor).sample
    return ((decoded * 0.8 / 0.5) * 0.5 + 0.5).clamp(0, 1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return build_tiny(
        tmp_path_factory.mktemp("tiny") / "made",
        unet_channels=[64, 64],
        heads=[2, 2],
        width=32,
        view_size=SIZE,
    )


def test_pipeline_is_zero123plus(tiny: TinyCheckpoint) -> None:
    generator = torch.Generator().manual_seed(4)
    # At the encoders' own size, so that nothing is resized; opaque or nothing, as 127 is not 0.5.
    pixels = (torch.rand(SIZE, SIZE, 4, generator=generator) * 255).byte()
    pixels[..., 3] = 255
    picture = Image.fromarray(pixels.numpy())
    wanted = slow_zero123plus(tiny.zero123plus, picture, torch.Generator().manual_seed(9))
    for start, spatial_only in (("off", False), ("svd", True)):
        pipeline = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd, temporal_start=start)
        pipeline.set_progress_bar_config(disable=True)
        got = pipeline(
            picture,
            FRAMES,
            STEPS,
            GUIDANCE,
            generator=torch.Generator().manual_seed(9),
            spatial_only=spatial_only,
        ).tiles
        torch.testing.assert_close(got, wanted, atol=2e-5, rtol=0)
    temporal = pipeline(picture, FRAMES, STEPS, generator=torch.Generator().manual_seed(9)).tiles
    assert (temporal - wanted).abs().max() > 1e-3, "SVD's layers changed nothing"

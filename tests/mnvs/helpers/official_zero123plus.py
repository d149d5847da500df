"""A tiny Zero123++ with what the official pipeline code computed; see tests/fixtures/README.md.

`write` puts it on disk the way published checkpoints lie there, with temporal sources that fit.
"""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    MotionAdapter,
    UNetSpatioTemporalConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor

from mnvs.checkpoints.unet_loading import load_unet
from mnvs.networks.conditioning import Conditioning
from mnvs.networks.denoiser import VideoUNet

FRAMES = 3


STEM = Path(__file__).parents[2] / "fixtures" / "zero123plus_official"
_WEIGHTS = "weights."


class Official:
    """Settings, weights, inputs and outputs."""

    @cached_property
    def settings(self) -> dict:
        return json.loads(STEM.with_suffix(".json").read_text())

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        with np.load(STEM.with_suffix(".npz")) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        stored = {n: t for n, t in self._stored.items() if n.startswith(_WEIGHTS)}
        return {name.removeprefix(_WEIGHTS): tensor.float() for name, tensor in stored.items()}

    @cached_property
    def arrays(self) -> dict[str, Tensor]:
        return {n: t for n, t in self._stored.items() if not n.startswith(_WEIGHTS)}

    def noised(self, mode: str) -> tuple[Tensor, Tensor]:
        """The condition latent as the official code noised it in `train` or `eval`; its steps."""
        scheduler, arrays = self.settings["scheduler"], self.arrays
        steps, noise = arrays[f"{mode}_timestep"], arrays[f"{mode}_noise"]
        if mode == "train":
            ddpm = DDPMScheduler(**scheduler)
            return ddpm.add_noise(arrays["cond_latent"], noise, steps), steps
        euler = EulerAncestralDiscreteScheduler(**scheduler, timestep_spacing="trailing")
        euler.set_timesteps(self.settings["inference_steps"])
        latent = euler.add_noise(arrays["cond_latent"], noise, steps)
        return euler.scale_model_input(latent, steps), steps.expand(len(latent))

    def run(
        self, unet: VideoUNet, mode: str, frames: int = FRAMES, with_reference: bool = True
    ) -> Tensor:
        """[B, frames, 4, h, w] of `unet` on `frames` copies of the official input.

        What the temporal layers are told is drawn at random.
        """
        latent, steps = self.noised(mode)
        videos = len(latent)
        conditioning = Conditioning(
            prompt=self.arrays["encoder_hidden_states"],
            image_token=torch.randn(videos, 1, self.settings["unet"]["cross_attention_dim"]),
            c_noise=torch.randn(videos),
            added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]).repeat(videos, 1),
        )
        reference = None
        if with_reference:
            reference = unet.write_reference(latent[:, None], steps, conditioning.prompt)
        sample = self.arrays["sample"][:, None].expand(-1, frames, -1, -1, -1)
        return unet(sample, steps, conditioning, reference)

    def error(self, out: Tensor, mode: str) -> float:
        """Largest difference of any frame from the official output."""
        return (out - self.arrays[f"{mode}_out"][:, None]).abs().max().item()

    def write(self, folder: Path) -> None:
        """`folder`/zero123plus/unet, /svd/unet and /animatediff, float32."""
        unet = folder / "zero123plus" / "unet"
        unet.mkdir(parents=True)
        config = {"_class_name": "UNet2DConditionModel", **self.settings["unet"]}
        (unet / "config.json").write_text(json.dumps(config))
        save_file(self.weights, unet / "diffusion_pytorch_model.safetensors")
        self.svd().save_pretrained(folder / "svd" / "unet")
        self.motion_adapter().save_pretrained(folder / "animatediff")

    def svd(self, in_channels: int = 8) -> UNetSpatioTemporalConditionModel:
        """diffusers' SVD UNet of the same sizes, random weights."""
        settings = self.settings["unet"]
        return UNetSpatioTemporalConditionModel(
            sample_size=settings["sample_size"],
            in_channels=in_channels,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=tuple(settings["block_out_channels"]),
            layers_per_block=settings["layers_per_block"],
            cross_attention_dim=settings["cross_attention_dim"],
            num_attention_heads=tuple(settings["attention_head_dim"]),
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=96,
        ).eval()

    def motion_adapter(self) -> MotionAdapter:
        """AnimateDiff's container of the same sizes, random weights."""
        return MotionAdapter(
            block_out_channels=tuple(self.settings["unet"]["block_out_channels"]),
            motion_layers_per_block=self.settings["unet"]["layers_per_block"],
            motion_num_attention_heads=4,
        )

    def fused(self, folder: Path, kind: str = "svd", temporal_start: str = "gated") -> VideoUNet:
        """The video UNet from what `write` wrote."""
        return load_unet(folder / "zero123plus", folder / kind, kind, temporal_start)

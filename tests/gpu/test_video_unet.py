"""The video UNet on the GPU: the official numbers in every format, a step of its adapters.

Tolerances on the official outputs, which are of size 1: 1e-4 in float32 (1e-5 on the CPU), 2e-2 in
float16, 1e-1 in bfloat16.
"""

from pathlib import Path

import pytest
import torch
from official_zero123plus import FRAMES, Official
from small_training import MadeUpClips, conditioner, steps_config
from small_unet import schedule, small_unet

from mnvs.networks.conditioning import Conditioning
from mnvs.training.devices import frozen_dtype, make_accelerator
from mnvs.training.trainable import Trainable
from mnvs.training.trainer import Trainer

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@torch.no_grad()
def test_fused_unet_computes_the_official_numbers(
    official: Official, checkpoints: Path, device: torch.device, dtype: torch.dtype
) -> None:
    unet = official.fused(checkpoints, "svd", "off").to(device, dtype)
    latent, steps = official.noised("eval")
    videos, width = len(latent), official.settings["unet"]["cross_attention_dim"]
    conditioning = Conditioning(
        prompt=official.arrays["encoder_hidden_states"].to(device, dtype),
        image_token=torch.randn(videos, 1, width).to(device, dtype),
        c_noise=torch.randn(videos).to(device, dtype),
        added_time_ids=torch.tensor([[6.0, 127.0, 0.02]]).repeat(videos, 1).to(device, dtype),
    )
    steps = steps.to(device)
    reference = unet.write_reference(latent[:, None].to(device, dtype), steps, conditioning.prompt)
    sample = official.arrays["sample"][:, None].expand(-1, FRAMES, -1, -1, -1).to(device, dtype)
    out = unet(sample, steps, conditioning, reference)
    assert out.isfinite().all()
    assert official.error(out.float().cpu(), "eval") <= TOLERANCE[dtype]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_learn(
    tmp_path: Path, device: torch.device, precision: str, checkpointing: bool
) -> None:
    config = steps_config(steps=8, gradient_checkpointing=checkpointing)
    accelerator = make_accelerator(device.type, precision)
    trainer = Trainer(
        accelerator,
        Trainable(
            small_unet(temporal_start="svd").to(device, frozen_dtype(accelerator)),
            config,
            frozen_dtype(accelerator),
        ),
        MadeUpClips(frames=3),
        conditioner(),
        schedule(),
        config,
        seed=0,
        fault_folder=tmp_path,
    )
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    losses = [float(trainer.step(step)["loss/total"]) for step in range(8)]
    assert all(0.0 < loss < 10.0 for loss in losses)
    moved = [not torch.equal(p, before[name]) for name, p in trainer.parameters.items()]
    assert all(moved)

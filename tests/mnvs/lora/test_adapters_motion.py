"""LoRA modes on AnimateDiff's motion modules."""

import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from small_lora import ADAPTABLE, disturb, settings
from small_unet import call, small_motion_unet

from mnvs.lora.adapters import Lora
from mnvs.lora.modes import MODES, module_names
from mnvs.training.config import StepsConfig
from mnvs.training.trainable import Trainable


def test_modes_on_motion_modules() -> None:
    """AnimateDiff's second attention is self-attention over time as well, queries and all."""
    unet = small_motion_unet()
    every = [name for name, module in unet.named_modules() if isinstance(module, ADAPTABLE)]
    assert module_names(unet, "full", live=False) == every
    closed = set(every) - set(module_names(unet, "full"))
    assert closed and all(re.fullmatch(r".*motion_modules\.\d\.proj_(in|out)", n) for n in closed)
    chosen = {mode: set(module_names(unet, mode)) for mode in MODES}
    motion = {name for name in every if ".motion_modules." in name}
    assert {name for name in motion if ".attn" in name} <= chosen["selfattn"] & chosen["temporal"]
    assert chosen["temporal"] < motion and not chosen["xattn"] & motion
    assert chosen["kq"] & motion


@pytest.mark.parametrize("mode", MODES)
def test_adapters_of_motion_modules(mode: str, tmp_path: Path) -> None:
    unet = small_motion_unet()
    plain = call(unet).detach()
    lora = Lora(unet, settings(mode))
    disturb(lora)
    output = call(unet)
    assert (output - plain).abs().max() > 1e-3
    output.square().mean().backward()
    for name, parameter in lora.named_parameters().items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name
    lora.save(tmp_path)
    other = small_motion_unet()
    loaded = Lora.load(other, tmp_path)
    torch.testing.assert_close(call(other), output, rtol=0, atol=0)
    loaded.merge()
    torch.testing.assert_close(call(other), output, rtol=0, atol=1e-5)
    loaded.unmerge()
    loaded.merge_and_unload()
    assert other.state_dict().keys() == small_motion_unet().state_dict().keys()
    torch.testing.assert_close(call(other), output, rtol=0, atol=1e-5)

    # peft alone reads the same files.
    wrapped = PeftModel.from_pretrained(small_motion_unet(), str(tmp_path))
    torch.testing.assert_close(call(wrapped), output, rtol=0, atol=1e-5)


def test_saturated_mixing_does_not_train() -> None:
    for parameters in ("lora", "full"):
        config = StepsConfig(parameters=parameters, gradient_checkpointing=False)
        for start in ("gated", "svd"):
            unet = small_motion_unet(start)
            trainable = Trainable(unet, config)
            assert any("mix_factor" in n for n in trainable.parameters()) == (start == "gated")
            call(unet).square().mean().backward()
            for name, parameter in trainable.parameters().items():
                zero = parameters == "lora" and "lora_A" in name  # B is zero at the start
                assert zero or (parameter.grad is not None and parameter.grad.any()), name

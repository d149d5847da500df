"""The cost model against what PyTorch counts."""

import pytest
import torch
from tiny_scene import one_view, sphere_points
from torch.utils.flop_counter import FlopCounterMode

from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render
from sjc_papr.training.config import PatchConfig
from sjc_papr.training.flops import activation_bytes, step_flops

SIZES = {
    "default": ModelConfig(),
    "wide": ModelConfig(
        attention=AttentionConfig(width=256, key_layers=5, value_layers=8, value_skips=[5]),
        neighbours=20,
        unet_base=64,
    ),
    "official inputs": ModelConfig(attention=AttentionConfig(width=128, offsets="official")),
}


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_flops_are_those_counted(config: ModelConfig) -> None:
    model = Papr(config, sphere_points(300, config.point_features))
    with FlopCounterMode(display=False) as counter:
        # In bfloat16, where no layer is split into parts with fewer rows.
        render(model, one_view((16, 16)), precision="bfloat16").rgb.sum().backward()
    expected = step_flops(config, PatchConfig(size=16))
    # Queries and the sums over K come on top; the first layers' inputs that need no gradient (the
    # viewing direction) take off.
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_activations_are_those_saved(config: ModelConfig) -> None:
    model, saved = Papr(config, sphere_points(300, config.point_features)), {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = render(model, one_view((24, 24)))
    unet = 4 * 24 * 24 * config.unet_base * 12
    assert sum(saved.values()) - unet == pytest.approx(
        activation_bytes(config, PatchConfig(size=24)), rel=0.25
    )
    assert output.rgb.requires_grad

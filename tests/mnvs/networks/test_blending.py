"""Mix factors keep float32, whatever the rest of the network is cast to."""

import copy
from pathlib import Path

import pytest
import torch
from diffusers.models.resnet import AlphaBlender
from official_zero123plus import Official
from torch import nn

from mnvs.checkpoints.unet_loading import load_saved_unet, load_unet
from mnvs.networks.blending import Float32Blender, check_temporal_start
from mnvs.networks.motion_unet import MNVSMotionUNet
from mnvs.networks.unet import MNVSUNet


def blender(mix_factor: float, strategy: str = "learned") -> Float32Blender:
    return Float32Blender(mix_factor, merge_strategy=strategy)


def test_the_temporal_side_counts_where_half_precision_would_lose_it() -> None:
    mixer = blender(7.0)  # alpha .99909, which bfloat16 rounds to 1
    spatial = torch.zeros(4, 3, dtype=torch.bfloat16)
    temporal = torch.full_like(spatial, 100.0).requires_grad_()
    out = mixer(spatial, temporal)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), torch.full((4, 3), 0.0911), rtol=0.01, atol=0)
    out.sum().backward()
    assert mixer.mix_factor.grad.abs() > 0.5
    assert temporal.grad.abs().min() > 0
    stock = AlphaBlender(7.0, merge_strategy="learned")
    assert stock(spatial, temporal).abs().max() == 0


def test_casting_and_moving_keep_the_exact_value() -> None:
    exact = torch.tensor([1.2345678])
    model = nn.Sequential(nn.Linear(2, 2), blender(float(exact)))
    for move in (nn.Module.half, nn.Module.bfloat16, nn.Module.double, nn.Module.cpu):
        moved = move(copy.deepcopy(model))
        assert torch.equal(moved[1].mix_factor, exact)
        assert moved[1].mix_factor.requires_grad
    on_meta = copy.deepcopy(model).to(device="meta", dtype=torch.float16)
    assert on_meta[1].mix_factor.dtype == torch.float32
    assert on_meta[1].mix_factor.is_meta
    assert on_meta.to_empty(device="cpu")[1].mix_factor.dtype == torch.float32


@pytest.mark.parametrize("kind", ["svd", "animatediff"])
def test_all_mix_factors_of_a_half_precision_unet(
    official: Official, checkpoints: Path, tmp_path: Path, kind: str
) -> None:
    unet = official.fused(checkpoints, kind, "gated").requires_grad_(False)
    for number, mixer in enumerate(m for m in unet.modules() if isinstance(m, Float32Blender)):
        mixer.mix_factor.fill_(4.0 + number / 1000)  # not all alike in half precision
    exact = {name: t for name, t in unet.state_dict().items() if name.endswith("mix_factor")}
    assert len(exact) == (18 if kind == "svd" else 11)
    unet.save_pretrained(tmp_path / "full")
    unet.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    made = [
        unet,
        *(
            type(unet).from_pretrained(tmp_path / n, torch_dtype=torch.bfloat16)
            for n in ("full", "half")
        ),
        *(load_saved_unet(tmp_path / name, torch.bfloat16) for name in ("full", "half")),
    ]
    for model in made:
        assert model.conv_in.weight.dtype == torch.bfloat16
        state = model.state_dict()
        assert all(torch.equal(state[name], value) for name, value in exact.items())
    cast = load_unet(checkpoints / "zero123plus", checkpoints / kind, kind, dtype=torch.bfloat16)
    assert {t.dtype for n, t in cast.state_dict().items() if n in exact} == {torch.float32}


@pytest.mark.parametrize("model", [MNVSUNet, MNVSMotionUNet])
def test_unknown_starts_are_refused(model: type) -> None:
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="'of' is not one of: svd, gated, off"),
    ):
        model(temporal_start="of")
    check_temporal_start("gated")

"""LoRA modes: what they name, what a step changes, and that their files give back the network."""

import json
import re
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from peft import PeftModel
from safetensors import safe_open
from small_lora import ADAPTABLE, disturb, settings
from small_unet import call, small_unet
from torch import nn

from mnvs.lora.adapters import Lora
from mnvs.lora.modes import DEAD, LEFT_OUT, MODES, module_names
from mnvs.lora.settings import LoraSettings
from mnvs.networks.unet import MNVSUNet
from training_core.config import InputError


@pytest.fixture
def unet() -> nn.Module:
    return small_unet()


@pytest.mark.parametrize("mode", MODES)
def test_modes_name_modules_that_can_be_adapted(mode: str, unet: nn.Module) -> None:
    names = module_names(unet, mode, live=False)
    assert names and all(isinstance(unet.get_submodule(name), ADAPTABLE) for name in names)


def test_full_is_every_module_that_can_be_adapted(unet: nn.Module) -> None:
    every = [name for name, module in unet.named_modules() if isinstance(module, ADAPTABLE)]
    assert module_names(unet, "full", live=False) == every


def test_modes_are_sets_that_complete_each_other(unet: nn.Module) -> None:
    chosen = {mode: set(module_names(unet, mode)) for mode in MODES}
    attention = chosen["selfattn"] | chosen["xattn"]
    assert not chosen["selfattn"] & chosen["xattn"]
    assert chosen["xattn-strict"] == chosen["kq"] & chosen["xattn"]
    assert chosen["kq"] < attention and attention < chosen["full"]
    assert chosen["innoxattn"] == chosen["full"] - chosen["selfattn"]
    time = {name for name in chosen["full"] if "emb" in name}
    assert chosen["noxattn"] == chosen["full"] - chosen["xattn"] - time
    assert {n for n in attention if "temporal" in n} < chosen["temporal"] < chosen["full"]
    assert all("temporal_transformer_blocks" in name for name in chosen["temporal"])


@pytest.mark.parametrize("mode", MODES)
def test_a_step_changes_what_is_meant_and_nothing_else(mode: str, unet: nn.Module) -> None:
    before = {name: p.detach().clone() for name, p in unet.named_parameters()}
    lora = Lora(unet, settings(mode))
    disturb(lora)
    trained = lora.named_parameters()
    # Adam moves every number by its rate, however small the gradient.
    optimizer = torch.optim.Adam(lora.parameters(), lr=1e-3, eps=1e-30)
    call(unet).square().mean().backward()
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name
    start = {name: p.detach().clone() for name, p in trained.items()}
    optimizer.step()

    assert all(not torch.equal(start[name], p) for name, p in trained.items())
    for name, parameter in unet.named_parameters():
        if name not in trained:
            plain = name.replace(".base_layer", "").replace(".original_module", "")
            assert torch.equal(parameter, before[plain]), name
    adapted = {name.split(".lora_")[0] for name in trained if ".lora_" in name}
    assert adapted == set(lora.modules)
    mixes = [name for name in trained if name.endswith("mix_factor")]
    assert len(mixes) == sum(name.endswith("mix_factor") for name in before)


def test_modules_left_out_as_dead_have_no_gradient_worth_the_name(unet: nn.Module) -> None:
    """One token: the softmax is 1, so what reaches queries and keys is rounding."""
    call(unet).square().mean().backward()
    dead = [n for n, p in unet.named_parameters() if re.fullmatch(rf"{DEAD}\.weight", n)]
    assert len(dead) == 2 * (len(module_names(unet, "xattn", live=False)) // 8)
    largest = 0.0
    for name in dead:
        gradient = unet.get_parameter(name).grad
        largest = max(largest, 0.0 if gradient is None else gradient.abs().max().item())
    value = unet.get_parameter(dead[0].replace("to_q", "to_v").replace("to_k", "to_v")).grad
    assert value is not None and largest < 1e-6 * value.abs().max().item()


@pytest.mark.parametrize("mode", MODES)
def test_saved_loaded_merged_and_folded_give_the_same_output(
    mode: str, unet: nn.Module, tmp_path: Path
) -> None:
    plain = call(unet).detach()
    lora = Lora(unet, settings(mode))
    disturb(lora)
    trained = call(unet).detach()
    assert (trained - plain).abs().max() > 1e-3
    lora.save(tmp_path)

    other = small_unet()
    loaded = Lora.load(other, tmp_path)
    assert loaded.settings == lora.settings
    torch.testing.assert_close(call(other), trained, rtol=0, atol=0)
    loaded.merge()
    assert loaded.merged
    torch.testing.assert_close(call(other), trained, rtol=0, atol=1e-5)
    loaded.unmerge()
    loaded.merge_and_unload()
    assert other.state_dict().keys() == small_unet().state_dict().keys()
    torch.testing.assert_close(call(other), trained, rtol=0, atol=1e-5)

    # peft alone reads the same files.
    wrapped = PeftModel.from_pretrained(small_unet(), str(tmp_path))
    torch.testing.assert_close(call(wrapped), trained, rtol=0, atol=1e-5)
    torch.testing.assert_close(call(wrapped.merge_and_unload()), trained, rtol=0, atol=1e-5)


def test_scale_runs_from_the_base_to_the_trained_network(unet: nn.Module, tmp_path: Path) -> None:
    plain = call(unet).detach()
    lora = Lora(unet, settings("temporal"))
    disturb(lora)
    trained = call(unet).detach()
    lora.set_scale(0.0)
    torch.testing.assert_close(call(unet), plain, rtol=0, atol=1e-6)
    lora.set_scale(0.5)
    half = call(unet).detach()
    assert (half - plain).abs().max() > 1e-4 and (half - trained).abs().max() > 1e-4
    lora.save(tmp_path)  # saved as trained, whatever the scale is at present
    torch.testing.assert_close(call(unet), half, rtol=0, atol=0)
    lora.set_scale(1.0)
    torch.testing.assert_close(call(unet), trained, rtol=0, atol=0)

    other = small_unet()
    loaded = Lora.load(other, tmp_path, scale=0.5)
    torch.testing.assert_close(call(other), half, rtol=0, atol=1e-6)
    loaded.merge()
    torch.testing.assert_close(call(other), half, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="unmerge"):
        loaded.set_scale(1.0)
    loaded.save(tmp_path / "again")
    assert loaded.merged
    third = small_unet()
    Lora.load(third, tmp_path / "again")
    torch.testing.assert_close(call(third), trained, rtol=0, atol=1e-5)


def test_settings_travel_with_the_weights(unet: nn.Module, tmp_path: Path) -> None:
    Lora(unet, settings("kq", dropout=0.1, mix_factors=False)).save(tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        said = json.loads(file.metadata()["mnvs"])
        assert not any("mix_factor" in name for name in file.keys())  # noqa: SIM118
    assert said == {
        "mode": "kq",
        "rank": 3,
        "alpha": 6.0,
        "dropout": 0.1,
        "mix_factors": False,
    }
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["r"] == 3 and config["target_modules"] == MODES["kq"].regex
    assert config["exclude_modules"] == LEFT_OUT


def test_adapters_stay_single_precision_on_a_half_precision_network(tmp_path: Path) -> None:
    unet = small_unet().to(torch.bfloat16)
    lora = Lora(unet, settings("temporal"))
    assert {p.dtype for p in lora.parameters()} == {torch.float32}
    disturb(lora)
    output = call(unet, torch.bfloat16)
    assert output.dtype == torch.bfloat16 and output.isfinite().all()
    output.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in lora.parameters())
    lora.save(tmp_path)
    again = Lora.load(small_unet().to(torch.bfloat16), tmp_path).named_parameters()
    for name, parameter in lora.named_parameters().items():
        assert torch.equal(parameter, again[name]), name


def test_trains_under_accelerate(unet: nn.Module) -> None:
    lora = Lora(unet, settings("temporal"))
    optimizer = torch.optim.AdamW(lora.parameters(), lr=1e-2)
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(unet, optimizer)
    losses = []
    for _ in range(4):
        loss = (call(model) - 0.3).square().mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(lora.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_misfits_are_named(unet: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'atn' is not one of: noxattn, innoxattn"):
        Lora(unet, settings("atn"))
    with pytest.raises(ValueError, match="names no module of Linear"):
        Lora(nn.Linear(2, 2), settings("temporal"))
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        Lora.load(unet, tmp_path)
    Lora(unet, settings("temporal")).save(tmp_path)
    with pytest.raises(InputError, match=r"conv|lora_A.*needs"):
        Lora.load(small_unet((64, 64)), tmp_path)


@pytest.fixture(scope="module")
def full_size() -> MNVSUNet:
    """Zero123++ and SVD at their real size, without memory."""
    with torch.device("meta"):
        return MNVSUNet()


@pytest.mark.parametrize("mode", MODES)
def test_counts_at_full_size(mode: str, full_size: MNVSUNet) -> None:
    assert len(module_names(full_size, mode, live=False)) == MODES[mode].modules
    assert len(module_names(full_size, mode)) == MODES[mode].live


def test_full_at_full_size_is_every_module_that_can_be_adapted(full_size: MNVSUNet) -> None:
    every = [name for name, module in full_size.named_modules() if isinstance(module, ADAPTABLE)]
    assert module_names(full_size, "full", live=False) == every


def test_parameters_at_full_size() -> None:
    with torch.device("meta"):
        unet = MNVSUNet()
    lora = Lora(unet, LoraSettings("selfattn", rank=64, alpha=64.0))
    names = lora.named_parameters()
    assert sum("mix_factor" in name for name in names) == 38
    matrices = sum(p.numel() for name, p in names.items() if "mix_factor" not in name)
    assert matrices == pytest.approx(12.8e6, rel=5e-3)

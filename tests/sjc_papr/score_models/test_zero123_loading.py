"""Zero123 from disk: three layouts, one network; anything that does not fit is named."""

import json
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

pytest.importorskip("diffusers")
from tiny_zero123 import LAYOUTS, original_state, tiny_networks, write, write_original

from sjc_papr.score_models.base import NoiseLevels
from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.loading import (
    Zero123Networks,
    load_networks,
)
from training_core.config import ConfigError, InputError
from training_core.files.weight_file import WeightFile

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def networks() -> Zero123Networks:
    return tiny_networks()


@pytest.fixture(scope="module")
def folder(networks: Zero123Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per layout; for reading only."""
    made = tmp_path_factory.mktemp("zero123")
    for layout in LAYOUTS:
        write(networks, layout, made / layout)
    return made


def config_for(path: Path, **values: Any) -> Zero123Config:
    """Of anything that ``write`` makes."""
    yaml_file = (path if path.is_dir() else path.parent) / "zero123.yaml"
    own = str(yaml_file) if yaml_file.exists() else ""
    return Zero123Config(path=str(path), original_config=own, **values)


def load(path: Path, **values: Any) -> Zero123Networks:
    return load_networks(config_for(path, **values), CPU)


def assert_same(loaded: Zero123Networks, expected: Zero123Networks) -> None:
    for ours, theirs in zip(loaded.parts(), expected.parts(), strict=True):
        state, wanted = ours.state_dict(), theirs.state_dict()
        assert state.keys() == wanted.keys()
        assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert torch.equal(loaded.levels.alphas_cumprod, expected.levels.alphas_cumprod)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_network(
    layout: str, folder: Path, networks: Zero123Networks
) -> None:
    loaded = load(folder / layout)
    assert_same(loaded, networks)
    assert not any(p.requires_grad for part in loaded.parts() for p in part.parameters())
    assert not any(part.training for part in loaded.parts())
    image = torch.rand(1, 3, 28, 28)
    embeds = [n.vision(image).image_embeds for n in (loaded, networks)]
    assert torch.equal(*embeds)  # its positions are no weights, and yet there


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_number_formats(dtype: str, folder: Path, networks: Zero123Networks) -> None:
    loaded = load(folder / "cc_projection", dtype=dtype, vae_dtype="bfloat16")
    wanted = getattr(torch, dtype)
    formats = [{p.dtype for p in part.parameters()} for part in loaded.parts()]
    assert formats == [{wanted}, {torch.bfloat16}, {wanted}, {wanted}]
    weight = networks.unet.conv_in.weight
    assert torch.equal(loaded.unet.conv_in.weight, weight.to(wanted))


def test_auto_is_half_precision_on_a_gpu_only() -> None:
    config = Zero123Config()
    assert config.compute_dtype(CPU) == torch.float32
    assert config.compute_dtype(torch.device("cuda")) == torch.float16


def test_the_averaged_unet_is_preferred_and_not_needed(
    networks: Zero123Networks, tmp_path: Path
) -> None:
    both = torch.load(write_original(networks, tmp_path / "both"), weights_only=True)["state_dict"]
    name = "model.diffusion_model.input_blocks.0.0.weight"
    assert not torch.equal(both[name], networks.unet.conv_in.weight)
    assert_same(load(tmp_path / "both" / "zero123.ckpt"), networks)
    plain = write_original(networks, tmp_path / "plain", averaged=False)
    assert not any(n.startswith("model_ema") for n in WeightFile(plain).shapes)
    assert_same(load(plain), networks)


def test_an_original_as_safetensors_and_in_a_folder(
    networks: Zero123Networks, tmp_path: Path
) -> None:
    checkpoint = write_original(networks, tmp_path / "zero123")
    assert_same(load(checkpoint.parent), networks)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "stable.safetensors"
    save_file(original_state(networks, averaged=False), other)
    config = config_for(checkpoint)
    config.path = str(other)
    assert_same(load_networks(config, CPU), networks)


def test_pickled_weights_variants_and_old_names(
    networks: Zero123Networks, folder: Path, tmp_path: Path
) -> None:
    """What older uploads look like: .bin files, the VAE's attention named otherwise."""
    made = write(networks, "cc_projection", tmp_path / "old")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for part, stem, pickled in (
        ("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model", "diffusion_pytorch_model"),
        ("image_encoder", "model", "pytorch_model"),
    ):
        path = made / part / f"{stem}.safetensors"
        state = load_file(path)
        if part == "vae":
            for new, old in names.items():
                change = (f"attentions.0.{new}.", f"attentions.0.{old}.")
                state = {name.replace(*change): t for name, t in state.items()}
            assert any(".query." in name for name in state)
        if part == "image_encoder":
            state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
        torch.save(OrderedDict(state), path.with_name(f"{pickled}.bin"))
        path.unlink()
    assert_same(load(made), networks)
    half = {n: t.half() for n, t in networks.unet.state_dict().items()}
    save_file(half, made / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    loaded = load(made, variant="fp16")
    assert torch.equal(loaded.unet.conv_in.weight, networks.unet.conv_in.weight.half().float())


class _Command:
    """Pickles as a call of a shell command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_no_code_of_a_checkpoint_runs(networks: Zero123Networks, tmp_path: Path) -> None:
    """Training states hold objects of other libraries; they are passed over, not rebuilt."""
    mark = tmp_path / "ran"
    beside = {"callbacks": {"a": _Command(f"touch {mark}")}, "path": Path("x"), "lr": [1, 2.0]}
    path = write_original(networks, tmp_path / "bad", beside=beside)
    assert_same(load(path), networks)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # so the file was what it should be


def change(path: Path, **changes: Tensor | None) -> None:
    """Change tensors of a weight file; None takes one away, `__` stands for a dot."""
    state = load_file(path)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    save_file(state, path)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("unet", {"conv_in__weight": None}, r"1 tensors missing: conv_in\.weight"),
        ("unet", {"conv_more__weight": torch.zeros(1)}, r"1 unknown tensors: conv_more\.weight"),
        (
            "vae",
            {"quant_conv__bias": torch.zeros(3)},
            r"1 wrong shapes: quant_conv\.bias is \[3\], expected \[8\]",
        ),
        ("cc_projection", {"projection__bias": None}, r"1 tensors missing: projection\.bias"),
    ],
)
def test_tensors_that_do_not_fit_a_folder_are_named(
    part: str,
    changes: dict[str, Tensor | None],
    message: str,
    networks: Zero123Networks,
    tmp_path: Path,
) -> None:
    made = write(networks, "cc_projection", tmp_path / "z")
    file = made / part / "diffusion_pytorch_model.safetensors"
    change(file, **changes)
    with pytest.raises(InputError, match=re.escape(str(file)) + ": " + message):
        load(made)


def test_tensors_that_do_not_fit_an_original_are_named(
    networks: Zero123Networks, tmp_path: Path
) -> None:
    def refusal(name: str, **changes: Tensor | None) -> str:
        path = write_original(networks, tmp_path / name)
        saved = torch.load(path, weights_only=True)
        for key, tensor in changes.items():
            saved["state_dict"][key] = tensor
        saved["state_dict"] = {k: t for k, t in saved["state_dict"].items() if t is not None}
        torch.save(saved, path)
        with pytest.raises(InputError) as error:
            load(path)
        return str(error.value)

    joint = "cond_stage_model.model.visual.transformer.resblocks.1.attn.in_proj_weight"
    assert f"1 tensors missing: {joint}" in refusal("a", **{joint: None})
    average = "model_ema.diffusion_modelinput_blocks00weight"
    assert f"1 tensors missing: {average}" in refusal("b", **{average: None})
    wrong = {"cc_projection.weight": torch.zeros(16, 16)}
    assert "cc_projection.weight is [16, 16], expected [16, 20]" in refusal("c", **wrong)
    more = {"model.control_model.weight": torch.zeros(1)}
    assert "1 unknown tensors: model.control_model.weight" in refusal("d", **more)
    linear = {"alphas_cumprod": torch.linspace(0.99, 0.01, 1000)}
    assert "alphas_cumprod is not Zero123's schedule" in refusal("e", **linear)


def test_other_schedules_and_networks_are_refused(
    networks: Zero123Networks, tmp_path: Path
) -> None:
    made = write(networks, "cc_projection", tmp_path / "z")
    schedule = made / "scheduler" / "scheduler_config.json"
    values = json.loads(schedule.read_text())
    for key, value in (("beta_schedule", "linear"), ("prediction_type", "v_prediction")):
        schedule.write_text(json.dumps(values | {key: value}))
        with pytest.raises(InputError, match=f"{key} is '{value}'"):
            load(made)
    schedule.unlink()  # not every upload has one
    expected = NoiseLevels.scaled_linear().alphas_cumprod
    assert torch.equal(load(made).levels.alphas_cumprod, expected)
    settings = made / "unet" / "config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"in_channels": 4}))
    change(
        made / "unet" / "diffusion_pytorch_model.safetensors",
        conv_in__weight=torch.zeros(32, 4, 3, 3),
    )
    with pytest.raises(InputError, match="4 channels in"):
        load(made)


def test_paths_that_lead_nowhere(tmp_path: Path, networks: Zero123Networks) -> None:
    def refusal(path: object) -> str:
        with pytest.raises((ConfigError, InputError)) as error:
            load_networks(Zero123Config(path=str(path)), CPU)
        return str(error.value)

    assert "zero123.path" in refusal("")
    assert "no such file or folder" in refusal(tmp_path / "nothing")
    assert "fetch it first" in refusal("nobody-has/this-model")
    assert "no unet/, no .ckpt" in refusal(tmp_path)
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).write_bytes(b"not a checkpoint")
    assert "a.ckpt, b.ckpt" in refusal(tmp_path)
    assert "a.ckpt: not a readable checkpoint" in refusal(tmp_path / "a.ckpt")
    made = write(networks, "cc_projection", tmp_path / "z")
    (made / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "diffusion_pytorch_model.safetensors, diffusion_pytorch_model.bin" in refusal(made)

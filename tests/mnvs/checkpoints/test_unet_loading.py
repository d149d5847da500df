"""Every tensor of the published checkpoints has its place, and what does not fit is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetSpatioTemporalConditionModel
from official_zero123plus import Official
from published_configs import ZERO123PLUS
from safetensors.torch import load, load_file, save_file
from torch import Tensor, nn

from mnvs.checkpoints.unet_loading import load_saved_unet, load_unet, new_unet, placement
from mnvs.networks.unet import MNVSUNet
from training_core.config import InputError

FILE = "diffusion_pytorch_model.safetensors"
kinds = pytest.mark.parametrize("kind", ["svd", "animatediff"])


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# --- full size, without weights ---------------------------------------------------------------


@pytest.fixture(scope="module")
def zero123plus() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(ZERO123PLUS)


def counts_of_full_size(
    spatial: nn.Module, temporal: nn.Module, kind: str, unused: set[str]
) -> tuple[int, int, int, int]:
    """Names and shapes fit both ways; numbers of spatial, temporal and own tensors, parameters.

    `unused` are the temporal network's own spatial tensors.
    """
    with torch.device("meta"):
        unet = new_unet(ZERO123PLUS, dict(temporal.config), kind)
    assert all(tensor.is_meta for tensor in unet.state_dict().values())
    place, ours = placement(unet), shapes(unet)
    assert {name: ours[own] for name, own in place.zero123plus.items()} == shapes(spatial)
    used = {name: shape for name, shape in shapes(temporal).items() if name not in unused}
    assert {name: ours[own] for name, own in place.temporal.items()} == used
    filled = [*place.zero123plus.values(), *place.temporal.values(), *place.ours_alone]
    assert sorted(filled) == sorted(ours)
    return len(place.zero123plus), len(place.temporal), len(place.ours_alone), parameters(unet)


def test_full_size_svd(zero123plus: UNet2DConditionModel) -> None:
    with torch.device("meta"):
        svd = UNetSpatioTemporalConditionModel()
    flat = shapes(zero123plus)
    # What SVD shares with the 2D network is spatial, but for the time embedding.
    spatial = {name for name in shapes(svd) if name.replace(".spatial_res_block.", ".") in flat}
    spatial -= {name for name in spatial if name.startswith("time_embedding.")}
    counts = counts_of_full_size(zero123plus, svd, "svd", spatial)
    assert counts == (686, 746, 0, 1_526_662_122)
    assert parameters(zero123plus) == 865_910_724  # the published number
    # SVD without its four extra input channels, plus the second time embedding.
    extra_channels, time_embedding = 4 * 320 * 9, 320 * 1280 + 1280 + 1280 * 1280 + 1280
    assert counts[-1] == parameters(svd) - extra_channels + time_embedding


def test_full_size_animatediff(zero123plus: UNet2DConditionModel) -> None:
    with torch.device("meta"):
        adapter = MotionAdapter()
    counts = counts_of_full_size(zero123plus, adapter, "animatediff", set())
    assert counts == (686, 567, 21, 865_910_724 + 453_209_280 + 21)


def test_defaults_are_the_published_sizes() -> None:
    with torch.device("meta"):
        assert shapes(MNVSUNet()) == shapes(new_unet(ZERO123PLUS, {}))


# --- on disk ----------------------------------------------------------------------------------


@kinds
def test_every_tensor_arrives_bit_for_bit(official: Official, checkpoints: Path, kind: str) -> None:
    unet = official.fused(checkpoints, kind, "svd")
    assert not unet.training
    place, state = placement(unet), unet.state_dict()
    temporal = checkpoints / ("svd/unet" if kind == "svd" else "animatediff") / FILE
    for file, names in (
        (checkpoints / "zero123plus" / "unet" / FILE, place.zero123plus),
        (temporal, place.temporal),
    ):
        stored = load_file(file)
        assert all(torch.equal(state[ours], stored[theirs]) for theirs, ours in names.items())
    assert all(state[name].item() == -1e4 for name in place.ours_alone)


def test_half_precision_variants_and_the_hubs_cache(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, revision = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    for name in ("zero123plus", "svd"):
        repository = hub / f"models--someone--{name}"
        target = repository / "snapshots" / revision / "unet"
        target.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
        shutil.copy(checkpoints / name / "unet" / "config.json", target)
        stored = load_file(checkpoints / name / "unet" / FILE)
        halved = {key: tensor.half() for key, tensor in stored.items()}
        save_file(halved, target / "diffusion_pytorch_model.fp16.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    sources = ("someone/zero123plus", f"someone/svd@{revision}")
    unet = load_unet(*sources, dtype=torch.float16, variant="fp16")
    # Here only the plain files exist, which serve as well.
    full = load_unet(checkpoints / "zero123plus", checkpoints / "svd", variant="fp16").state_dict()
    for name, tensor in unet.state_dict().items():
        expected = full[name] if name.endswith("mix_factor") else full[name].half()
        assert torch.equal(tensor, expected)
    with pytest.raises(InputError, match=r"model\.safetensors: missing; there is .*\.fp16\."):
        load_unet(*sources)
    with pytest.raises(InputError, match=r"someone/else: neither here nor .* hf download"):
        load_unet("someone/else", None)
    with pytest.raises(InputError, match="no such folder"):
        load_unet(tmp_path / "nothing", None)


@kinds
def test_without_a_temporal_checkpoint_they_start_at_random(checkpoints: Path, kind: str) -> None:
    unet = load_unet(checkpoints / "zero123plus", None, kind, dtype=torch.bfloat16)
    place, state = placement(unet), unet.state_dict()
    assert not any(tensor.is_meta for tensor in state.values())
    weights = [state[name] for name in place.temporal.values() if name.endswith("to_q.weight")]
    assert all(tensor.dtype == torch.bfloat16 and tensor.std() > 0 for tensor in weights)


def other_contents(name: str) -> list[tuple[Callable[[dict[str, Tensor]], object], str]]:
    """Changes of a file that holds a tensor `name`, and what must be said of each."""

    def drop_ten(tensors: dict[str, Tensor]) -> None:
        alike = [key for key in sorted(tensors) if ("temporal_" in key) == ("temporal_" in name)]
        for key in alike[:10]:
            tensors.pop(key)

    extra = {"mid_block.strange": torch.zeros(1)}
    return [
        (lambda tensors: tensors.pop(name), f": 1 tensors missing: {re.escape(name)}$"),
        (lambda tensors: tensors.update(extra), r": 1 unknown tensors: mid_block\.strange$"),
        (
            lambda tensors: tensors.update({name: torch.zeros(2)}),
            rf": 1 wrong shapes: {re.escape(name)} is \[2\], expected \[\d+, ",
        ),
        (drop_ten, r": 10 tensors missing: .*, and 4 more$"),
    ]


@pytest.mark.parametrize(
    ("kind", "part", "name"),
    [
        ("svd", "zero123plus/unet", "up_blocks.1.attentions.2.proj_in.weight"),
        ("animatediff", "zero123plus/unet", "mid_block.resnets.1.conv2.weight"),
        ("svd", "svd/unet", "mid_block.resnets.1.temporal_res_block.conv2.weight"),
        ("animatediff", "animatediff", "mid_block.motion_modules.0.proj_in.weight"),
    ],
)
def test_wrong_tensors_are_refused_by_name(
    checkpoints: Path, tmp_path: Path, kind: str, part: str, name: str
) -> None:
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
    file = tmp_path / part / FILE
    original = load(file.read_bytes())  # not left lying in the file, which is written again
    for change, message in other_contents(name):
        tensors = dict(original)
        change(tensors)
        save_file(tensors, file)
        with pytest.raises(InputError, match=message) as refused:
            load_unet(tmp_path / "zero123plus", tmp_path / kind, kind)
        assert str(refused.value).startswith(f"{file}: ")
        assert "\n" not in str(refused.value)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_unet(tmp_path / "zero123plus", tmp_path / kind, kind)


def test_pickled_weights_are_not_read(checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoints / "zero123plus", tmp_path / "zero123plus")
    file = tmp_path / "zero123plus" / "unet" / FILE
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(InputError, match="only pickled weights"):
        load_unet(tmp_path / "zero123plus", None)


@kinds
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep', expected None"),
        ({"use_linear_projection": False}, "use_linear_projection is False, expected True"),
        ({"norm_num_groups": 16}, "norm_num_groups is 16, expected 32"),
        ({"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "'AttnUpBlock2D' is not one of"),
        ({"layers_per_block": 1}, "layers_per_block is 2, .* do not fit"),
    ],
)
def test_settings_without_a_counterpart_are_refused(
    official: Official, changed: dict, message: str, kind: str
) -> None:
    temporal = official.svd() if kind == "svd" else official.motion_adapter()
    with torch.device("meta"), pytest.raises(InputError, match=message):
        new_unet({**official.settings["unet"], **changed}, dict(temporal.config), kind)


def test_svd_for_another_prompt_width_is_refused(official: Official) -> None:
    config = {**official.settings["unet"], "cross_attention_dim": 40}
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"is 48, .* is \(40, 40\): .*not fit"),
    ):
        new_unet(config, dict(official.svd().config))


def test_the_file_can_be_written_again(checkpoints: Path, tmp_path: Path) -> None:
    """safetensors before 0.8 hands out tensors that lie in the file itself."""
    shutil.copytree(checkpoints / "zero123plus", tmp_path / "zero123plus")
    unet = load_unet(tmp_path / "zero123plus", None)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    file = tmp_path / "zero123plus" / "unet" / FILE
    with file.open("r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())


def test_norm_eps_of_the_checkpoint_is_followed(official: Official) -> None:
    config = {**official.settings["unet"], "norm_eps": 3e-4}
    unet = new_unet(config, dict(official.svd().config))
    block = unet.down_blocks[0].resnets[0]
    assert block.spatial_res_block.norm1.eps == 3e-4 != block.temporal_res_block.norm1.eps


def test_a_saved_unet_that_does_not_fit_is_refused(
    official: Official, checkpoints: Path, tmp_path: Path
) -> None:
    official.fused(checkpoints).save_pretrained(tmp_path)
    tensors = load((tmp_path / FILE).read_bytes())
    tensors.pop("conv_in.bias")
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(InputError, match=r"1 tensors missing: conv_in\.bias"):
        load_saved_unet(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "Other"}))
    with pytest.raises(InputError, match="'Other' is not one of: MNVSUNet, MNVSMotionUNet"):
        load_saved_unet(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_saved_unet(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        load_saved_unet(tmp_path)


def test_unknown_temporal_kinds_are_refused(checkpoints: Path) -> None:
    with pytest.raises(InputError, match="'sdv' is not one of: svd, animatediff"):
        load_unet(checkpoints / "zero123plus", None, "sdv")

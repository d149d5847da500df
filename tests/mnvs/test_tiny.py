"""The tiny checkpoint: reproducible, and each of its parts does what its real counterpart does."""

import json
import resource
from pathlib import Path

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    MotionAdapter,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from refusals import assert_refused
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from mnvs.checkpoints.encoder_loading import load_encoders
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint, TinyConfig, build_tiny, new_vae
from mnvs.tiny import main
from training_core.config import InputError

SMALL = {"unet_channels": [32, 64], "heads": [2, 2], "width": 32, "view_size": 32}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return build_tiny(tmp_path_factory.mktemp("tiny") / "made", seed=3, **SMALL)


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_equal_seeds_give_equal_files(tmp_path: Path, tiny: TinyCheckpoint) -> None:
    state = torch.get_rng_state()
    again = build_tiny(tmp_path / "again", seed=3, **SMALL)
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator was used"
    assert files(again.zero123plus.parent) == files(tiny.zero123plus.parent)
    other = build_tiny(tmp_path / "other", seed=4, **SMALL)
    name = "diffusion_pytorch_model.safetensors"
    first, second = (load_file(t.zero123plus / "unet" / name) for t in (tiny, other))
    assert not torch.equal(first["conv_in.weight"], second["conv_in.weight"])


def test_diffusers_loads_every_part(tiny: TinyCheckpoint) -> None:
    spatial = UNet2DConditionModel.from_pretrained(tiny.zero123plus / "unet")
    temporal = UNetSpatioTemporalConditionModel.from_pretrained(tiny.svd / "unet")
    adapter = MotionAdapter.from_pretrained(tiny.animatediff)
    assert spatial.config.use_linear_projection and temporal.config.in_channels == 8
    assert adapter.config.block_out_channels == spatial.config.block_out_channels == [32, 64]
    scheduler = EulerAncestralDiscreteScheduler.from_pretrained(tiny.zero123plus / "scheduler")
    scheduler.set_timesteps(75)
    # The published figures of v1.2: alphas_cumprod of the last step, 75 trailing steps.
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(1.58e-3, rel=1e-2)
    assert scheduler.timesteps[:2].tolist() == [999, 986] and int(scheduler.timesteps[-1]) == 12
    index = json.loads((tiny.zero123plus / "model_index.json").read_text())
    assert len(index["ramping_coefficients"]) == 77
    assert DiffusionPipeline.load_config(tiny.zero123plus)["unet"][1] == "UNet2DConditionModel"


def test_every_spatial_weight_has_its_place_in_the_temporal_unet(tiny: TinyCheckpoint) -> None:
    spatial = UNet2DConditionModel.from_pretrained(tiny.zero123plus / "unet").state_dict()
    temporal = UNetSpatioTemporalConditionModel.from_pretrained(tiny.svd / "unet").state_dict()
    for name, weight in spatial.items():
        head, resnets, tail = name.partition(".resnets.")
        index, _, rest = tail.partition(".")
        there = f"{head}{resnets}{index}.spatial_res_block.{rest}" if resnets else name
        if name != "conv_in.weight":
            assert temporal[there].shape == weight.shape, name


def test_vision_encoder_tells_pictures_apart(tiny: TinyCheckpoint) -> None:
    encoders = load_encoders(tiny.zero123plus)
    pictures = torch.full((6, 1, 3, 32, 32), 0.5)
    for index, picture in enumerate(pictures):
        picture[0, index % 3, 6 + 2 * index : 20, 8:24] = 0.9
    token = encoders.embed_image(pictures)
    spread = (token - token.mean(0)).norm(dim=-1).mean()
    assert spread > 0.1 * token.norm(dim=-1).mean()


def test_given_vae_is_taken(tmp_path: Path) -> None:
    vae = new_vae((8, 8), 32)
    vae.save_pretrained(tmp_path / "vae")
    made = build_tiny(tmp_path / "made", vae=str(tmp_path / "vae"), **SMALL)
    encoders = load_encoders(made.zero123plus)
    assert encoders.vae_factor == 2
    for name, tensor in vae.state_dict().items():
        assert torch.equal(tensor, encoders.vae.state_dict()[name])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "made"
    small = ["unet_channels=[32,32]", "heads=[2,2]", "width=32", "view_size=32"]
    assert main(["--dry-run", f"folder={target}", *small]) == 0
    assert "temporal UNet: " in capsys.readouterr().out and not target.exists()
    assert main([f"folder={target}", *small]) == 0 and (target / "svd" / "unet").is_dir()
    assert_refused(main, [f"folder={target}", *small], capsys, "exists already")
    new = f"folder={tmp_path / 'x'}"
    assert_refused(main, [new, "unet_channels=[33,64]", "heads=[2,2]"], capsys, "unet_channels")
    nothing = str(tmp_path / "nothing")
    assert_refused(main, [new, f"vae={nothing}", *small], capsys, nothing)
    assert not (tmp_path / "x").exists()


def test_wrong_sizes() -> None:
    for wrong in ({"heads": [2]}, {"unet_channels": [64, 65, 128]}, {"view_size": 40}):
        with pytest.raises(ValueError):
            TinyConfig(**wrong).validate()
    with pytest.raises(InputError, match="exists already"):
        build_tiny(Path(__file__).parent)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"{key}={value}" for key, value in SMALL.items()]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        said = assert_refused(main, [f"folder={tmp_path / 'made'}", *keys], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said == f"error: {tmp_path / 'made'}: File too large"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("heads=[0,0,0]", "heads must be at least 1"),
        ("heads=[-2,4,4]", "heads must be at least 1"),
        ("view_size=0", "view_size must be at least 16"),
        ("view_size=-16", "view_size must be at least 16"),
        ("width=0", "width must be at least 16"),
        ("layers=0", "layers must be at least 1"),
        ("unet_channels=[0,0,0]", "unet_channels must be at least 32"),
        ("vae_channels=[]", "vae_channels"),
        ("vae_channels=[6,8]", "vae_channels"),
        ('folder=""', "folder is missing"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_impossible_sizes_end_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    override: str,
    words: str,
    flags: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(main, [override, *flags], capsys, words)
    assert not any(tmp_path.iterdir())


def test_loading_and_writing_show_no_progress_bar(
    tiny: TinyCheckpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert transformers_logging.is_progress_bar_enabled()
    load_encoders(tiny.zero123plus)
    build_tiny(tmp_path / "made", **SMALL)
    assert capfd.readouterr().err == ""
    assert transformers_logging.is_progress_bar_enabled(), "other programs keep theirs"

"""The pipeline end to end on tiny random weights."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from PIL import Image
from safetensors.torch import load_file, save_file
from tqdm import tqdm

import mnvs
from mnvs.checkpoints.tiny_checkpoint import TinyCheckpoint, build_tiny
from mnvs.checkpoints.unet_loading import placement
from mnvs.data.tiles import pack_tile
from mnvs.inference.pipeline import MNVSOutput, MNVSPipeline
from training_core.config import InputError

SMALL = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 16}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return build_tiny(tmp_path_factory.mktemp("tiny") / "made", **SMALL)


@pytest.fixture(scope="module")
def pipeline(tiny: TinyCheckpoint) -> MNVSPipeline:
    # SVD's own mixing, so that the temporal layers have a say.
    made = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd, temporal_start="svd")
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """RGBA [4, 24, 20] of smooth noise."""
    generator = torch.Generator().manual_seed(5)
    return torch.nn.functional.interpolate(
        torch.rand(1, 4, 6, 5, generator=generator), (24, 20), mode="bilinear"
    )[0]


def generate(pipeline: MNVSPipeline, pictures: Any, seed: int = 0, **options: Any) -> MNVSOutput:
    settings = {"num_frames": 3, "num_inference_steps": 3} | options
    return pipeline(pictures, generator=torch.Generator().manual_seed(seed), **settings)


def close(first: MNVSOutput, second: MNVSOutput) -> bool:
    return torch.allclose(first.latents, second.latents, atol=1e-4) and torch.allclose(
        first.tiles, second.tiles, atol=1e-4
    )


def test_what_comes_out(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    made = generate(pipeline, picture)
    assert made.tiles.shape == (3, 3, 48, 32) and made.views.shape == (3, 6, 3, 16, 16)
    assert made.condition.shape == (1, 3, 24, 24) and made.latents.shape == (3, 4, 12, 8)
    assert torch.equal(pack_tile(made.views), made.tiles)
    assert made.tiles.min() >= 0 and made.tiles.max() <= 1 and made.tiles.std() > 0.001
    large = generate(pipeline, picture, view_size=32, num_frames=1)
    assert large.tiles.shape == (1, 3, 96, 64)


def test_the_seed_decides(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    first = generate(pipeline, picture)
    torch.manual_seed(1234)
    before = torch.get_rng_state()
    again = generate(pipeline, picture)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    assert torch.equal(first.tiles, again.tiles) and torch.equal(first.latents, again.latents)
    assert not close(first, generate(pipeline, picture, seed=1))
    unseeded = [pipeline(picture, num_frames=2, num_inference_steps=2).latents for _ in range(2)]
    assert not torch.allclose(*unseeded)


def test_ways_of_computing_do_not_matter(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    plain = generate(pipeline, picture)
    assert close(plain, generate(pipeline, picture, decode_chunk_size=2))
    assert close(plain, generate(pipeline, picture, decode_chunk_size=99))
    assert close(plain, generate(pipeline, picture, batched_guidance=False))


def test_what_matters(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    plain = generate(pipeline, picture)
    for options in (
        {"guidance_scale": 1.0},
        {"spatial_only": True},
        {"shared_noise": True},
        {"num_inference_steps": 4},
    ):
        assert not close(plain, generate(pipeline, picture, **options)), options
    assert not close(plain, generate(pipeline, 1.0 - picture))
    # With one channel per group, norms all but remove what is added to whole channels.
    for options in ({"fps": 12.0}, {"motion_bucket": 20}, {"noise_augmentation": 0.5}):
        made = generate(pipeline, picture, **options)
        assert not torch.equal(plain.latents, made.latents), options


def test_video_and_single_picture(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    still = picture.expand(3, -1, -1, -1)
    options = {"shared_noise": True, "spatial_only": True}
    frames = generate(pipeline, still, num_frames=None, **options)
    assert len(frames.tiles) == 3 and len(frames.condition) == 3
    # Frame i reads frame i: changing one input frame changes that frame alone.
    moving = still.clone()
    moving[1] = 1.0 - moving[1]
    changed = generate(pipeline, moving, num_frames=None, **options)
    same = [torch.allclose(a, b, atol=1e-4) for a, b in zip(frames.tiles, changed.tiles, strict=1)]
    assert same == [True, False, True]
    assert len(generate(pipeline, moving, num_frames=2).tiles) == 2
    with pytest.raises(ValueError, match="video has 3 frames"):
        generate(pipeline, moving, num_frames=4)
    for pictures in (moving, moving[0]):
        with pytest.raises(ValueError, match="at least 1"):
            generate(pipeline, pictures, num_frames=0)


def test_a_bar_is_shown_unless_steps_are_reported(
    pipeline: MNVSPipeline, picture: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm] = []

    def bar(total: int) -> tqdm:
        bars.append(tqdm(total=total, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr(pipeline, "progress_bar", bar)
    reported: list[int] = []
    generate(pipeline, picture, on_step=reported.append)
    assert not bars and reported == [1, 2, 3]
    generate(pipeline, picture)
    assert [(b.total, b.n) for b in bars] == [(3, 3)]


def test_pil_pictures(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    pixels = (picture.movedim(0, -1) * 255).round().to(torch.uint8)
    exact = pixels.movedim(-1, 0).float() / 255.0
    from_pil = generate(pipeline, Image.fromarray(pixels.numpy()))
    assert close(from_pil, generate(pipeline, exact))


@pytest.mark.parametrize("kind", ["svd", "animatediff"])
def test_saved_and_read_back(
    tiny: TinyCheckpoint, picture: torch.Tensor, tmp_path: Path, kind: str
) -> None:
    source = tiny.svd if kind == "svd" else tiny.animatediff
    first = MNVSPipeline.from_sources(tiny.zero123plus, source, kind=kind, rig="v1.1")
    first.save_pretrained(tmp_path / "saved")
    second = MNVSPipeline.from_pretrained(tmp_path / "saved")
    assert second.config.rig == "v1.1" and second.rig.elevations_deg[0] == 30.0
    assert type(second.unet) is type(first.unet)
    outputs = []
    for pipeline in (first, second):
        pipeline.set_progress_bar_config(disable=True)
        outputs.append(generate(pipeline, picture))
    assert torch.equal(outputs[0].latents, outputs[1].latents)
    assert torch.equal(outputs[0].tiles, outputs[1].tiles)


# As the first release wrote them, when the modules of our classes had other names.
OLD_LIBRARIES = {"unet": ["mnvs.unet", "MNVSUNet"], "empty_prompt": ["mnvs.prompt", "EmptyPrompt"]}


def test_classes_are_saved_under_names_that_last(
    pipeline: MNVSPipeline, picture: torch.Tensor, tmp_path: Path
) -> None:
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    for name in OLD_LIBRARIES:
        library, class_name = index[name]
        assert library == "mnvs" and getattr(mnvs, class_name) is type(getattr(pipeline, name))
    (tmp_path / "model_index.json").write_text(json.dumps(index | OLD_LIBRARIES))
    old = MNVSPipeline.from_pretrained(tmp_path)
    old.set_progress_bar_config(disable=True)
    assert torch.equal(generate(old, picture).latents, generate(pipeline, picture).latents)


def test_variant_files_and_half_precision(tiny: TinyCheckpoint, tmp_path: Path) -> None:
    made = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd, dtype=torch.bfloat16)
    made.save_pretrained(tmp_path / "saved", variant="fp16")
    assert list((tmp_path / "saved").rglob("*.fp16.safetensors"))
    again = MNVSPipeline.from_pretrained(tmp_path / "saved", variant="fp16", dtype=torch.bfloat16)
    assert again.vae.dtype == torch.bfloat16 and again.unet.conv_in.weight.dtype == torch.bfloat16
    assert again.empty_prompt.states.dtype == torch.bfloat16
    again.set_progress_bar_config(disable=True)
    output = generate(again, torch.rand(3, 16, 16), num_inference_steps=2)
    assert output.tiles.dtype == torch.float32 and output.tiles.isfinite().all()


def test_a_pair_of_which_one_has_the_variant(tiny: TinyCheckpoint, tmp_path: Path) -> None:
    """As published: SVD with fp16 files, which alone are fetched, Zero123++ without any."""
    shutil.copytree(tiny.svd, tmp_path / "svd")
    plain = tmp_path / "svd" / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {name: tensor.half() for name, tensor in load_file(plain).items()}
    plain.unlink()
    with pytest.raises(InputError, match="missing"):
        MNVSPipeline.from_sources(tiny.zero123plus, tmp_path / "svd")
    save_file(weights, plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    pair = MNVSPipeline.from_sources(tiny.zero123plus, tmp_path / "svd", variant="fp16")
    exact = MNVSPipeline.from_sources(tiny.zero123plus, tiny.svd)
    place = placement(exact.unet)
    found, wanted = pair.unet.state_dict(), exact.unet.state_dict()
    for theirs, ours in place.temporal.items():
        if not ours.endswith("mix_factor"):
            assert torch.equal(found[ours], weights[theirs].float()), ours
    for ours in place.zero123plus.values():
        assert torch.equal(found[ours], wanted[ours]), ours
    for name, tensor in exact.vae.state_dict().items():
        assert torch.equal(pair.vae.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", ["svd", "animatediff"])
@pytest.mark.parametrize("way", ["model", "layer"])
def test_networks_kept_elsewhere(
    tiny: TinyCheckpoint, picture: torch.Tensor, kind: str, way: str
) -> None:
    """CPU offload with the CPU in the GPU's place: weights are moved in and out all the same."""
    source = tiny.svd if kind == "svd" else tiny.animatediff
    made = MNVSPipeline.from_sources(tiny.zero123plus, source, kind=kind)
    made.set_progress_bar_config(disable=True)
    plain = generate(made, picture, num_frames=2, num_inference_steps=2)
    if way == "model":
        made.enable_model_cpu_offload(device="cpu")
    else:
        for network in (made.vae, made.vision_encoder, made.empty_prompt, made.unet):
            cpu_offload(network, torch.device("cpu"))
        assert made.unet.conv_in.weight.device.type == "meta"
    again = generate(made, picture, num_frames=2, num_inference_steps=2)
    assert close(plain, again)


def test_bad_folders(tiny: TinyCheckpoint, pipeline: MNVSPipeline, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a Zero123PlusPipeline, not a MNVSPipeline"):
        MNVSPipeline.from_pretrained(tiny.zero123plus)
    with pytest.raises(InputError, match="no such folder"):
        MNVSPipeline.from_pretrained(tmp_path / "nothing")
    pipeline.save_pretrained(tmp_path / "saved")
    index = tmp_path / "saved" / "model_index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"rig": "v9"}))
    with pytest.raises(InputError, match="'v9' is not one of"):
        MNVSPipeline.from_pretrained(tmp_path / "saved")
    index.write_text(json.dumps(content))
    shutil.rmtree(tmp_path / "saved" / "unet")
    with pytest.raises(InputError, match="unet"):
        MNVSPipeline.from_pretrained(tmp_path / "saved")


def test_bad_sizes(pipeline: MNVSPipeline, picture: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no multiple of the VAE's 4"):
        generate(pipeline, picture, view_size=18)
    with pytest.raises(InputError, match="expected images"):
        generate(pipeline, picture[:2])

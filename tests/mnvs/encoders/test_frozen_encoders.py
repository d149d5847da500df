"""The encoders of a checkpoint, and what is said about one that is incomplete."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mnvs.checkpoints.encoder_loading import load_encoders
from mnvs.checkpoints.schedulers import load_scheduler
from mnvs.checkpoints.tiny_checkpoint import build_tiny
from mnvs.encoders.prompt import EmptyPrompt
from mnvs.encoders.vae_scaling import scale_image
from training_core.config import InputError

SMALL = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 32}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny") / "made", **SMALL).zero123plus


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_condition_latents_are_neither_scaled_nor_shifted(checkpoint: Path) -> None:
    encoders = load_encoders(checkpoint)
    pictures = torch.rand(2, 3, 3, 32, 32)
    got = encoders.encode_condition(pictures)
    with torch.no_grad():
        wanted = encoders.vae.encode(scale_image(pictures).flatten(0, 1)).latent_dist.mode()
    assert got.shape == (2, 3, 4, 8, 8)
    torch.testing.assert_close(got.flatten(0, 1), wanted)
    # The unconditional picture is mid grey, which is zero in the normalised range, not black.
    grey = encoders.encode_condition(torch.full((1, 1, 3, 48, 48), 0.5))[0, 0]
    torch.testing.assert_close(encoders.encode_no_condition(48, 48), grey)
    black = encoders.encode_condition(torch.zeros(1, 1, 3, 48, 48))[0, 0]
    assert not torch.allclose(grey, black)


def test_prompt_is_ramped_onto_the_empty_one(checkpoint: Path) -> None:
    encoders = load_encoders(checkpoint)
    pictures = torch.rand(2, 1, 3, 40, 40)
    token = encoders.embed_image(pictures)
    prompt = encoders.prompts(token)
    assert prompt.shape == (2, 1, 77, 32) and token.shape == (2, 1, 1, 32)
    index = json.loads((checkpoint / "model_index.json").read_text())
    for place in (0, 11, 76):
        weight = index["ramping_coefficients"][place]
        wanted = encoders.prompt.states[place] + weight * token[1, 0, 0]
        torch.testing.assert_close(prompt[1, 0, place], wanted)
    with torch.no_grad():
        pixels = encoders.for_clip(pictures[0])
        torch.testing.assert_close(token[0, 0], encoders.vision(pixels).image_embeds)
    empty = encoders.prompts(torch.zeros(1, 32))
    torch.testing.assert_close(empty, encoders.prompt.states)


def test_tile_round_trip_and_precision(checkpoint: Path) -> None:
    encoders = load_encoders(checkpoint, dtype=torch.bfloat16)
    tiles = torch.rand(1, 2, 3, 96, 64)
    latents = encoders.encode_target(tiles)
    assert latents.shape == (1, 2, 4, 24, 16) and latents.dtype == torch.bfloat16
    made = encoders.decode(latents)
    assert made.shape == tiles.shape and made.amin() >= 0 and made.amax() <= 1
    assert encoders.prompts(encoders.embed_image(tiles)).dtype == torch.bfloat16
    assert not any(p.requires_grad for p in encoders.vae.parameters())


VAE_FILE = "diffusion_pytorch_model.safetensors"


def test_variants_may_be_there_in_part(copied: Path) -> None:
    """Zero123++ is published without fp16 files, SVD with them."""
    plain = load_encoders(copied)
    stored = load((copied / "vae" / VAE_FILE).read_bytes())
    doubled = {name: 2 * tensor for name, tensor in stored.items()}
    save_file(doubled, copied / "vae" / VAE_FILE.replace("model.", "model.fp16."))
    mixed = load_encoders(copied, variant="fp16")
    for name, tensor in mixed.vae.state_dict().items():
        assert torch.equal(tensor, 2 * plain.vae.state_dict()[name]), name
    for name, tensor in mixed.vision.state_dict().items():
        assert torch.equal(tensor, plain.vision.state_dict()[name]), name


@pytest.mark.parametrize(
    ("part", "stem"), [("vae", VAE_FILE), ("vision_encoder", "model"), ("empty_prompt", VAE_FILE)]
)
def test_pickled_weights_are_not_read(copied: Path, part: str, stem: str) -> None:
    file = (copied / part / stem).with_suffix(".safetensors")
    pickled = "pytorch_model.bin" if stem == "model" else file.with_suffix(".bin").name
    torch.save(load(file.read_bytes()), copied / part / pickled)
    file.unlink()
    with pytest.raises(InputError, match="safetensors"):
        load_encoders(copied)


def write_text_encoder(folder: Path, width: int) -> CLIPTextModel:
    """A tokenizer of three words and a random text encoder, as Zero123++ has them."""
    words = ["<|startoftext|>", "<|endoftext|>", "!</w>"]
    (folder / "tokenizer").mkdir()
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "tokenizer/vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", pad_token="!</w>")
    tokenizer.model_max_length = 77
    tokenizer.save_pretrained(folder / "tokenizer")
    config = CLIPTextConfig(
        vocab_size=3,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    encoder = CLIPTextModel(config).eval()
    encoder.save_pretrained(folder / "text_encoder")
    return encoder


def test_empty_prompt_from_a_text_encoder(copied: Path) -> None:
    shutil.rmtree(copied / "empty_prompt")
    with pytest.raises(InputError, match="neither empty_prompt/ nor tokenizer/ and text_encoder/"):
        load_encoders(copied)
    encoder = write_text_encoder(copied, 32)
    encoders = load_encoders(copied)
    # Start, end, and 75 times the padding of SD 2, which is "!".
    tokens = torch.tensor([[0, 1, *[2] * 75]])
    with torch.no_grad():
        wanted = encoder(tokens).last_hidden_state[0]
    torch.testing.assert_close(encoders.prompt.states, wanted)


def spoil_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SPOILED = {
    "no vae": (lambda f: shutil.rmtree(f / "vae"), r"vae"),
    "no index": (lambda f: (f / "model_index.json").unlink(), r"model_index.json: cannot be read"),
    "bad index": (lambda f: (f / "model_index.json").write_text("["), "not valid JSON"),
    "list index": (lambda f: (f / "model_index.json").write_text("[]"), "object was expected"),
    "no ramp": (lambda f: spoil_index(f, ramping_coefficients=None), "ramping_coefficients is"),
    "short ramp": (lambda f: spoil_index(f, ramping_coefficients=[0.1]), "1 numbers for 77"),
    "no processor": (
        lambda f: shutil.rmtree(f / "feature_extractor_clip"),
        r"feature_extractor_clip.*cannot be read",
    ),
    "other width": (
        lambda f: EmptyPrompt(77, 48).save_pretrained(f / "empty_prompt"),
        "vision encoder gives 32 numbers",
    ),
    "damaged weights": (
        lambda f: (f / "vision_encoder/model.safetensors").write_bytes(b"no"),
        r"vision_encoder.model\.safetensors: not a readable safetensors file",
    ),
}


@pytest.mark.parametrize("spoil, message", SPOILED.values(), ids=SPOILED)
def test_spoiled_checkpoints(copied: Path, spoil: object, message: str) -> None:
    assert callable(spoil)
    spoil(copied)
    with pytest.raises(InputError, match=message) as error:
        load_encoders(copied)
    assert "\n" not in str(error.value)


def test_scheduler_settings(copied: Path) -> None:
    path = copied / "scheduler/scheduler_config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"timestep_spacing": "linspace"}))
    scheduler = load_scheduler(copied / "scheduler")
    assert type(scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    assert scheduler.config.timestep_spacing == "trailing"
    assert load_scheduler(copied / "scheduler", trailing=False).config.timestep_spacing == (
        "linspace"
    )
    for changes, message in (
        ({"_class_name": "AutoencoderKL"}, "no scheduler of diffusers"),
        ({"prediction_type": "epsilon"}, "not v_prediction"),
    ):
        path.write_text(json.dumps(written | changes))
        with pytest.raises(InputError, match=message):
            load_scheduler(copied / "scheduler")
    path.write_text("{}")
    with pytest.raises(InputError, match="None is no scheduler"):
        load_scheduler(copied / "scheduler")
    with pytest.raises(InputError, match="cannot be read"):
        load_scheduler(copied)

"""Scalings against the formulas of Zero123++'s pipeline written out, and processors against
transformers' own.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from mnvs.checkpoints.tiny_checkpoint import new_vae
from mnvs.encoders import vae_scaling as images
from mnvs.encoders.preprocessing import CONFIG_FILE, Preprocessing
from training_core.config import InputError


@pytest.fixture(scope="module")
def vae() -> torch.nn.Module:
    torch.manual_seed(1)
    return new_vae((8, 8, 16), 32).eval().requires_grad_(False)


def test_scalings_are_those_of_the_official_pipeline() -> None:
    pictures = torch.linspace(0, 1, 11, dtype=torch.float64)
    signed = 2 * pictures - 1
    torch.testing.assert_close(images.scale_image(pictures), signed * 0.5 / 0.8)
    assert images.scale_image(pictures).abs().max() == 0.625
    latents = torch.randn(50, dtype=torch.float64)
    torch.testing.assert_close(images.unscale_latents(latents), latents / 0.75 + 0.22)
    for there, back in (
        (images.scale_image, images.unscale_image),
        (images.scale_latents, images.unscale_latents),
    ):
        torch.testing.assert_close(back(there(latents)), latents)


def test_raw_moments_become_standard_normal() -> None:
    mean, std = images.raw_moments_for_unit_latents(0.18215)
    raw = torch.randn(100_000, dtype=torch.float64) * std + mean
    scaled = images.scale_latents(raw * 0.18215)
    assert abs(float(scaled.mean())) < 0.02 and abs(float(scaled.std()) - 1) < 0.02


def test_alpha_composites_over_grey() -> None:
    rgba = torch.tensor([[[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.25], [0.3, 0.3, 0.3, 0.0]]])
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.625, 0.375, 0.375], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(images.on_grey(rgba)[:, 0].T, expected)


def test_target_latents_by_hand(vae: torch.nn.Module) -> None:
    tiles = torch.rand(2, 3, 3, 48, 32)
    with torch.no_grad():
        raw = vae.encode(((tiles - 0.5) / 0.8).flatten(0, 1)).latent_dist.mode()
        by_hand = (raw * 0.18215 - 0.22) * 0.75
        got = images.encode_target(vae, tiles, chunk=4)
        assert got.shape == (2, 3, 4, 12, 8)
        torch.testing.assert_close(got.flatten(0, 1), by_hand)
        decoded = vae.decode((got.flatten(0, 1) / 0.75 + 0.22) / 0.18215).sample
        torch.testing.assert_close(
            images.decode_target(vae, got, chunk=5).flatten(0, 1), decoded * 0.8 + 0.5
        )


def test_chunks_do_not_matter(vae: torch.nn.Module) -> None:
    pictures, latents = torch.rand(5, 3, 32, 32), torch.randn(1, 5, 4, 8, 8)
    one = images.encode_vae(vae, pictures, chunk=1, generator=torch.Generator().manual_seed(3))
    all_ = images.encode_vae(vae, pictures, chunk=9, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(one, all_, atol=1e-5, rtol=1e-5)
    other = images.encode_vae(vae, pictures, generator=torch.Generator().manual_seed(4))
    mean = images.encode_vae(vae, pictures)
    spread = vae.encode(pictures).latent_dist.std
    assert not torch.allclose(one, other)
    assert ((one - mean).abs() < 6 * spread + 1e-5).all()
    chunks = [images.decode_target(vae, latents, chunk=n) for n in (1, 2, 5)]
    torch.testing.assert_close(chunks[0], chunks[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(chunks[0], chunks[2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(90, 61), (40, 40), (30, 100)], ids=str)
@pytest.mark.parametrize("resample", [2, 3])
def test_processor_matches_transformers(
    tmp_path: Path, size: tuple[int, int], resample: int
) -> None:
    processor = CLIPImageProcessor(size=32, crop_size=32, resample=resample)
    processor.save_pretrained(tmp_path)
    coarse = torch.rand(1, 3, 9, 9)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0]
    pixels = (smooth.permute(1, 2, 0) * 255).round().to(torch.uint8)
    theirs = processor(images=Image.fromarray(pixels.numpy()), return_tensors="pt").pixel_values
    ours = Preprocessing.read(tmp_path)(pixels.permute(2, 0, 1).float() / 255.0)
    # They round to 8 bits after each direction: up to about a grey level, over the deviation.
    torch.testing.assert_close(ours[None], theirs, atol=1.3 / 255 / 0.26, rtol=0)


def test_processor_settings_round_trip(tmp_path: Path) -> None:
    made = Preprocessing(64, (64, 48), (0.5,) * 3, (0.8,) * 3, "bilinear")
    (tmp_path / CONFIG_FILE).write_text(json.dumps(made.settings()))
    assert Preprocessing.read(tmp_path) == made
    assert made.output_size(128, 64) == (64, 48)
    assert Preprocessing(64, None, (0.5,) * 3, (0.8,) * 3).output_size(100, 151) == (64, 96)
    picture = torch.rand(3, 64, 64)
    full = Preprocessing(64, (64, 64), (0.5,) * 3, (0.8,) * 3)
    torch.testing.assert_close(full(picture), images.scale_image(picture))
    assert np.isclose(float(full.normalise(torch.full((3, 1, 1), 0.5)).abs().max()), 0)


BAD_SETTINGS = {
    "not JSON": ("{", "not valid JSON"),
    "lanczos": ('{"resample": 1}', "neither bilinear nor bicubic"),
    "unscaled": ('{"do_rescale": false}', "do_rescale"),
    "size": ('{"size": {"longest_edge": 3}}', "size .* is neither"),
    "mean": ('{"image_mean": [0.5]}', "three numbers"),
}


@pytest.mark.parametrize("text, message", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_processor_settings(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(InputError, match=message):
        Preprocessing.read(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        Preprocessing.read(tmp_path / "elsewhere")

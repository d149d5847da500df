"""The tiny VAE learns, continues bit for bit, and its latents have unit variance."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from moving_dots import write_dots, write_multiview
from refusals import assert_refused

from mnvs.checkpoints.tiny_checkpoint import new_vae
from mnvs.data.vae_dataset import CropSampler, ImageSource, read_source, to_bytes, to_unit
from mnvs.encoders import vae_scaling as images
from mnvs.train_vae import main
from mnvs.training.vae_trainer import (
    VaeTrainer,
    latent_moments,
    reconstruct,
    reconstruction_psnr,
    standardise,
)
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dots(tmp_path_factory.mktemp("dots") / "dots", 6, size=16)


@pytest.fixture(scope="module")
def source(dots: Path) -> ImageSource:
    return read_source(dots, 16)


@pytest.fixture
def vae() -> AutoencoderKL:
    torch.manual_seed(2)
    return new_vae((8, 8), 16).eval()


def arguments(dots: Path, root: Path, **changes: Any) -> list[str]:
    settings = {
        "data.paths": f"[{dots}]",
        "data.view_size": 16,
        "vae.channels": "[8,8]",
        "optimize.steps": 6,
        "optimize.batch": 2,
        "optimize.crop": 16,
        "optimize.warmup": 1,
        "log.checkpoint_every": 2,
        "log.validate_every": 3,
        "threads": 1,
        "output_root": root,
    }
    return [f"{k}={v}" for k, v in (settings | changes).items()]


def test_sources(dots: Path, source: ImageSource, tmp_path: Path) -> None:
    assert source.name == "dots"
    assert source.train.shape == (5, 3, 48, 32) and source.held_out.shape == (1, 3, 48, 32)
    assert source.train.dtype == torch.uint8
    multiview = read_source(write_multiview(tmp_path / "many"), 16)
    assert multiview.train.shape == (6, 3, 16, 16) and multiview.held_out.shape == (4, 3, 16, 16)
    with pytest.raises(InputError, match="one frame is too few"):
        read_source(write_dots(tmp_path / "one", 1, size=16), 16)
    picture = torch.rand(3, 4, 4)
    assert (to_unit(to_bytes(picture)) - picture).abs().max() <= 0.5001 / 255


def test_crops_are_parts_of_the_pictures(source: ImageSource) -> None:
    sampler = CropSampler([source], 16, 4, False, seed=3)
    crops = sampler.sample(sampler.generator(5))
    assert torch.equal(crops, sampler.sample(sampler.generator(5)))
    assert not torch.equal(crops, sampler.sample(sampler.generator(6)))
    places = source.train.unfold(2, 16, 1).unfold(3, 16, 1).movedim(1, 3).flatten(0, 2)
    for crop in to_bytes(crops):
        found = (places == crop).flatten(1).all(1).any()
        mirrored = (places == crop.flip(-1)).flatten(1).all(1).any()
        assert found or mirrored
    recoloured = CropSampler([source], 16, 8, True, seed=3)
    counts = recoloured.sample(recoloured.generator(0)).flatten(2).std(-1).argsort(-1)
    assert len(counts.unique(dim=0)) > 1, "channels always come in one order"
    with pytest.raises(InputError, match="smaller than the crop of 64"):
        CropSampler([source], 64, 2, False, seed=0)


def test_standardised_latents(vae: AutoencoderKL, source: ImageSource) -> None:
    truth = to_unit(source.train)
    before = reconstruct(vae, truth)
    with torch.no_grad():
        spread = vae.encode(images.scale_image(truth)).latent_dist
        noisy_before = vae.decode(spread.mean + spread.std * 0.7).sample
        standardise(vae, [source])
        after = vae.encode(images.scale_image(truth)).latent_dist
        noisy_after = vae.decode(after.mean + after.std * 0.7).sample
    torch.testing.assert_close(reconstruct(vae, truth), before, atol=1e-4, rtol=0)
    # The posterior's width goes along: the same draw means the same picture.
    torch.testing.assert_close(noisy_after, noisy_before, atol=1e-4, rtol=0)
    latents = images.encode_target(vae, truth)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    mean, std = latent_moments(vae, [ImageSource("same", source.train, source.train)])
    assert abs(mean) < 1e-3 and abs(std - 1) < 1e-3


def test_psnr_by_hand(vae: AutoencoderKL, source: ImageSource) -> None:
    two = ImageSource("two", source.train, source.train[:2])
    truth = to_unit(two.held_out)
    with torch.no_grad():
        made = vae.decode(vae.encode((truth - 0.5) / 0.8).latent_dist.mean).sample * 0.8 + 0.5
    errors = [(a.clamp(0, 1) - b).square().mean() for a, b in zip(made, truth, strict=True)]
    wanted = sum(-10 * torch.log10(e).item() for e in errors) / 2
    assert reconstruction_psnr(vae, [two])["two"] == pytest.approx(wanted, abs=1e-3)


def test_gradient_of_the_step(vae: AutoencoderKL, source: ImageSource, tmp_path: Path) -> None:
    """The first step moves each weight by the rate against the sign of its gradient (Adam)."""
    twin = new_vae((8, 8), 16)
    twin.load_state_dict(vae.state_dict())
    sampler = CropSampler([source], 16, 2, False, seed=0)
    trainer = VaeTrainer(
        vae, sampler, steps=10, rate=1e-3, warmup=0, lambda_kl=0.01, fault_folder=tmp_path
    )
    trainer.step(0)
    generator = sampler.generator(0)
    target = (sampler.sample(generator) - 0.5) / 0.8
    moments = twin.quant_conv(twin.encoder(target))
    mean, log_variance = moments[:, :4], moments[:, 4:]
    noise = torch.randn(mean.shape, generator=generator)
    made = twin.decoder(twin.post_quant_conv(mean + (0.5 * log_variance).exp() * noise))
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    ((made - target).square().mean() + 0.01 * kl).backward()
    for (name, after), before in zip(vae.named_parameters(), twin.parameters(), strict=True):
        assert before.grad is not None, name
        large = before.grad.abs() > 1e-5
        step = after.detach() - before.detach()
        torch.testing.assert_close(
            step[large], -1e-3 * before.grad.sign()[large], atol=2e-5, rtol=0
        )


def final_weights(root: Path) -> dict[str, torch.Tensor]:
    return AutoencoderKL.from_pretrained(root / "mnvs/tiny_vae/vae").state_dict()


def test_killed_and_continued_is_the_same(
    dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(arguments(dots, tmp_path / "whole")) == 0
    real = VaeTrainer.step

    def dies(self: VaeTrainer, step: int, **more: Any) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return real(self, step, **more)

    with monkeypatch.context() as patch:
        patch.setattr(VaeTrainer, "step", dies)
        assert main(arguments(dots, tmp_path / "parts")) == 130
    assert main(arguments(dots, tmp_path / "parts")) == 0
    whole, parts = final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    figures = json.loads((tmp_path / "parts/mnvs/tiny_vae/metrics.json").read_text())
    assert figures["factor"] == 2 and set(figures["psnr_of"]) == {"dots"}
    lines = (tmp_path / "parts/mnvs/tiny_vae/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 6, 6]


def test_it_learns(dots: Path, tmp_path: Path) -> None:
    run = arguments(dots, tmp_path, **{"optimize.steps": 60, "optimize.batch": 4})
    assert main(run) == 0
    lines = (tmp_path / "mnvs/tiny_vae/metrics.jsonl").read_text().splitlines()
    quality = [json.loads(line)["val/psnr"] for line in lines if "val/psnr" in line]
    figures = json.loads((tmp_path / "mnvs/tiny_vae/metrics.json").read_text())
    assert quality[-1] > quality[0] + 3.0 and quality[-1] > 20.0
    assert figures["psnr"] == pytest.approx(quality[-1], abs=0.05)
    assert abs(figures["latent_std"] - 1.0) < 0.2


def test_dry_run_and_refusals(
    dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dry-run", *arguments(dots, tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "5 pictures, 1 held out" in out and "factor 2" in out and not any(tmp_path.iterdir())
    for changes, message in (
        ({"data.paths": "[]"}, "data.paths is missing"),
        ({"data.paths": f"[{dots},{dots}]"}, "two datasets of one name"),
        ({"data.paths": f"[{tmp_path / 'no'}]"}, "does not exist"),
        ({"vae.channels": "[6,8]"}, "multiples of 4"),
        ({"optimize.crop": 17}, "no multiple of the VAE's 2"),
        ({"optimize.rate": 0}, "rate must be above 0"),
    ):
        assert_refused(main, arguments(dots, tmp_path, **changes), capsys, message)


def test_a_vae_is_trained_longer(
    dots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(dots, tmp_path)) == 0
    keys = {"extend": tmp_path / "mnvs" / "tiny_vae", "name": "longer", "optimize.steps": 9}
    assert main(["--dry-run", *arguments(dots, tmp_path, **keys)]) == 0
    assert "goes on from step 6 of" in capsys.readouterr().out
    assert main(arguments(dots, tmp_path, **keys)) == 0
    saved = CheckpointStore(tmp_path / "mnvs/longer/checkpoints").load()
    assert saved is not None and saved.step == 9
    assert int(saved.tensors["optimizer.state.0.step"]) == 9

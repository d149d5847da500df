"""Fitting the tiny VAE: loss, one step, latents of unit variance, reconstruction quality."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from blender_render.imaging.metrics import psnr
from mnvs.data.vae_dataset import CropSampler, ImageSource, to_unit
from mnvs.encoders.vae_scaling import (
    decode_vae,
    encode_vae,
    raw_moments_for_unit_latents,
    scale_image,
    scale_latents,
    unscale_image,
)
from training_core.checkpoint import Checkpoint, capture_optimizer, restore_optimizer
from training_core.metrics_log import MetricsLog
from training_core.step.guards import check_finite
from training_core.step.schedules import warmup_cosine


class VaeTrainer:
    """A VAE, its optimizer and its data; every step is a function of its number.

    Args:
        lambda_kl: weight of the KL divergence per latent number, beside the mean squared error per
            colour value (Rombach et al. 2022, appendix G: only slight).
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        sampler: CropSampler,
        *,
        steps: int,
        rate: float,
        warmup: int,
        lambda_kl: float,
        fault_folder: Path,
    ) -> None:
        self.vae = vae.to(memory_format=torch.channels_last).train()
        self.sampler, self.steps, self.rate, self.warmup = sampler, steps, rate, warmup
        self.lambda_kl, self.fault_folder = lambda_kl, fault_folder
        self.optimizer = torch.optim.Adam(vae.parameters(), lr=0.0, betas=(0.9, 0.99))

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """Run step number ``step`` (from 0); returns scalars to log."""
        generator = self.sampler.generator(step)
        target = scale_image(self.sampler.sample(generator)).to(self.vae.device)
        posterior = self.vae.encode(target).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(target.device)
        made = self.vae.decode(posterior.mean + posterior.std * noise, return_dict=False)[0]
        mse = (made - target).square().mean()
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = mse + self.lambda_kl * kl

        for group in self.optimizer.param_groups:
            group["lr"] = warmup_cosine(step, self.steps, self.warmup, self.rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        check_finite(step, {"loss": loss, "gradient": norm}, self.fault_folder, self.vae.state_dict)
        self.optimizer.step()
        return {"loss/mse": mse.detach(), "loss/kl": kl.detach(), "gradient_norm": norm}

    def extra_metrics(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds; no random state, because steps seed themselves."""
        tensors, optimizer = capture_optimizer(self.optimizer, "optimizer")
        weights = {f"vae.{k}": v for k, v in self.vae.state_dict().items()}
        return weights | tensors, {"optimizer": optimizer}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        weights = {
            name.removeprefix("vae."): tensor
            for name, tensor in saved.tensors.items()
            if name.startswith("vae.")
        }
        self.vae.load_state_dict(weights)
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])


@torch.no_grad()
def standardise(vae: AutoencoderKL, sources: Sequence[ImageSource], chunk: int = 8) -> None:
    """Give each latent channel mean 0 and variance 1 after Zero123++'s scalings, exactly.

    The VAE's last encoder layer and first decoder layer are linear and act pixel by pixel, so the
    shift and factor go into their weights; reconstructions stay what they are. The scaling factor
    is left alone: raw latents, which the condition branch gets, are then about as large as those
    of Stable Diffusion.
    """
    latents = torch.cat([_latents(vae, source.train, chunk) for source in sources])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    new_mean, new_std = raw_moments_for_unit_latents(vae.config.scaling_factor)
    channels = len(mean)
    out, back = vae.quant_conv, vae.post_quant_conv
    assert out is not None and back is not None and out.bias is not None and back.bias is not None
    factor = (new_std / std).to(out.weight)
    shift = new_mean - mean.to(out.weight) * factor
    out.weight[:channels] *= factor.view(-1, 1, 1, 1)
    out.bias[:channels] = out.bias[:channels] * factor + shift
    out.bias[channels:] += 2.0 * factor.log()  # log variance
    weight = back.weight / factor.view(1, -1, 1, 1)
    back.bias -= (weight * shift.view(1, -1, 1, 1)).sum((1, 2, 3))
    back.weight.copy_(weight)


@torch.no_grad()
def latent_moments(vae: AutoencoderKL, sources: Sequence[ImageSource]) -> tuple[float, float]:
    """Mean and deviation of the held-out pictures' latents after all scalings."""
    raw = torch.cat([_latents(vae, source.held_out, 8).flatten() for source in sources])
    latents = scale_latents(raw * vae.config.scaling_factor)
    return float(latents.mean()), float(latents.std())


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: Tensor, chunk: int = 8) -> Tensor:
    """Pictures [N, 3, H, W] in [0, 1] through the VAE (mean of the posterior) and back, clipped."""
    raw = encode_vae(vae, scale_image(pictures.to(vae.device)), chunk=chunk)
    return unscale_image(decode_vae(vae, raw, chunk=chunk)).clamp(0.0, 1.0).to(pictures.device)


def reconstruction_psnr(vae: AutoencoderKL, sources: Sequence[ImageSource]) -> Mapping[str, float]:
    """PSNR in dB of the held-out pictures of each source, each the mean over its pictures."""
    vae.eval()
    scores = {}
    for source in sources:
        truth = to_unit(source.held_out)
        pairs = zip(reconstruct(vae, truth), truth, strict=True)
        each = (float(psnr(made, image, double=True)) for made, image in pairs)
        scores[source.name] = statistics.fmean(each)
    vae.train()
    return scores


class VaeValidation:
    """PSNR of held-out images, with one of them shown; called by the training loop."""

    def __init__(self, vae: AutoencoderKL, sources: Sequence[ImageSource]) -> None:
        self.vae, self.sources = vae, sources

    def __call__(self, log: MetricsLog, step: int) -> None:
        """Log the PSNR in dB of each source and their mean; the last checkpoint is the one used, so
        there is no quality to return.
        """
        scores = reconstruction_psnr(self.vae, self.sources)
        named = {f"val/psnr_{name}": score for name, score in scores.items()}
        log.log(step, {"val/psnr": mean_psnr(scores), **named})
        truth = to_unit(self.sources[0].held_out[:1])
        pair = torch.cat([truth[0], reconstruct(self.vae, truth)[0]], dim=-1)
        log.image("val/truth_reconstruction", pair.permute(1, 2, 0), step)


def mean_psnr(scores: Mapping[str, float]) -> float:
    """Mean over the sources."""
    return statistics.fmean(scores.values())


def _latents(vae: AutoencoderKL, pictures: Tensor, chunk: int) -> Tensor:
    """Raw latents (posterior mean) [N, 4, h, w] of uint8 pictures, on the CPU."""
    return encode_vae(vae, scale_image(to_unit(pictures).to(vae.device)), chunk=chunk).cpu()

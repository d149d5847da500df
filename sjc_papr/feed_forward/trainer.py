"""One optimisation step of the depth network, and how well it does on assets it never saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sjc_papr.feed_forward.config import TrainDepthConfig
from sjc_papr.feed_forward.network import DepthNetwork, depth_loss
from sjc_papr.feed_forward.samples import (
    SampleDrawer,
    SixDepth,
    network_inputs,
    stack_inputs,
    true_correction,
)
from sjc_papr.networks.precision import autocast
from training_core.checkpoint import (
    Checkpoint,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
    seed_everything,
)
from training_core.devices import pick_device
from training_core.metrics_log import MetricsLog
from training_core.step.ema import Ema
from training_core.step.guards import check_finite
from training_core.step.schedules import warmup_cosine


class DepthTrainer:
    """A network, its averaged weights and the moments it learns from."""

    def __init__(self, config: TrainDepthConfig, drawer: SampleDrawer, folder: Path) -> None:
        seed_everything(config.seed)
        self.config, self.drawer, self.folder = config, drawer, folder
        self.device = pick_device(config.device)
        self.network = DepthNetwork(config.network).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.network.state_dict(), config.optimize.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=0.0, weight_decay=config.optimize.weight_decay, fused=True
        )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.optimize.steps

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """Run step number ``step`` (from 0).

        Raises:
            TrainingFault: the loss is not finite.
        """
        optimize = self.config.optimize
        rate = warmup_cosine(
            step,
            optimize.steps,
            max(1, round(optimize.warmup * optimize.steps)),
            optimize.rate,
            optimize.rate * optimize.final,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        drawn = self.drawer.draw(step, optimize.batch)
        loss, error, hull_error = self._losses(drawn)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if optimize.clip_gradient:
            clip_grads_with_norm_(self.network.parameters(), optimize.clip_gradient, norm)
        checked = {"loss": loss.detach(), "gradient": norm}
        check_finite(step, checked, self.folder, self.network.state_dict)
        self.optimizer.step()
        self.ema.update(step)
        return {
            "loss/total": loss.detach(),
            "train/error": error.detach(),
            "train/hull_error": hull_error,
            "gradient_norm": norm,
        }

    def _losses(self, samples: Sequence[SixDepth]) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and mean absolute error of the network, and that of the hull."""
        inputs = stack_inputs(samples)
        inputs = type(inputs)(*(part.to(self.device) for part in inputs))
        corrections, known = zip(*map(true_correction, samples), strict=True)
        correction, where = torch.cat(corrections).to(self.device), torch.cat(known).to(self.device)
        with autocast(self.device, self.config.precision):
            guess = self.network(inputs)
        loss, error = depth_loss(guess, correction, where)
        return loss, error, correction.abs().sum() / where.sum().clamp_min(1)

    def extra_metrics(self) -> dict[str, float]:
        """What is logged beside the losses."""
        return {"rate": self.optimizer.param_groups[0]["lr"]}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds."""
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.averages.items()}
        optimizer, optimizer_state = capture_optimizer(self.optimizer, "optimizer")
        rng, rng_state = capture_rng()
        return tensors | optimizer | rng, {"optimizer": optimizer_state, "rng": rng_state}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        parts = {
            kind: {k.removeprefix(kind): v for k, v in saved.tensors.items() if k.startswith(kind)}
            for kind in ("model.", "ema.")
        }
        self.network.load_state_dict(parts["model."])
        for name, value in parts["ema."].items():
            self.ema.averages[name].copy_(value)
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, saved.state["optimizer"])
        restore_rng(saved.tensors, saved.state["rng"])


class DepthValidation:
    """Mean absolute depth error of the averaged network on assets that were not trained on."""

    def __init__(self, trainer: DepthTrainer, samples: Sequence[SixDepth]) -> None:
        self.trainer, self.samples = trainer, samples

    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log the error of network and hull, mean over the moments; returns minus the first."""
        trainer = self.trainer
        with trainer.ema.in_use():
            errors = depth_errors(trainer.network, self.samples, trainer.config.precision)
        mean, hull = (sum(own) / len(errors) for own in zip(*errors.values(), strict=True))
        log.log(step, {"val/error": mean, "val/hull_error": hull})
        return -mean


@torch.no_grad()
def depth_errors(
    network: DepthNetwork, samples: Sequence[SixDepth], precision: str = "float32"
) -> dict[str, tuple[float, float]]:
    """Mean absolute depth error of network and hull by moment, world units, over the pixels whose
    truth is known.
    """
    device, errors = next(network.parameters()).device, {}
    for sample in samples:
        inputs = network_inputs(sample)
        with autocast(device, precision):
            guess = network(type(inputs)(*(part.to(device) for part in inputs)))
        correction, known = true_correction(sample)
        wrong = (guess.correction.cpu() - correction).abs()
        errors[sample.name] = wrong[known].mean().item(), correction[known].abs().mean().item()
    return errors

"""One optimisation step of the depth network, and how well it does on assets it never saw."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

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
from training_core.averaged_trainer import AveragedTrainer
from training_core.checkpoint import seed_everything
from training_core.metrics_log import MetricsLog


class DepthTrainer(AveragedTrainer):
    """The depth network and the moments it learns from."""

    network: DepthNetwork

    def __init__(self, config: TrainDepthConfig, drawer: SampleDrawer, folder: Path) -> None:
        seed_everything(config.seed)
        optimize = config.optimize
        network = DepthNetwork(config.network)
        super().__init__(network, optimize, optimize.ema_decay, config.device, folder)
        self.config, self.drawer = config, drawer

    def losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the mean absolute errors of network and hull."""
        samples = self.drawer.draw(step, self.optimize.batch)
        inputs = stack_inputs(samples)
        inputs = type(inputs)(*(part.to(self.device) for part in inputs))
        corrections, known = zip(*map(true_correction, samples), strict=True)
        correction, where = torch.cat(corrections).to(self.device), torch.cat(known).to(self.device)
        with autocast(self.device, self.config.precision):
            guess = self.network(inputs)
        loss, error = depth_loss(guess, correction, where)
        hull_error = correction.abs().sum() / where.sum().clamp_min(1)
        return loss, {"train/error": error.detach(), "train/hull_error": hull_error}


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

"""One optimisation step of the view network, and how well it does on assets it never saw."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sjc_papr.networks.precision import autocast
from sjc_papr.pseudo_views.config import TrainPseudoViewsConfig
from sjc_papr.pseudo_views.network import ViewInputs, ViewNetwork, view_loss
from sjc_papr.pseudo_views.samples import ViewDrawer, ViewSample, as_batch
from training_core.averaged_trainer import AveragedTrainer
from training_core.checkpoint import seed_everything
from training_core.metrics_log import MetricsLog


class ViewTrainer(AveragedTrainer):
    """The view network and the new views it learns from."""

    network: ViewNetwork

    def __init__(self, config: TrainPseudoViewsConfig, drawer: ViewDrawer, folder: Path) -> None:
        seed_everything(config.seed)
        optimize = config.optimize
        network = ViewNetwork(config.network)
        super().__init__(network, optimize, optimize.ema_decay, config.device, folder)
        self.config, self.drawer = config, drawer

    def losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and the PSNR on white."""
        inputs, truth = self.drawer.draw(step, self.optimize.batch)
        inputs = ViewInputs(*(part.to(self.device) for part in inputs))
        with autocast(self.device, self.config.precision):
            picture = self.network(inputs)
        loss, psnr = view_loss(picture, truth.to(self.device))
        return loss, {"train/psnr": psnr}


class ViewQuality:
    """PSNR of the averaged network on assets that were not trained on."""

    def __init__(self, trainer: ViewTrainer, samples: Sequence[ViewSample]) -> None:
        self.trainer, self.samples = trainer, samples

    def __call__(self, log: MetricsLog, step: int) -> float:
        """Log the mean over the assets, and return it."""
        trainer = self.trainer
        with trainer.ema.in_use():
            quality = view_quality(trainer.network, self.samples, trainer.config.precision)
        mean = sum(quality.values()) / len(quality)
        log.log(step, {"val/psnr": mean})
        return mean


@torch.no_grad()
def view_quality(
    network: ViewNetwork, samples: Sequence[ViewSample], precision: str = "float32"
) -> dict[str, float]:
    """Mean PSNR on white, dB, of each dataset's new views."""
    device = next(network.parameters()).device
    found: dict[str, list[float]] = {}
    for sample in samples:
        inputs, truth = as_batch(sample)
        with autocast(device, precision):
            picture = network(ViewInputs(*(part.to(device) for part in inputs)))
        _, psnr = view_loss(picture, truth.to(device))
        found.setdefault(sample.name.partition("/")[0], []).append(psnr.item())
    return {name: sum(values) / len(values) for name, values in found.items()}

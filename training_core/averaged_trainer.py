"""Training of a network with AdamW and averaged weights, which are the ones to save."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from training_core.checkpoint import (
    Checkpoint,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
)
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option
from training_core.devices import pick_device
from training_core.loop import TrainingLoop, TrainingTime, Validation
from training_core.metrics_log import MetricsLog
from training_core.run_config import ValidatedLogConfig
from training_core.run_folder import RunFolder
from training_core.step.ema import Ema
from training_core.step.guards import check_finite
from training_core.step.schedules import warmup_cosine
from training_core.stopping import StopSignals


@dataclass
class AveragedOptimizeConfig:
    """Settings of such a training; ``ema_decay`` (in [0, 1]) is left to each network."""

    steps: int = option(2000, "optimizer steps")
    batch: int = option(4, "samples per step")
    rate: float = option(1e-3, "largest learning rate (AdamW)")
    warmup: float = option(0.03, "share of the steps over which it rises from zero")
    final: float = option(0.02, "share of it left at the last step (cosine in between)")
    weight_decay: float = option(0.02, "AdamW's")
    clip_gradient: float = option(1.0, "largest gradient norm; 0 = no limit")

    def validate(self) -> None:
        """Raises ValueError on numbers that train nothing."""
        at_least(1, steps=self.steps, batch=self.batch)
        at_least(0, weight_decay=self.weight_decay, clip_gradient=self.clip_gradient)
        positive(rate=self.rate)
        in_unit_interval(warmup=self.warmup, final=self.final)


class AveragedTrainer:
    """AdamW on a network, and the moving average of its weights.

    A subclass draws the samples of a step and returns their loss; see ``losses``.

    Args:
        network: on the CPU; moved to ``device``.
        folder: where a fault leaves what explains it.
    """

    def __init__(
        self,
        network: nn.Module,
        optimize: AveragedOptimizeConfig,
        ema_decay: float,
        device: str,
        folder: Path,
    ) -> None:
        self.optimize, self.folder, self.device = optimize, folder, pick_device(device)
        self.network = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.network.state_dict(), ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=0.0, weight_decay=optimize.weight_decay, fused=True
        )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.optimize.steps

    def losses(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of step number ``step``, and what else to log, by name."""
        raise NotImplementedError

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """Run step number ``step`` (from 0).

        Raises:
            TrainingFault: the loss is not finite.
        """
        optimize = self.optimize
        rate = warmup_cosine(
            step,
            optimize.steps,
            max(1, round(optimize.warmup * optimize.steps)),
            optimize.rate,
            optimize.rate * optimize.final,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, logged = self.losses(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        if optimize.clip_gradient:
            clip_grads_with_norm_(self.network.parameters(), optimize.clip_gradient, norm)
        checked = {"loss": loss.detach(), "gradient": norm}
        check_finite(step, checked, self.folder, self.network.state_dict)
        self.optimizer.step()
        self.ema.update(step)
        return {"loss/total": loss.detach(), **logged, "gradient_norm": norm}

    def extra_metrics(self) -> dict[str, float]:
        """The learning rate."""
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


def fit(
    trainer: AveragedTrainer,
    folder: RunFolder,
    log: ValidatedLogConfig,
    title: str,
    validate: Callable[[MetricsLog, int], float | None] | None,
    extend: Path | None,
) -> TrainingTime:
    """Train in one process until all steps are made.

    Args:
        title: of the progress bar. validate: see ``Validation``; None = nothing is watched.
        extend: folder of the run that this one goes on from.

    Raises:
        Stopped: a signal asked for it; everything is saved.
    """
    with StopSignals() as stop:
        validation = Validation(validate, log.validate_every)
        return TrainingLoop(
            trainer, folder, log, stop, title, validation=validation, extend=extend
        ).fit()


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())

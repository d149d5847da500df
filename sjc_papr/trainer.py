"""One optimisation step of PAPR, and the loop around it. Phases 2 and 3 share both."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from sjc_papr.config import LogConfig, OptimizeConfig
from sjc_papr.density import change_density
from sjc_papr.losses import Losses
from sjc_papr.model import Papr
from sjc_papr.patches import PatchSampler
from sjc_papr.rates import Rates
from sjc_papr.rays import RayBundle
from sjc_papr.renderer import render
from training_core.checkpoint import (
    Checkpoint,
    CheckpointStore,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
)
from training_core.guards import TrainingFault, check_finite
from training_core.metrics_log import MetricsLog, progress
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

# Below this, the background has taken every ray and gradients to the points have vanished.
_DEAD_ALPHA = 1e-3

Validate = Callable[[MetricsLog, int], float]
# A loss on the model itself rather than on its pictures: weight and term.
ModelTerm = tuple[float, Callable[[Papr], Tensor]]


class Trainer:
    """A model, its optimizer and the data it learns from.

    Args:
        model: moved to ``device`` already.
        sampler: gives each step its rays and colours.
        config: steps, losses, density.
        rates: learning rate of each group at each step; a group at rate zero is left untouched.
        background: grey level behind the object.
        precision: see ``sjc_papr.precision``.
        seed: of the points added on the way.
        model_terms: further losses by name, on the model itself.
        fault_folder: where the state is written should a loss stop being finite.
    """

    def __init__(
        self,
        model: Papr,
        sampler: PatchSampler,
        config: OptimizeConfig,
        rates: Rates,
        *,
        background: float,
        precision: str,
        seed: int,
        fault_folder: Path,
        model_terms: Mapping[str, ModelTerm] | None = None,
    ) -> None:
        self.model_terms = model_terms or {}
        self.fault_folder = fault_folder
        self.model, self.sampler, self.config, self.rates = model, sampler, config, rates
        self.background, self.precision, self.seed = background, precision, seed
        self.device = model.points.positions.device
        self.losses = Losses(config.losses).to(str(self.device))
        trained = {name: group for name, group in model.groups().items() if rates.ever(name)}
        for name, group in model.groups().items():
            for parameter in group:
                parameter.requires_grad_(name in trained)
        self.optimizer = torch.optim.Adam(
            [{"params": group, "name": name, "lr": 0.0} for name, group in trained.items()],
            eps=1e-15,
            fused=True,
        )
        self.dead_steps = 0

    def step(self, step: int) -> dict[str, Tensor]:
        """Run step number ``step`` (from 0); returns what is worth logging.

        Raises:
            TrainingFault: a loss is not finite, or attention is dead.
        """
        self._set_rates(step)
        self.optimizer.zero_grad(set_to_none=True)
        batches = [self._backward(rays, target) for rays, target in self.sampler.sample(step)]
        self._refuse_dead(step, [attended for _, attended in batches])
        losses = [losses for losses, _ in batches]
        logged = {name: torch.stack([b[name] for b in losses]).mean() for name in losses[0]}
        logged |= self._clip()
        # Before the step, so that no bad value reaches a weight.
        checked = {"loss": logged["loss/total"], "gradient": logged["gradient_norm"]}
        check_finite(step, checked, self.fault_folder, self.model.state_dict)
        self.optimizer.step()
        said = change_density(
            self.model.points,
            self.optimizer,
            step + 1,
            self.config.steps,
            self.config.density,
            self.seed,
        )
        if said:
            logger.info("step %d: %s", step + 1, said)
        return logged

    def _backward(self, rays: RayBundle, target: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
        """Add the gradient of one batch of patches; returns its losses, and whether any point got
        attention (None where the batch shows no object).
        """
        rays, target = rays.to(self.device), target.to(self.device)
        output = render(self.model, rays, background=self.background, precision=self.precision)
        loss, terms = self.losses(output.rgb, target)
        for name, (weight, term) in self.model_terms.items():
            terms[name] = weight, term(self.model)
            loss = loss + weight * terms[name][1]
        (loss / self.config.patches.accumulate).backward()
        logged = {"loss/total": loss.detach()}
        for name, (weight, value) in terms.items():
            logged[f"loss/{name}"] = value.detach()
            logged[f"weighted/{name}"] = weight * value.detach()
        shows_object = bool((target - self.background).abs().amax() > 0.1)
        attended = (output.scores != 0.0).any() & (output.alpha.amax() >= _DEAD_ALPHA)
        return logged, attended if shows_object else None

    def _set_rates(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates(group["name"], step)
            for parameter in group["params"]:
                # Without a gradient Adam leaves the parameter and its moments alone.
                parameter.requires_grad_(self.rates.trains(group["name"], step))

    def _clip(self) -> dict[str, Tensor]:
        """Clip all gradients together; returns their norm before that, whole and by group."""
        gradients = {
            group["name"]: [p.grad for p in group["params"] if p.grad is not None]
            for group in self.optimizer.param_groups
        }
        norms = {name: get_total_norm(some) for name, some in gradients.items() if some}
        total = torch.stack(list(norms.values())).norm()
        if self.config.clip_gradient:
            everything = [p for group in self.optimizer.param_groups for p in group["params"]]
            clip_grads_with_norm_(everything, self.config.clip_gradient, total)
        by_group = {f"gradient_norm/{name}": norm for name, norm in norms.items()}
        return {"gradient_norm": total} | by_group

    def _refuse_dead(self, step: int, batches: list[Tensor | None]) -> None:
        """Count steps in which an object was to be seen and no point got attention."""
        attended = [bool(batch) for batch in batches if batch is not None]
        if not attended:
            return
        self.dead_steps = 0 if any(attended) else self.dead_steps + 1
        if self.dead_steps >= self.config.dead_patience:
            raise TrainingFault(
                f"step {step}: attention is dead: for {self.dead_steps} steps no point had a score "
                "above zero, so nothing can be learned; check the poses (blender_render.validate), "
                "points.init, and use model.attention.score_activation=softplus"
            )

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        optimizer, optimizer_state = capture_optimizer(self.optimizer, "optimizer")
        rng, rng_state = capture_rng()
        state = {"optimizer": optimizer_state, "rng": rng_state, "dead_steps": self.dead_steps}
        return tensors | optimizer | rng, state

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        self.model.load_tensors(model_tensors(saved))
        state = saved.state
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, state["optimizer"])
        restore_rng(saved.tensors, state["rng"])
        self.dead_steps = state["dead_steps"]


def model_tensors(saved: Checkpoint) -> dict[str, Tensor]:
    """The model's state dict out of a checkpoint."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in saved.tensors.items()
        if name.startswith("model.")
    }


class Elapsed(NamedTuple):
    """Time spent training, restarts included: on the clock, and of all CPU threads together."""

    seconds: float
    cpu_seconds: float

    @staticmethod
    def now() -> "Elapsed":
        return Elapsed(time.monotonic(), time.process_time())

    def since(self, begin: "Elapsed", earlier: "Elapsed") -> "Elapsed":
        """What lies between ``begin`` and here, plus ``earlier``."""
        return Elapsed(*(a - b + c for a, b, c in zip(self, begin, earlier, strict=True)))


def fit(
    trainer: Trainer,
    run: RunFolder,
    log: LogConfig,
    stop: StopSignals,
    *,
    description: str,
    validate: Validate | None = None,
) -> Elapsed:
    """Train to the end, from the run's latest checkpoint if it has one.

    Args:
        validate: called every ``log.validate_every`` steps; returns the PSNR by which the best is
            kept.

    Returns:
        Time spent training, that before a restart included.

    Raises:
        Stopped: a signal came; everything is saved. TrainingFault: see ``Trainer.step``.
    """
    store = CheckpointStore(run.checkpoints, keep_last=log.keep_last)
    saved = store.load()
    total, first, earlier = trainer.config.steps, 0, Elapsed(0.0, 0.0)
    if saved is not None:
        trainer.restore(saved)
        first, earlier = saved.step, Elapsed(**saved.state["elapsed"])
    begin = Elapsed.now()

    with (
        MetricsLog(run, first) as metrics,
        progress(total, initial=first, description=description) as bar,
    ):
        for step in range(first, total):
            values = trainer.step(step)
            done, quality = step + 1, None
            if done % log.every == 0 or done == total:
                metrics.log(done, {k: float(v) for k, v in values.items()} | _facts(trainer, done))
                bar.set_postfix(loss=float(values["loss/total"]))
            if validate and log.validate_every and done % log.validate_every == 0:
                quality = validate(metrics, done)
            due = done % log.checkpoint_every == 0 or done == total or stop.requested
            # A validated state is saved as well: the best must be the one that was measured.
            if due or quality is not None:
                tensors, state = trainer.tensors()
                elapsed = Elapsed.now().since(begin, earlier)
                store.save(done, tensors, state | {"elapsed": elapsed._asdict()}, quality)
                stop.raise_if_requested()
            bar.update()
    return Elapsed.now().since(begin, earlier)


def _facts(trainer: Trainer, step: int) -> dict[str, float]:
    facts = {f"rate/{g['name']}": g["lr"] for g in trainer.optimizer.param_groups}
    return facts | {"points": float(len(trainer.model.points))}

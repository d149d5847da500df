"""One optimisation step of PAPR. Phases 2 and 3 share it."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sjc_papr.data.view_corrections import ViewCorrections
from sjc_papr.networks.compiling import begin_step, check_compiling, compile_networks
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import RayBundle
from sjc_papr.networks.renderer import render
from sjc_papr.training.auxiliary import PHOTOMETRIC, AuxiliaryLoss, add_auxiliary
from sjc_papr.training.checkpoints import model_tensors, tensors_of
from sjc_papr.training.config import OptimizeConfig
from sjc_papr.training.densification import change_density, changes_density
from sjc_papr.training.divergence import DivergenceDetector
from sjc_papr.training.gradients import (
    average_gradients,
    clip_gradients,
    refuse_difference,
)
from sjc_papr.training.losses import Losses
from sjc_papr.training.lr_schedule import LRSchedule
from sjc_papr.training.patch_sampler import PatchSampler, background_of, points_of
from sjc_papr.training.step_checks import StepChecks
from training_core.checkpoint import (
    Checkpoint,
    capture_optimizer,
    capture_rng,
    restore_optimizer,
    restore_rng,
)
from training_core.config import ConfigError
from training_core.step.guards import Diverged
from training_core.step.processes import DistributedProcesses, OneProcess

logger = logging.getLogger(__name__)

# Below this, the background has taken every ray and gradients to the points have vanished.
_DEAD_ALPHA = 1e-3

# A loss on the model itself rather than on its images: weight and term.
ModelTerm = tuple[float, Callable[[Papr], Tensor]]


class Trainer:
    """A model, its optimizer and the data it learns from.

    Args:
        model: moved to ``device`` already.
        sampler: gives each step its rays and colours.
        config: steps, losses, density.
        rates: learning rate of each group at each step; a group at rate zero is left untouched.
        background: grey level behind the object.
        precision: see ``sjc_papr.networks.precision``.
        seed: of the points added on the way.
        model_terms: further losses by name, on the model itself.
        fault_folder: where the state is written should a loss stop being finite.
        auxiliary: a further loss that renders for itself.
        divergence: detects divergence; the training loop then calls ``start_over``.
        inside_hull: which of some places [N, 3] may hold matter; for ``density.hull_events``.
        corrections: of each training view's colours and camera, which train beside the model.
        processes: that train together, each with its share of the patches; all start as the main
            one does.

    Attributes:
        images: the latest of each image that the auxiliary loss rendered, by name.
    """

    def __init__(
        self,
        model: Papr,
        sampler: PatchSampler,
        config: OptimizeConfig,
        rates: LRSchedule,
        *,
        background: float,
        precision: str,
        seed: int,
        fault_folder: Path,
        model_terms: Mapping[str, ModelTerm] | None = None,
        auxiliary: AuxiliaryLoss | None = None,
        divergence: DivergenceDetector | None = None,
        inside_hull: Callable[[Tensor], Tensor] | None = None,
        corrections: ViewCorrections | None = None,
        processes: OneProcess | DistributedProcesses | None = None,
    ) -> None:
        self.processes = processes or OneProcess()
        if self.processes.count > 1 and auxiliary:
            raise ConfigError("losses on novel views (novel) train in one process; start one only")
        self.processes.copy_from_main(model.parameters())
        if config.density.hull_events and inside_hull is None:
            raise ConfigError("optimize.density.hull_events: this training knows of no hull")
        self.inside_hull = inside_hull
        self.model_terms = model_terms or {}
        self.auxiliary, self.divergence = auxiliary, divergence
        self.images: dict[str, Tensor] = {}
        self.fault_folder = fault_folder
        self.model, self.sampler, self.config, self.rates = model, sampler, config, rates
        self.background, self.precision, self.seed = background, precision, seed
        self.device = model.points.positions.device
        check_compiling(config.compile, self.device, config.density.changes_points)
        compile_networks(model, config.compile)
        self.losses = Losses(config.losses).to(str(self.device))
        self.corrections = corrections.to(self.device) if corrections else None
        groups = model.groups() | (corrections.groups() if corrections else {})
        trained = {name: group for name, group in groups.items() if rates.ever(name)}
        for name, group in groups.items():
            for parameter in group:
                parameter.requires_grad_(name in trained)
        self.optimizer = torch.optim.Adam(
            [{"params": group, "name": name, "lr": 0.0} for name, group in trained.items()],
            eps=1e-15,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.checks = StepChecks(
            config.dead_patience, fault_folder, self.model.state_dict, self.device
        )

    def step(self, step: int, *, measure: bool = False) -> dict[str, Tensor]:
        """Run step number ``step`` (from 0); returns what is worth logging.

        Nothing waits for the device but an auxiliary loss, the detection of divergence, a step
        that is measured or changes the density, and on a CPU the checks, which cost nothing there.

        Args:
            measure: also measure what costs time and is only worth having when it is logged, and
                look for faults that the device has kept to itself.

        Raises:
            Diverged: loss or gradients explode; nothing was changed by this step.
            TrainingFault: a loss is not finite, or attention is dead.
        """
        begin_step(self.config.compile)
        self.rates.apply(self.optimizer, step)
        self.optimizer.zero_grad(set_to_none=True)
        config, least = self.config, self.model.config.neighbours
        count = len(self.model.points)
        among = points_of(config, self.seed, step, count, least, self.device)
        colour = background_of(config, self.seed, step, self.device)
        losses, shown, attended = zip(
            *(
                self._backward(rays, target, among, colour)
                for rays, target in self.sampler.sample(step, colour)
            ),
            strict=True,
        )
        logged = {name: torch.stack([b[name] for b in losses]).mean() for name in losses[0]}
        seen = torch.stack([torch.stack(shown), torch.stack(attended)])
        if self.processes.count > 1:
            logged, seen = self._share(logged, seen)
        self.checks.see_attention(step, seen[0], seen[1])
        if self.auxiliary:
            more, images = add_auxiliary(self.auxiliary, self.optimizer, step, measure, losses)
            logged |= more
            self.images |= images
        logged |= clip_gradients(self.optimizer, self.config.clip_gradient)
        if self.divergence:
            self.divergence.check(step, float(logged["loss/total"]), float(logged["gradient_norm"]))
        # Before the step, so that no bad value reaches a weight.
        self.checks.see_values(step, logged["loss/total"], logged["gradient_norm"])
        self.optimizer.found_inf = self.checks.voided()  # type: ignore[attr-defined]
        self.optimizer.step()
        if measure:
            self.checks.look()
        self._change_density(step + 1)
        return logged

    def _share(self, logged: dict[str, Tensor], seen: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients, losses and what was seen of the patches of all processes."""
        shown = seen[0].any()
        seen = torch.stack([shown, (seen[0] & seen[1]).any()])
        numbers = torch.stack([*logged.values(), *seen.float()])
        *values, shown, attended = average_gradients(self.optimizer, numbers, self.processes)
        together = torch.stack([shown > 0.0, attended > 0.0]).unsqueeze(1)
        return dict(zip(logged, values, strict=True)), together

    def _change_density(self, done: int) -> None:
        """Drop and add points where that is due after ``done`` steps."""
        config = self.config
        if not changes_density(done, config.steps, config.density):
            return
        self.checks.look()
        change = change_density(
            self.model.points,
            self.optimizer,
            done,
            config.steps,
            config.density,
            self.seed,
            self.inside_hull,
        )
        refuse_difference(self.model.points, done, self.processes)
        if change and self.processes.is_main:
            logger.info("step %d: %s points, now %d", done, change, len(self.model.points))

    def _backward(
        self, rays: RayBundle, target: Tensor, among: Tensor | None, colour: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Add the gradient of one batch of patches; returns its losses, whether it shows an object,
        and whether any point got attention.
        """
        background = self.background if colour is None else colour
        if self.corrections:
            rays = self.corrections.moved(rays)
        output = render(
            self.model, rays, background=background, precision=self.precision, among=among
        )
        if self.auxiliary:
            output.rgb.retain_grad()
        rgb = output.rgb
        if self.corrections:
            rgb = self.corrections.recoloured(output, rays, background)
        loss, terms = self.losses(rgb, target)
        for name, (weight, term) in self.model_terms.items():
            terms[name] = weight, term(self.model)
            loss = loss + weight * terms[name][1]
        (loss / self.config.patches.accumulate).backward()
        logged = {"loss/total": loss.detach()}
        if self.auxiliary:
            assert output.rgb.grad is not None
            logged[PHOTOMETRIC] = output.rgb.grad.norm()
        for name, (weight, value) in terms.items():
            logged[f"loss/{name}"] = value.detach()
            logged[f"weighted/{name}"] = weight * value.detach()
        shows_object = (target - background).abs().amax() > 0.1
        attended = (output.scores != 0.0).any() & (output.alpha.amax() >= _DEAD_ALPHA)
        self.checks.see_search(output.proven)
        return logged, shows_object, attended

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds.

        Raises:
            TrainingFault: something is wrong that the device had kept to itself.
        """
        self.checks.look()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.corrections:
            tensors |= {f"corrections.{k}": v for k, v in self.corrections.state_dict().items()}
        optimizer, optimizer_state = capture_optimizer(self.optimizer, "optimizer")
        rng, rng_state = capture_rng()
        state = {
            "optimizer": optimizer_state,
            "rng": rng_state,
            "dead_steps": self.checks.dead_steps,
        }
        # These keys are older than the classes they belong to.
        if self.auxiliary:
            state["balance"] = self.auxiliary.state_dict()
        if self.divergence:
            state["watch"] = self.divergence.state_dict()
        return tensors | optimizer | rng, state

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.steps

    def extra_metrics(self) -> dict[str, float]:
        """Learning rates and the number of points."""
        rates = {f"rate/{g['name']}": g["lr"] for g in self.optimizer.param_groups}
        return rates | {"points": float(len(self.model.points))}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, bit for bit."""
        self.model.load_tensors(model_tensors(saved))
        if self.corrections:
            self.corrections.restore(tensors_of(saved, "corrections."))
        state = saved.state
        restore_optimizer(self.optimizer, "optimizer", saved.tensors, state["optimizer"])
        restore_rng(saved.tensors, state["rng"])
        self.checks.dead_steps = state["dead_steps"]
        # Missing where this run extends one that had no such losses; they then start afresh.
        if self.auxiliary and "balance" in state:
            self.auxiliary.load_state_dict(state["balance"])
        if self.divergence and "watch" in state:
            self.divergence.load_state_dict(state["watch"])
            if self.auxiliary:
                self.auxiliary.scale = self.divergence.scale

    def start_over(self, fault: Diverged, saved: Checkpoint) -> None:
        """Restore a checkpoint and reduce the auxiliary loss. Raises ``fault`` where the restarts
        are used up, or where nothing can be reduced, because the same steps would follow.
        """
        if not (self.divergence and self.auxiliary and self.auxiliary.can_be_scaled):
            raise fault
        self.divergence.restart(fault)
        self.restore(saved)
        logger.warning("SJC's weight is now %.3g of the configured one", self.divergence.scale)

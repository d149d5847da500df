"""What makes a training step a fault: a loss that is not finite, attention that has died.

On a CPU every step is looked at before a weight changes. Elsewhere looking would make the processor
wait for the device in every step, so the verdict stays there: from the first value that is not
finite on, the device itself voids every update of the weights (``voided``), and ``look``, which is
called at log lines and before a checkpoint, raises what it finds. No checkpoint ever holds a weight
that a fault has touched.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from training_core.step.guards import TrainingFault, check_finite

logger = logging.getLogger(__name__)

_CHECKED = ("loss", "gradient")


class StepChecks:
    """Counts on the device, looked at now or later.

    Args:
        patience: steps in a row without attention to any point that are a fault.
        folder: where the state is written should a value stop being finite.
        state: what is written there.
        deferred: look when asked to instead of at every step; by default where the device is no
            CPU.
    """

    def __init__(
        self,
        patience: int,
        folder: Path,
        state: Callable[[], Mapping[str, Tensor]],
        device: torch.device,
        deferred: bool | None = None,
    ) -> None:
        self.patience, self.folder, self.state = patience, folder, state
        self.deferred = device.type != "cpu" if deferred is None else deferred
        self._zero = torch.zeros((), dtype=torch.long, device=device)
        self._bad_step = self._zero - 1
        self._bad_values = torch.zeros(len(_CHECKED), device=device)
        self._dead, self._dead_step, self._unproven = self._zero, self._bad_step, self._zero
        self._told = False

    @property
    def dead_steps(self) -> int:
        """Steps in a row in which no point got attention; waits for the device."""
        return int(self._dead)

    @dead_steps.setter
    def dead_steps(self, count: int) -> None:
        self._dead = self._zero + count

    def see_attention(self, step: int, shown: Tensor, attended: Tensor) -> None:
        """Count step number ``step``.

        Args:
            shown: bool [n], whether each batch of the step shows an object.
            attended: bool [n], whether any point got attention in it.

        Raises:
            TrainingFault: attention is dead; not where that is deferred.
        """
        alive = torch.where((shown & attended).any(), self._zero, self._dead + 1)
        self._dead = torch.where(shown.any(), alive, self._dead)
        now = torch.full_like(self._zero, step)
        died = (self._dead >= self.patience) & (self._dead_step < 0)
        self._dead_step = torch.where(died, now, self._dead_step)
        if not self.deferred:
            self._refuse_dead()

    def see_search(self, proven: Tensor) -> None:
        """Count the rays whose nearest points are not proven to be; bool of any shape."""
        self._unproven = self._unproven + (~proven).sum()

    def see_values(self, step: int, loss: Tensor, gradient: Tensor) -> None:
        """Look at the values of step number ``step``, before a weight changes.

        Raises:
            TrainingFault: one is not finite; not where that is deferred.
        """
        values = torch.stack([loss, gradient]).float()
        if not self.deferred:
            check_finite(step, dict(zip(_CHECKED, values, strict=True)), self.folder, self.state)
            return
        first = ~values.isfinite().all() & (self._bad_step < 0)
        self._bad_step = torch.where(first, torch.full_like(self._zero, step), self._bad_step)
        self._bad_values = torch.where(first, values, self._bad_values)

    def voided(self) -> Tensor | None:
        """For the optimizer's ``found_inf``: 1 once a value was not finite, else 0; None where a
        fault is raised at once.
        """
        return (self._bad_step >= 0).float() if self.deferred else None

    def look(self) -> None:
        """Raise what was found since the last look; waits for the device once where deferred.

        Raises:
            TrainingFault: as it would have been raised in the step at fault.
        """
        if not self.deferred:
            return
        found = torch.stack([self._bad_step, self._dead_step, self._unproven]).tolist()
        bad_step, dead_step, unproven = found
        # Whichever was first; a dead step may follow a bad one, whose weights stay as they were.
        if bad_step >= 0 and not 0 <= dead_step < bad_step:
            values = dict(zip(_CHECKED, self._bad_values, strict=True))
            check_finite(bad_step, values, self.folder, self.state)
        if dead_step >= 0:
            self._refuse_dead()
        self._unproven = self._zero
        if unproven and not self._told:
            self._told = True
            logger.warning(
                "the nearest points of %d rays are not proven to be the nearest; raise "
                "model.search_candidates, or use model.search=tiles", unproven,
            )  # fmt: skip

    def _refuse_dead(self) -> None:
        step = int(self._dead_step)
        if step < 0:
            return
        raise TrainingFault(
            f"step {step}: attention is dead: for {self.patience} steps no point had a score "
            "above zero, so nothing can be learned; check the poses (blender_render.validate), "
            "points.init, and use model.attention.score_activation=softplus"
        )

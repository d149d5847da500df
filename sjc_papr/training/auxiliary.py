"""The interface of losses that a trainer adds to the photometric one without knowing them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sjc_papr.training.gradients import gradient_norms

# What is logged of the photometric loss's gradient at the rendered images: its norm.
PHOTOMETRIC = "picture_gradient/photometric"


class AuxiliaryResult(NamedTuple):
    """What an auxiliary loss reports of a step.

    Attributes:
        logged: numbers for the metrics log.
        images: what it rendered, by name, constant; for an image logger that knows the loss.
    """

    logged: dict[str, Tensor]
    images: dict[str, Tensor]


class AuxiliaryLoss(Protocol):
    """A loss that renders for itself and adds its gradients to the model's parameters.

    Attributes:
        scale: factor on the part of it that is reduced after a divergence.
    """

    scale: float

    @property
    def can_be_scaled(self) -> bool:
        """Whether ``scale`` changes anything; if not, a restart would repeat the same steps."""
        ...

    def due(self, step: int) -> bool:
        """Whether step number ``step`` (from 0) has this loss."""
        ...

    def backward(
        self, step: int, *, measure: bool, photometric_norm: float | None = None
    ) -> AuxiliaryResult:
        """Add this step's gradients.

        Args:
            measure: also measure what is expensive and only of use in the log.
            photometric_norm: norm of the photometric loss's gradient at the rendered images of
                this step; None = unknown.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it, as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        ...


def add_auxiliary(
    auxiliary: AuxiliaryLoss,
    optimizer: torch.optim.Optimizer,
    step: int,
    measure: bool,
    batches: Sequence[Mapping[str, Tensor]],
) -> AuxiliaryResult:
    """Add the auxiliary loss's gradients where step number ``step`` has it.

    Args:
        optimizer: holds the gradients of the photometric loss.
        measure: also measure what is only of use in the log.
        batches: the photometric losses of every batch of the step, PHOTOMETRIC among them.
    """
    # The norm over all patches of the step, however many batches they came in.
    norm = torch.stack([batch[PHOTOMETRIC] for batch in batches]).norm()
    logged = {PHOTOMETRIC: norm}
    if not auxiliary.due(step):
        return AuxiliaryResult(logged, {})
    if measure:
        logged |= gradient_norms(optimizer, "parameter_gradient/photometric")
    result = auxiliary.backward(step, measure=measure, photometric_norm=float(norm))
    return AuxiliaryResult(logged | result.logged, result.images)

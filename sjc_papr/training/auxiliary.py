"""The interface of losses that a trainer adds to the photometric one without knowing them."""

from typing import Any, NamedTuple, Protocol

from torch import Tensor


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

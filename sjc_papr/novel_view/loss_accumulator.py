"""Accumulates a step's losses and gradient norms over its views."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sjc_papr.networks.model import Papr


class LossAccumulator:
    """Sums of each term's values and gradients, for the log.

    Args:
        measure: also find each term's gradient at the parameters, which costs a backward pass a
            term and view.
    """

    def __init__(self, model: Papr, measure: bool) -> None:
        self.measure = measure
        self.groups = {
            group: [p for p in parameters if p.requires_grad]
            for group, parameters in model.groups().items()
        }
        self.losses: dict[str, Tensor] = {}
        self.at_images: dict[str, list[Tensor]] = {}
        self.at_parameters: dict[str, list[Tensor]] = {}

    def add(
        self,
        name: str,
        weight: float,
        value: Tensor,
        parts: Sequence[Tensor],
        gradients: Sequence[Tensor],
    ) -> None:
        """One term on one view.

        Args:
            value: without its weight. parts: rendered tensors that have gradients.
            gradients: of the weighted term at these.
        """
        for key, number in ((f"loss/{name}", value), (f"weighted/{name}", weight * value)):
            self.losses[key] = self.losses[key] + number if key in self.losses else number
        self.at_images.setdefault(name, []).append(norm(gradients))
        if not self.measure:
            return
        found = torch.autograd.grad(
            list(parts),
            [p for group in self.groups.values() for p in group],
            list(gradients),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        # Of several views the gradients are added, not their norms: they may cancel.
        before = self.at_parameters.get(name)
        self.at_parameters[name] = [
            gradient if before is None else gradient + before[i] for i, gradient in enumerate(found)
        ]

    def logged(self) -> dict[str, Tensor]:
        """Losses, and norms of their gradients at all rendered images and at the parameters."""
        values = dict(self.losses)
        for name, norms in self.at_images.items():
            values[f"picture_gradient/{name}"] = norm(norms)
        for name, gradients in self.at_parameters.items():
            left = iter(gradients)
            for group, parameters in self.groups.items():
                if parameters:
                    own = [next(left) for _ in parameters]
                    values[f"parameter_gradient/{name}/{group}"] = norm(own)
        return values


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    return torch.stack([tensor.norm() for tensor in tensors]).norm()

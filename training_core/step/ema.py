"""An exponential moving average of trained weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """Averages in float32 of ``parameters`` (by name), which are changed in place only.

    Ours, because diffusers' EMAModel starts at decay 0 and knows no names, and torch's
    AveragedModel copies the whole network and starts after the first step: other bits.

    Args:
        decay: fraction of the average kept per step; in step n at most (1 + n) / (10 + n), so that
            the random start is soon forgotten.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.averages = {name: p.detach().float().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, parameter in self.parameters.items():
            self.averages[name].lerp_(parameter.detach().float(), 1.0 - decay)

    @contextmanager
    @torch.no_grad()
    def in_use(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(kept)

    def copy_to_parameters(self) -> None:
        """Give the network the averaged weights for good."""
        self._assign(self.averages)

    @torch.no_grad()
    def _assign(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

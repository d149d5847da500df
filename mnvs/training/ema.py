"""An exponential moving average of trained weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages in float32 of ``parameters`` (by name).

    Args:
        decay: share of the average kept per step, once it is warm: after n steps at most
            (1 + n) / (10 + n), or the random start would be remembered for long.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
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

    def adopt(self) -> None:
        """Give the network the averaged weights for good."""
        self._assign(self.averages)

    @torch.no_grad()
    def _assign(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

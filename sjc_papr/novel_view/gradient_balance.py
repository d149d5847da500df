"""The weight of SJC relative to the photometric loss.

A fixed weight does not carry over between objects, resolutions or stages of training: the report
of VideoPAPR ended at 1 against 1e5. The gradients of both losses at the rendered image, before any
network, are comparable, so the ratio of their norms is a setting that carries over.
"""

import math

from sjc_papr.novel_view.config import BalanceConfig


class GradientBalance:
    """Factor on SJC's gradient; its running means are part of the training state."""

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config
        self.means = {"photometric": 0.0, "sjc": 0.0}

    def update(self, name: str, norm: float) -> None:
        """Update a running mean with the norm of a gradient at a rendered image.

        Args:
            name: ``photometric`` or ``sjc``. norm: ignored where it is not finite."""
        if not math.isfinite(norm):
            return
        mean = self.means[name]
        self.means[name] = mean + (1.0 - self.config.memory) * (norm - mean) if mean else norm

    def factor(self) -> float:
        """Factor on SJC's gradient besides its weight."""
        photometric, sjc = self.means["photometric"], self.means["sjc"]
        if self.config.kind == "fixed" or not sjc:
            return 1.0
        return min(photometric / sjc, self.config.largest)

"""SJC's weight beside the photometric loss.

A weight that suits one object, resolution or moment of training suits no other: the report of
VideoPAPR ended at 1 against 1e5. Measured at the rendered picture, before any network, the two
gradients can be compared, and their ratio is a setting with a meaning.
"""

import math

from sjc_papr.novel_view.config import BalanceConfig


class Balance:
    """Factor on SJC's gradient; its running means are part of the training state."""

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config
        self.means = {"photometric": 0.0, "sjc": 0.0}

    def see(self, name: str, norm: float) -> None:
        """Take in the norm of a gradient at a rendered picture, ``photometric`` or ``sjc``."""
        if not math.isfinite(norm):
            return
        mean = self.means[name]
        self.means[name] = mean + (1.0 - self.config.memory) * (norm - mean) if mean else norm

    def factor(self) -> float:
        """What SJC's gradient is multiplied by, besides its weight."""
        photometric, sjc = self.means["photometric"], self.means["sjc"]
        if self.config.kind == "fixed" or not sjc:
            return 1.0
        return min(photometric / sjc, self.config.largest)

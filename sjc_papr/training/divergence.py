"""Detect divergence from loss and gradient norm."""

import math

from sjc_papr.training.config import WatchConfig
from training_core.step.guards import Diverged


class DivergenceDetector:
    """Checks each step's photometric loss and gradient norm.

    The loss is a mean over many steps, because single patches differ a hundredfold; the gradient
    norm is checked step by step, before the step is taken.

    Attributes:
        scale: factor on the auxiliary loss, reduced at every restart. restarts: so far.
    """

    def __init__(self, config: WatchConfig, steps: int) -> None:
        self.config, self.first = config, round(config.from_share * steps)
        self.state = {"loss": 0.0, "least": math.inf, "norm": 0.0}
        self.scale, self.restarts = 1.0, 0

    def check(self, step: int, loss: float, norm: float) -> None:
        """Raises Diverged where the running loss or this step's gradient norm explodes."""
        if not self.config.restarts:
            return
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}")
        state, checked = self.state, step >= self.first
        if checked and state["norm"] and norm > self.config.gradient_factor * state["norm"]:
            raise Diverged(
                f"step {step}: gradient norm {norm:.4g}, {norm / state['norm']:.0f} times the usual"
            )
        for name, value in (("loss", loss), ("norm", norm)):
            keep = self.config.memory if state[name] else 0.0
            state[name] = keep * state[name] + (1.0 - keep) * value
        if not checked:
            return
        state["least"] = min(state["least"], state["loss"])
        if state["loss"] > self.config.loss_factor * state["least"]:
            raise Diverged(
                f"step {step}: photometric loss {state['loss']:.4g} "
                f"after {state['least']:.4g} at its best"
            )

    def restart(self, fault: Diverged) -> None:
        """Count a restart and reduce ``scale``; raises ``fault`` where all restarts are used up."""
        if self.restarts >= self.config.restarts:
            raise fault
        self.restarts += 1
        self.scale *= self.config.reduce_sjc

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return self.state | {"scale": self.scale, "restarts": self.restarts}

    def load_state_dict(self, saved: dict[str, float]) -> None:
        """Continue from a checkpoint. After a restart the present scale is smaller and is kept."""
        self.state = {name: saved[name] for name in self.state}
        self.scale = min(self.scale, saved["scale"])
        self.restarts = max(self.restarts, int(saved["restarts"]))

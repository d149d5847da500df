"""Seeing a divergence before it has eaten the result."""

import math

from sjc_papr.training.config import WatchConfig
from training_core.loop import Diverged


class DivergenceDetector:
    """Judges each step by its photometric loss and gradient norm.

    The loss is a mean over many steps, because single patches differ a hundredfold; the gradient
    norm is judged step by step, before the step is taken.
    """

    def __init__(self, config: WatchConfig, steps: int) -> None:
        self.config, self.first = config, round(config.from_share * steps)
        self.state = {"loss": 0.0, "least": math.inf, "norm": 0.0}
        self.scale, self.restarts = 1.0, 0

    def judge(self, step: int, loss: float, norm: float) -> None:
        """Raises Diverged where this step's figures, or what they add up to, explode."""
        if not self.config.restarts:
            return
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"step {step}: loss {loss:.4g}, gradient norm {norm:.4g}")
        state, judged = self.state, step >= self.first
        if judged and state["norm"] and norm > self.config.gradient_factor * state["norm"]:
            raise Diverged(
                f"step {step}: gradient norm {norm:.4g}, {norm / state['norm']:.0f} times the usual"
            )
        for name, value in (("loss", loss), ("norm", norm)):
            keep = self.config.memory if state[name] else 0.0
            state[name] = keep * state[name] + (1.0 - keep) * value
        if not judged:
            return
        state["least"] = min(state["least"], state["loss"])
        if state["loss"] > self.config.loss_factor * state["least"]:
            raise Diverged(
                f"step {step}: photometric loss {state['loss']:.4g} "
                f"after {state['least']:.4g} at its best"
            )

    def start_over(self, fault: Diverged) -> None:
        """Reduce SJC for another try; raises ``fault`` when there were enough."""
        if self.restarts >= self.config.restarts:
            raise fault
        self.restarts += 1
        self.scale *= self.config.reduce_sjc

    def save(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return self.state | {"scale": self.scale, "restarts": self.restarts}

    def load(self, saved: dict[str, float]) -> None:
        """Take up a checkpoint; after a return the scale in hand is the smaller one and stays."""
        self.state = {name: saved[name] for name in self.state}
        self.scale = min(self.scale, saved["scale"])
        self.restarts = max(self.restarts, int(saved["restarts"]))

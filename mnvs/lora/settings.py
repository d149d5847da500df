"""What a LoRA adapter is: section ``train.lora`` of a run, and metadata of a saved adapter."""

from dataclasses import dataclass

from mnvs.lora.modes import MODES
from training_core.checks import at_least, in_unit_interval, positive
from training_core.config import option


@dataclass(frozen=True)
class LoraSettings:
    """What an adapter is. A saved adapter holds these fields by name, so names must not change."""

    mode: str = option("temporal", "modules to adapt; see mnvs/lora/modes.py", choices=tuple(MODES))
    rank: int = option(64, "rank of the matrices; 4 barely works (Zero123++'s author)")
    alpha: float = option(64.0, "the update is multiplied by alpha / rank")
    dropout: float = option(0.0, "fraction of each adapted module's input set to zero in training")
    mix_factors: bool = option(True, "also train the mix factors of spatial and temporal layers")

    def validate(self) -> None:
        """Raises ValueError on numbers out of range."""
        at_least(1, rank=self.rank)
        positive(alpha=self.alpha)
        in_unit_interval(dropout=self.dropout)

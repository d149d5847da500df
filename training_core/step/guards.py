"""Checks that stop a sick training run early, with what is needed to look into it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from training_core.files import atomic

if TYPE_CHECKING:
    from torch import Tensor


class TrainingFault(RuntimeError):  # noqa: N818 (read as a noun in messages)
    """Training has gone wrong and cannot continue; the message is one line."""


class Diverged(TrainingFault):
    """Training diverged; the last checkpoint can be restored and training tried again."""


def check_finite(
    step: int,
    values: "Mapping[str, Tensor | float]",
    run_path: Path,
    dump: "Callable[[], Mapping[str, Tensor]]",
) -> None:
    """Raise when any of `values` (any shapes) holds NaN or infinity.

    Before raising, the tensors that `dump()` returns are saved to
    `<run_path>/fault_step_<step>.safetensors`; where it returns none, as in a process whose pieces
    another one has put together, nothing is. Waits for each device once.

    Raises:
        TrainingFault: naming the first value at fault and the file written.
    """
    import torch  # late, so that commands without tensors start fast

    tensors = {name: torch.as_tensor(value) for name, value in values.items()}
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors.values():
        by_device.setdefault(tensor.device, []).append(tensor.detach().isfinite().all())
    if all(bool(torch.stack(totals).all()) for totals in by_device.values()):
        return
    name, bad = next((n, t) for n, t in tensors.items() if not bool(t.isfinite().all()))
    flat = bad.detach().flatten().to("cpu", torch.float64)
    wrong = flat[~flat.isfinite()]
    kind = "NaN" if math.isnan(wrong[0].item()) else "infinite"
    count = "" if flat.numel() == 1 else f" in {len(wrong)} of {flat.numel()} elements"
    path = Path(run_path) / f"fault_step_{step}.safetensors"
    try:
        if state := dump():
            atomic.write_tensors(path, state)
        note = f"state at the fault saved to {path}"
    except OSError as error:
        note = f"state at the fault could not be saved: {error}"
    raise TrainingFault(f"step {step}: {name} is {kind}{count}; {note}")

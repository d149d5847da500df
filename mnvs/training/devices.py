"""Devices, processes and number formats of a run, by way of accelerate."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import broadcast_object_list

from training_core.config import ConfigError
from training_core.devices import pick_device

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def make_accelerator(
    device: str = "auto", precision: str = "auto", deterministic: bool = False
) -> Accelerator:
    """accelerate's view of this process; processes are those that its launcher or Slurm started.

    Raises:
        ConfigError: CUDA is asked for and absent, or fp16 on a CPU.
    """
    cpu = pick_device(device, deterministic).type == "cpu"
    chosen = resolve_dtype(precision, cpu)
    # accelerate keeps one state per process for ever; a second run may want another precision.
    if is_initialized() and not AcceleratorState().use_distributed:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=cpu, mixed_precision="no" if chosen == "fp32" else chosen)


def resolve_dtype(precision: str, cpu: bool) -> str:
    """fp32, bf16 or fp16: what ``auto`` stands for here.

    Raises:
        ConfigError: fp16 on a CPU, which has no loss scaling.
    """
    if precision == "auto":
        if cpu:
            return "fp32"
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp16"
    if precision == "fp16" and cpu:
        raise ConfigError("precision=fp16 needs a CUDA device; on a CPU use bf16 or fp32")
    return precision


class AcceleratorProcesses:
    """accelerate's processes, as the training loop asks for them (``training_core.loop``)."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def count(self) -> int:
        return self.accelerator.num_processes

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def any_process(self, flag: bool) -> bool:
        if flag:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def share(self, value: object) -> object:
        values = [value]
        broadcast_object_list(values)
        return values[0]


def frozen_dtype(accelerator: Accelerator) -> torch.dtype:
    """The format of weights that do not train: that of the matrix products."""
    return FORMATS.get(accelerator.mixed_precision, torch.float32)

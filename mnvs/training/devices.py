"""Devices, processes and number formats of a run, by way of accelerate."""

import contextlib
import re
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized

from training_core.config import ConfigError
from training_core.devices import pick_device
from training_core.stopping import Stopped

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# How gloo and NCCL say that the other end of a connection is gone.
LOST_PEER = re.compile(r"connection (closed|reset)|broken pipe|gloo|nccl|remote process", re.I)


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

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def any_process(self, flag: bool) -> bool:
        if flag:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()


@contextlib.contextmanager
def lost_processes_explained(accelerator: Accelerator) -> Iterator[None]:
    """Say in one line that another process has died, where torch tells of a connection.

    Raises:
        Stopped: in that case. The step that could not be finished is lost, the checkpoint is not.
    """
    try:
        yield
    except RuntimeError as error:
        if accelerator.num_processes > 1 and LOST_PEER.search(str(error)):
            lost = (
                "another process of this run has died; everything up to the last checkpoint is kept"
            )
            raise Stopped(lost) from error
        raise


def frozen_dtype(accelerator: Accelerator) -> torch.dtype:
    """The format of weights that do not train: that of the matrix products."""
    return FORMATS.get(accelerator.mixed_precision, torch.float32)

"""Which device a run computes on, how it is set up, and how much memory it took."""

import ctypes
import functools
import os
import resource
from collections.abc import Mapping
from pathlib import Path

import torch

from training_core.config import ConfigError

# Parameters of glibc's mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_CPU_FACTS = Path("/proc/cpuinfo")


@functools.cache
def cpu_fact(name: str) -> str:
    """What Linux on x86 says of the first processor, such as its "model name" or "vendor_id"; empty
    where it says nothing.
    """
    try:
        lines = _CPU_FACTS.read_text().splitlines()
    except OSError:
        return ""
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(name)), "")


def prepare_cpu(threads: int = 0) -> None:
    """Set the number of CPU threads (0 = leave it) and keep freed memory within the process.

    glibc hands large tensors back to the system as soon as they are freed; the next step then gets
    its memory page by page, zeroed, which was a third to a half of a training step with tensors of
    tens of megabytes. Other C libraries are left as they are.
    """
    if threads:
        torch.set_num_threads(threads)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)


def pick_device(name: str, deterministic: bool = False) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU. Of a run in several
    processes, each takes the device that ``LOCAL_RANK`` names. On CUDA products of every format are
    summed in float32, and those of float32 are no TF32.

    Args:
        deterministic: on CUDA, use kernels that repeat bit for bit, where PyTorch has them (it
            warns where not); on a CPU nothing needs to change.

    Raises:
        ConfigError: CUDA is asked for and absent, or has fewer devices than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but PyTorch finds no CUDA device")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # A launcher may show each process nothing but its own device.
    count = torch.cuda.device_count()
    index = int(os.environ.get("LOCAL_RANK", "0")) if count > 1 else 0
    if index >= count:
        raise ConfigError(f"process {index} of this machine has no GPU: there are {count}")
    # As on a CPU: sums of products in float32, and float32 where that is asked for.
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32 = False
    if deterministic:
        # Read when the first product is computed.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    if index == 0:
        return torch.device("cuda")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor on the device. Through pinned memory where that is a GPU, because a copy out of
    ordinary memory waits until everything that the GPU was told before is done.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetch(values: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Scalars as numbers, by the same names. Waits for a device once, however many there are."""
    there = {name: value.detach() for name, value in values.items() if value.device.type != "cpu"}
    fetched: list[float] = []
    if there:
        fetched = torch.stack([value.double().view(()) for value in there.values()]).tolist()
    numbers = dict(zip(there, fetched, strict=True))
    return {n: numbers[n] if n in numbers else float(value) for n, value in values.items()}


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process has held: of the GPU where one is used, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

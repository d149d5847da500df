"""Which device a run computes on, how it is set up, and how much memory it took."""

import ctypes
import resource
from collections.abc import Mapping

import torch

from training_core.config import ConfigError

# Parameters of glibc's mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


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


def pick_device(name: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: CUDA is asked for and absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but PyTorch finds no CUDA device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


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

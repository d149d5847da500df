"""Which device a run computes on, how it is set up, and how much memory it took."""

import ctypes
import resource

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


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory this process has held: of the GPU where one is used, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

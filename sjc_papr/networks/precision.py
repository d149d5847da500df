"""Which number format the networks compute in."""

import torch

from training_core.devices import cpu_fact


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the hardware multiplies it faster than float32, else float32."""
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Intel's processors are fast in AMX alone; without it, as in many virtual machines, their
        # AVX-512 multiplies float32 at 1.4 times the rate of bfloat16 (docs/papr.md).
        native = torch.cpu._is_amx_tile_supported() or (
            torch.cpu._is_avx512_bf16_supported() and cpu_fact("vendor_id") != "GenuineIntel"
        )
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which matrix products and convolutions run in the chosen format."""
    dtype = resolve_precision(precision, device)
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=dtype)


def compute_dtype(device: torch.device) -> torch.dtype:
    """The format matrix products run in here: autocast's where it is on, else float32."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return torch.float32

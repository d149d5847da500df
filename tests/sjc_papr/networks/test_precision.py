"""Which number format is computed in, where."""

from pathlib import Path

import pytest
import torch

from sjc_papr.networks.precision import autocast, compute_dtype, resolve_precision
from training_core import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_named_is_taken_on_any_device(device: str) -> None:
    assert resolve_precision("float32", torch.device(device)) == torch.float32
    assert resolve_precision("bfloat16", torch.device(device)) == torch.bfloat16


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "vendor", "dtype"),
    [
        (False, False, "AuthenticAMD", torch.float32),
        (True, False, "AuthenticAMD", torch.bfloat16),
        (True, False, None, torch.bfloat16),
        (True, False, "GenuineIntel", torch.float32),
        (True, True, "GenuineIntel", torch.bfloat16),
        (False, True, "GenuineIntel", torch.bfloat16),
    ],
)
def test_auto_is_what_the_processor_multiplies_faster(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    avx512_bf16: bool,
    amx: bool,
    vendor: str | None,
    dtype: torch.dtype,
) -> None:
    facts = tmp_path / "cpuinfo"
    if vendor:
        facts.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: Some CPU\n")
    monkeypatch.setattr(devices, "_CPU_FACTS", facts)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    devices.cpu_fact.cache_clear()
    try:
        assert resolve_precision("auto", CPU) == dtype
    finally:
        devices.cpu_fact.cache_clear()


@pytest.mark.parametrize("native", [False, True])
def test_auto_on_a_gpu_is_bfloat16_only_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    wanted = torch.bfloat16 if native else torch.float32
    assert resolve_precision("auto", torch.device("cuda")) == wanted


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_products_and_convolutions_run_in_it(precision: str, dtype: torch.dtype) -> None:
    matrix, kernel = torch.randn(4, 4), torch.randn(2, 1, 3, 3)
    with autocast(CPU, precision):
        assert compute_dtype(CPU) == dtype
        assert (matrix @ matrix).dtype == dtype
        assert torch.conv2d(torch.randn(1, 1, 5, 5), kernel).dtype == dtype
    assert compute_dtype(CPU) == torch.float32
    assert (matrix @ matrix).dtype == torch.float32


def test_float32_holds_inside_another_format() -> None:
    with autocast(CPU, "bfloat16"), autocast(CPU, "float32"):
        assert compute_dtype(CPU) == torch.float32

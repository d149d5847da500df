"""The benchmark of Zero123 measures the whole step, here of tiny networks."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("diffusers")
from tiny_zero123 import tiny_networks

from sjc_papr.score_models.zero123.config import Zero123Config
from sjc_papr.score_models.zero123.score_model import Zero123


@pytest.fixture(scope="module")
def bench(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("bench_zero123")


def test_it_writes_what_it_timed(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = tiny_networks()
    monkeypatch.setattr(bench, "random_networks", lambda *_: networks)
    output = tmp_path / "bench.json"
    config = bench.BenchConfig(
        render=16, repeats=3, warmup=1, device="cpu", threads=1, output=str(output)
    )
    bench.run(config)
    figures = json.loads(output.read_text())
    parts = [figures[f"{name}_s"] for name in ("encode", "predict_noise", "backward")]
    assert min(parts) > 0.0 and figures["step_s"] == pytest.approx(sum(parts))
    expected = sum(4 * p.numel() for part in networks.parts() for p in part.parameters())
    assert figures["weights_bytes"] == expected


def test_its_step_sends_a_gradient_to_the_render(bench: ModuleType) -> None:
    config = bench.BenchConfig(render=16)
    step = bench.Step(Zero123(tiny_networks(), Zero123Config(), 1.0), config)
    step.encode()
    step.predict()
    gradient = step.backward()
    assert gradient.shape == (3, 16, 16) and gradient.abs().max() > 0.0
    assert torch.isfinite(gradient).all()

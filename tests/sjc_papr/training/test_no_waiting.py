"""A step of fixed shape asks the device for nothing: what a GPU would wait for is counted here.

Two guards. On the CPU, with the checks deferred and the search of fixed shapes as on a GPU, the
operations that read a value are counted. On PyTorch's device ``meta``, whose tensors have no
values at all, anything that reads one raises, whoever asks.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_scene import small_model
from waiting import WaitCounter

from blender_render.dataset.readers import Views
from sjc_papr.data.view_corrections import CorrectionsConfig, corrections_of
from sjc_papr.networks import attention, renderer
from sjc_papr.networks.model import Papr
from sjc_papr.training.config import (
    DensityConfig,
    LossConfig,
    OptimizeConfig,
    PatchConfig,
    RateConfig,
)
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.step_checks import StepChecks
from sjc_papr.training.trainer import Trainer
from training_core.step.guards import TrainingFault

META = torch.device("meta")
STEP: dict[str, Any] = {
    "plain": {},
    "accumulated and clipped": {
        "patches": PatchConfig(size=8, per_step=2, accumulate=2),
        "clip_gradient": 0.1,
    },
    "with SSIM": {"losses": LossConfig(ssim=0.2), "patches": PatchConfig(size=12)},
    "hidden points, coloured background": {"drop_points": 0.3, "vary_background": 0.5},
    "corrected views": {"corrections": CorrectionsConfig(colours=1e-2, poses=1e-3)},
    "density, but not in these steps": {"density": DensityConfig(prune_events=2, grow_events=2)},
}


def gpu_like(
    views: Views,
    folder: Path,
    device: str = "cpu",
    corrections: CorrectionsConfig | None = None,
    **optimize: Any,
) -> Trainer:
    """A trainer that does what it does on a GPU."""
    wrong = corrections or CorrectionsConfig()
    model = small_model(200)
    model.config = replace(model.config, search="fixed", search_candidates=64)
    config = OptimizeConfig(**{"steps": 1000, "patches": PatchConfig(size=8), **optimize})
    trainer = Trainer(
        model.to(device),
        PatchSampler(views, 1.0, config.patches, 0, torch.device(device)),
        config,
        single_stage(RateConfig(), config.steps, wrong.rates()),
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=folder,
        corrections=corrections_of(wrong, len(views)),
    )
    trainer.checks = StepChecks(
        config.dead_patience, folder, model.state_dict, torch.device(device), deferred=True
    )
    return trainer


@pytest.mark.parametrize("kind", STEP)
def test_steady_state_waits_for_nothing(views: Views, tmp_path: Path, kind: str) -> None:
    trainer = gpu_like(views, tmp_path, **STEP[kind])
    trainer.step(0)  # the optimizer makes its state
    with WaitCounter() as counter:
        for step in range(1, 4):
            trainer.step(step)
    assert counter.total == 0, counter.seen


@pytest.mark.parametrize("kind", STEP)
def test_a_step_needs_no_value_from_the_device(
    views: Views, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This device has no autocast.
    monkeypatch.setattr(renderer, "autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(attention, "compute_dtype", lambda _: torch.float32)
    trainer = gpu_like(views, tmp_path, "meta", **STEP[kind])
    # Nor the fused kernel of Adam, which alone takes the verdict; the other test has it.
    assert trainer.checks.voided() is not None
    monkeypatch.setattr(trainer.checks, "voided", lambda: None)
    with WaitCounter("meta") as counter:
        for step in range(3):
            logged = trainer.step(step)
    assert logged["loss/total"].device == META
    # Hidden points and colours are drawn on the processor and sent, which waits for nothing.
    sent = counter.seen.pop("copy between devices", 0)
    assert sent <= (6 if "hidden" in kind else 0)
    assert counter.total == 0, counter.seen


def test_the_step_before_waited(views: Views, tmp_path: Path) -> None:
    """The guard sees what it should: checks at once and the tile search read values."""
    trainer = gpu_like(views, tmp_path)
    trainer.checks.deferred = False
    trainer.model.config = replace(trainer.model.config, search="tiles")
    with WaitCounter() as counter:
        trainer.step(0)
    assert counter.seen["aten::nonzero"] >= 1
    assert counter.seen["aten::_local_scalar_dense"] >= 2


@pytest.mark.parametrize(
    "ask",
    [lambda x: x.item(), lambda x: bool(x), lambda x: x.cpu(), lambda x: torch.nonzero(x)],
)
def test_meta_tensors_refuse_to_tell(ask: Callable[[torch.Tensor], Any]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        ask(torch.ones((), device="meta"))


def test_same_steps_as_on_a_cpu_bit_for_bit(views: Views, tmp_path: Path) -> None:
    """Deferring the checks changes no weight."""
    now, later = gpu_like(views, tmp_path), gpu_like(views, tmp_path)
    later.model.load_state_dict(now.model.state_dict())
    now.checks.deferred = False
    for step in range(5):
        now.step(step)
        later.step(step)
    for one, other in zip(now.model.parameters(), later.model.parameters(), strict=True):
        assert torch.equal(one, other)


def spoil(model: Papr) -> None:
    """The next loss is no number."""
    with torch.no_grad():
        model.unet.leave.bias.fill_(float("nan"))


def test_a_deferred_fault_touches_no_weight_and_no_checkpoint(views: Views, tmp_path: Path) -> None:
    trainer = gpu_like(views, tmp_path)
    for step in range(3):
        trainer.step(step)
    spoil(trainer.model)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for step in range(3, 7):
        trainer.step(step)  # nobody looks
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter.nan_to_num(), before[name].nan_to_num()), name
    with pytest.raises(TrainingFault, match=r"step 3: loss is NaN.*fault_step_3\.safetensors"):
        trainer.tensors()
    with pytest.raises(TrainingFault, match="step 3: loss is NaN"):
        trainer.step(7, measure=True)
    assert (tmp_path / "fault_step_3.safetensors").is_file()


def test_deferred_dead_attention_is_found_at_the_look(views: Views, tmp_path: Path) -> None:
    trainer = gpu_like(views, tmp_path, dead_patience=3)
    with torch.no_grad():
        trainer.model.points.positions += 30.0
    for step in range(8):
        trainer.step(step)
    with pytest.raises(TrainingFault, match=r"step \d+: attention is dead: for 3 steps"):
        trainer.checks.look()


def test_unproven_rays_are_told_once(
    views: Views, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = gpu_like(views, tmp_path)
    trainer.model.config = replace(trainer.model.config, search_candidates=1)
    for step in range(2):
        trainer.step(step, measure=True)
    told = [r for r in caplog.records if "model.search_candidates" in r.getMessage()]
    assert len(told) == 1

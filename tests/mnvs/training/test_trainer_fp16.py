"""Steps with a scaled loss, as fp16 on a GPU has them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from small_training import MadeUpClips, make_trainer

from mnvs.training.trainer import Trainer
from training_core.checkpoint import Checkpoint
from training_core.step.guards import TrainingFault


def with_scaler(trainer: Trainer, scale: float) -> Trainer:
    """As fp16 on a GPU has it: the loss is scaled, overflowing steps are skipped."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
    accelerator: Any = trainer.accelerator
    trainer.optimizer = AcceleratedOptimizer(trainer.optimizer.optimizer, scaler=scaler)
    accelerator.scaler, accelerator._optimizers = scaler, [trainer.optimizer]
    accelerator.native_amp = True
    accelerator.state._mixed_precision = "fp16"
    return trainer


def test_scaled_losses_give_the_same_step(tmp_path: Path) -> None:
    plain, scaled = make_trainer(tmp_path), with_scaler(make_trainer(tmp_path), 2.0**10)
    a, b = plain.step(0), scaled.step(0)
    assert float(a["gradient_norm"]) == pytest.approx(float(b["gradient_norm"]), rel=1e-5)
    for name, parameter in plain.parameters.items():
        torch.testing.assert_close(scaled.parameters[name], parameter, rtol=1e-5, atol=1e-7)


def test_steps_that_overflow_are_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(MadeUpClips):
        def sample(self, step: int, index: int):  # type: ignore[no-untyped-def]
            clip = super().sample(step, index)
            return replace(clip, latents=100.0 * clip.latents)

    trainer = with_scaler(make_trainer(tmp_path, steps=60, clips=Large()), 3e38)
    before = {n: p.detach().clone() for n, p in trainer.parameters.items()}
    trainer.step(0)
    assert trainer.skipped == 1
    assert all(torch.equal(before[n], p) for n, p in trainer.parameters.items())
    scaler: Any = trainer.accelerator.scaler
    assert scaler.get_scale() == pytest.approx(1.5e38)

    # Scale and count travel with a checkpoint.
    tensors, state = trainer.tensors()
    other = with_scaler(make_trainer(tmp_path, steps=60), 1.0)
    other.restore(Checkpoint(1, dict(tensors), json.loads(json.dumps(state))))
    restored: Any = other.accelerator.scaler
    assert restored.get_scale() == pytest.approx(1.5e38) and other.skipped == 1

    monkeypatch.setattr("mnvs.training.trainer._MOST_SKIPPED", 3)
    with pytest.raises(TrainingFault, match="gradients overflowed in 3 steps in a row"):
        for step in range(1, 5):
            scaler.update(3e38)
            trainer.step(step)

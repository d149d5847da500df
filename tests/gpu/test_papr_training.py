"""Training PAPR on the GPU: waits for nothing, repeats, continues exactly, says what is wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import assert_refused
from tiny_scene import TINY_MODEL, small_model

from blender_render.dataset.readers import Views
from sjc_papr import train
from sjc_papr.training.config import DensityConfig, OptimizeConfig, PatchConfig, RateConfig
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.step.guards import TrainingFault

STEPS = 12


def make_trainer(views: Views, folder: Path, device: torch.device, **optimize: Any) -> Trainer:
    torch.manual_seed(0)
    model = small_model(300).to(device)
    values: dict[str, Any] = {"steps": STEPS, "patches": PatchConfig(size=12, per_step=2)}
    config = OptimizeConfig(**(values | optimize))
    return Trainer(
        model,
        PatchSampler(views, 1.0, config.patches, 0, device),
        config,
        single_stage(RateConfig(), config.steps),
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=folder,
    )


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().cpu().clone() for n, p in trainer.model.named_parameters()}


@pytest.fixture
def waiting_forbidden() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def test_steady_state_waits_for_nothing(
    views: Views, tmp_path: Path, cuda: torch.device, request: pytest.FixtureRequest
) -> None:
    trainer = make_trainer(views, tmp_path, cuda, drop_points=0.1, vary_background=0.5)
    trainer.step(0)
    torch.cuda.synchronize()
    request.getfixturevalue("waiting_forbidden")
    for step in range(1, 6):
        trainer.step(step)


def test_the_loss_falls(views: Views, tmp_path: Path, device: torch.device) -> None:
    trainer = make_trainer(views, tmp_path, device, steps=100)
    losses = torch.stack([trainer.step(step)["loss/mse"] for step in range(100)]).cpu()
    assert losses[-15:].mean() < 0.6 * losses[:15].mean()


def test_two_runs_are_equal_with_deterministic_kernels(
    views: Views, tmp_path: Path, device: torch.device, deterministic: None
) -> None:
    runs = []
    for _ in range(2):
        trainer = make_trainer(views, tmp_path, device)
        for step in range(STEPS):
            trainer.step(step)
        runs.append(weights(trainer))
    for name, value in runs[0].items():
        assert torch.equal(value, runs[1][name]), name


def test_a_stopped_run_continues_exactly(
    views: Views, tmp_path: Path, device: torch.device, deterministic: None
) -> None:
    density = DensityConfig(prune_events=1, prune_from=0.5, grow_events=1, grow_from=0.5)
    store, options = CheckpointStore(tmp_path / "checkpoints"), {"density": density}
    whole = make_trainer(views, tmp_path, device, **options)
    for step in range(STEPS):
        whole.step(step)
        if step == 4:
            store.save(step + 1, *whole.tensors())
    again = make_trainer(views, tmp_path, device, **options)
    saved = store.load()
    assert saved is not None and saved.step == 5
    again.restore(saved)
    for step in range(5, STEPS):
        again.step(step)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(again)[name]), name


def test_a_fault_is_found_at_the_next_look(
    views: Views, tmp_path: Path, cuda: torch.device
) -> None:
    trainer = make_trainer(views, tmp_path, cuda)
    trainer.step(0)
    with torch.no_grad():
        trainer.model.unet.leave.bias.fill_(float("nan"))
    before = weights(trainer)
    trainer.step(1)
    trainer.step(2)
    for name, value in weights(trainer).items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name
    with pytest.raises(TrainingFault, match="step 1: loss is NaN"):
        trainer.step(3, measure=True)


def test_out_of_memory_names_the_keys(
    frame: Path, tmp_path: Path, cuda: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        f"data.path={frame}", f"output_root={tmp_path}", "name=big", "log.validate_every=0",
        *TINY_MODEL, "device=cuda", "optimize.steps=3", "optimize.patches.per_step=64",
        "optimize.patches.size=16", "model.attention.width=256",
    ]  # fmt: skip
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)  # 8 MB of an H100
    try:
        assert_refused(train.main, asked, capsys, "out of memory", "optimize.patches.per_step")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_the_command_trains_and_continues(
    frame: Path, tmp_path: Path, device: torch.device
) -> None:
    arguments = [
        f"data.path={frame}", f"output_root={tmp_path}", "name=run", "log.validate_every=0",
        "log.every=2", "log.checkpoint_every=2", *TINY_MODEL, f"device={device.type}",
        "precision=auto",
    ]  # fmt: skip
    assert train.main([*arguments, "optimize.steps=4"]) == 0
    assert train.main([*arguments[:2], "name=more", *arguments[3:], "optimize.steps=6",
                       f"extend={tmp_path}/sjc_papr/run"]) == 0  # fmt: skip
    assert (tmp_path / "sjc_papr/more/metrics.json").is_file()

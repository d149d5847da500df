"""A run of the video UNet that is stopped and continued ends with the same bits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import make_trainer
from torch import Tensor

from mnvs.training.devices import AcceleratorProcesses
from training_core.checkpoint import CheckpointStore
from training_core.config import InputError
from training_core.loop import TrainingLoop
from training_core.run_config import LogConfig
from training_core.run_folder import RunFolder
from training_core.stopping import Stopped, StopSignals

STEPS = 6


class StopAfter(StopSignals):
    """Asks to stop once so many steps are logged."""

    def __init__(self, run: RunFolder, step: int) -> None:
        super().__init__()
        self.run, self.step = run, step

    @property
    def requested(self) -> bool:
        file = self.run.path / "metrics.jsonl"
        return len(file.read_text().splitlines()) >= self.step

    def raise_if_requested(self) -> None:
        if self.requested:
            raise Stopped("stopped here")


def open_run(root: Path) -> RunFolder:
    run = RunFolder(root / "run", (root / "run").exists())
    for folder in (run.checkpoints, run.tensorboard):
        folder.mkdir(parents=True, exist_ok=True)
    return run


def train(root: Path, stop_after: int = 0, **values: Any) -> dict[str, Tensor]:
    """Train, or continue; the tensors of the last checkpoint."""
    run = open_run(root)
    log = LogConfig(every=1, checkpoint_every=4, keep_last=2)
    trainer = make_trainer(root, steps=STEPS, **values)
    stop = StopAfter(run, stop_after) if stop_after else StopSignals()
    loop = TrainingLoop(
        trainer,
        run,
        log,
        stop,
        "test",
        processes=AcceleratorProcesses(trainer.accelerator),
        average=True,
    )
    if stop_after:
        with pytest.raises(Stopped):
            loop.fit()
    else:
        loop.fit()
    saved = CheckpointStore(run.checkpoints).load()
    assert saved is not None
    return saved.tensors


VARIANTS: dict[str, dict[str, Any]] = {
    "adapters with dropout": {"lora__dropout": 0.2, "lora__mode": "full"},
    "network, averaged, in parts": {
        "parameters": "full",
        "ema": 0.9,
        "batch": 2,
        "accumulate": 2,
        "optimizer__kind": "adam",
    },
    "checkpointed": {"gradient_checkpointing": True, "objective__timesteps": "lognormal"},
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=list(VARIANTS))
def test_a_run_stopped_twice_ends_with_the_same_bits(tmp_path: Path, values: Any) -> None:
    straight = train(tmp_path / "a", **values)
    train(tmp_path / "b", stop_after=2, **values)
    torch.randn(3)  # whatever happens between two processes
    train(tmp_path / "b", stop_after=5, **values)
    resumed = train(tmp_path / "b", **values)
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        if not name.startswith("rng."):
            assert torch.equal(tensor, resumed[name]), name
    lines = [
        [json.loads(line) for line in (tmp_path / run / "run/metrics.jsonl").open()]
        for run in ("a", "b")
    ]
    wanted = {"loss/total", "loss/v", "gradient_norm", "rate", "seconds_per_step"}
    assert wanted | {"peak_memory_bytes"} <= lines[0][0].keys()
    for a, b in zip(*lines, strict=True):
        assert a["loss/total"] == b["loss/total"] and a["step"] == b["step"]


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    tensors = [make_trainer(tmp_path, seed=seed) for seed in (0, 1)]
    losses = [float(trainer.step(0)["loss/total"]) for trainer in tensors]
    assert losses[0] != losses[1]


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(InputError, match="checkpoint of step 6 does not fit"):
        train(tmp_path, lora__mode="kq")

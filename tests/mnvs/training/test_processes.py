"""Two processes at the same global batch do what one does."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from moving_dots import write_dots
from processes import finish, start
from small_training import make_trainer
from two_processes import CONTINUED, SHARED, VARIANTS, steps, train

from mnvs.checkpoints.tiny_checkpoint import build_tiny
from mnvs.inference.pipeline import MNVSPipeline
from training_core.checkpoint import CheckpointStore

HELPERS = Path(__file__).parents[1] / "helpers"
# Sums of float32 numbers in another order, over three steps of Adam; losses are about 1.
SPREAD = ["train.parameters=full", "train.shard=true"]
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-4, 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What each of two processes found."""
    finish(start(2, [str(HELPERS / "two_processes.py"), str(folder)]))
    return [torch.load(folder / f"process_{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_equal_one_at_the_same_global_batch(
    both: list[dict[str, Any]], variant: str, tmp_path: Path
) -> None:
    first, second = (found["variants"][variant] for found in both)
    alone = train(tmp_path, variant)
    assert alone.keys() == first.keys() == second.keys()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(
            first[name], value, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
        )


@pytest.mark.slow
def test_spread_weights_continue_bit_for_bit(both: list[dict[str, Any]], folder: Path) -> None:
    for found in both:
        whole, continued = found["variants"][CONTINUED], found["continued"]
        assert continued.keys() == {name for name in whole if not name.endswith(" 0")}
        assert all(torch.equal(value, whole[name]) for name, value in continued.items())
    # In one process, too, though not with the same bits.
    saved = CheckpointStore(folder / "checkpoints").load()
    assert saved is not None
    trainer = make_trainer(folder, **SHARED, **VARIANTS[CONTINUED])
    trainer.restore(saved)
    for name, value in steps(trainer, 1).items():
        torch.testing.assert_close(
            value, whole[name], rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
        )


@pytest.mark.slow
def test_each_process_holds_half_of_spread_weights(both: list[dict[str, Any]]) -> None:
    held, total = zip(*(found["held"] for found in both), strict=True)
    assert sum(held) == total[0] == total[1]
    assert max(held) < 0.51 * total[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "options"), [("svd", []), ("svd", SPREAD), ("animatediff", SPREAD)]
)
def test_the_command_in_two_processes_writes_one_run(
    tmp_path: Path, temporal: str, options: list[str]
) -> None:
    sizes = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 16}
    sizes |= {"layers": 2} if temporal == "animatediff" else {}
    tiny = build_tiny(tmp_path / "tiny", **sizes)
    dots = write_dots(tmp_path / "dots", frames=3)
    arguments = [
        "-m",
        "mnvs.train",
        f"data.paths=[{dots}]",
        f"model.zero123plus={tiny.zero123plus}",
        f"model.temporal={temporal}",
        f"model.temporal_source={getattr(tiny, temporal)}",
        f"output_root={tmp_path}",
        "name=pair",
        "device=cpu",
        "data.frames=3",
        "data.view_size=16",
        "data.condition_size=16",
        "train.steps=2",
        "train.ema=0.5",
        "train.batch=2",
        "train.lora.rank=2",
        "validation.every=2",
        "validation.steps=1",
        "log.every=1",
        *options,
    ]
    finish(start(2, arguments))
    run = tmp_path / "mnvs" / "pair"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]
    assert (run / "metrics.json").is_file()
    if options:
        saved = CheckpointStore(run / "checkpoints").load()
        assert saved is not None
        weights = MNVSPipeline.from_pretrained(run / "pipeline").unet.state_dict()
        averages = {n.removeprefix("ema."): t for n, t in saved.tensors.items() if "ema." in n}
        assert averages and all(torch.equal(weights[name], t) for name, t in averages.items())
    else:
        assert (run / "lora" / "adapter_config.json").is_file()
    assert not (tmp_path / "mnvs" / "pair_001").exists()

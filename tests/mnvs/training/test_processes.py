"""Two processes at the same global batch do what one does."""

import json
from pathlib import Path

import pytest
import torch
from moving_dots import write_dots
from processes import finish, start
from two_processes import VARIANTS, train

from mnvs.checkpoints.tiny_checkpoint import build_tiny

HELPERS = Path(__file__).parents[1] / "helpers"
# Sums of float32 numbers in another order, over three steps of Adam; losses are about 1.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-4, 2e-5


@pytest.mark.slow
def test_two_processes_equal_one_at_the_same_global_batch(tmp_path: Path) -> None:
    finish(start(2, [str(HELPERS / "two_processes.py"), str(tmp_path)]))
    first, second = (torch.load(tmp_path / f"process_{rank}.pt") for rank in range(2))
    for variant in VARIANTS:
        alone = train(tmp_path, variant)
        assert alone.keys() == first[variant].keys() == second[variant].keys()
        for name, value in alone.items():
            assert torch.equal(first[variant][name], second[variant][name]), name
            torch.testing.assert_close(
                first[variant][name], value, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
            )


@pytest.mark.slow
def test_the_command_in_two_processes_writes_one_run(tmp_path: Path) -> None:
    sizes = {"unet_channels": [32, 32], "heads": [2, 2], "width": 32, "view_size": 16}
    tiny = build_tiny(tmp_path / "tiny", **sizes)
    dots = write_dots(tmp_path / "dots", frames=3)
    arguments = [
        "-m",
        "mnvs.train",
        f"data.paths=[{dots}]",
        f"model.zero123plus={tiny.zero123plus}",
        f"model.temporal_source={tiny.svd}",
        f"output_root={tmp_path}",
        "name=pair",
        "device=cpu",
        "data.frames=3",
        "data.view_size=16",
        "data.condition_size=16",
        "train.steps=2",
        "train.batch=2",
        "train.lora.rank=2",
        "validation.every=2",
        "validation.steps=1",
        "log.every=1",
    ]
    finish(start(2, arguments))
    run = tmp_path / "mnvs" / "pair"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]
    assert (run / "metrics.json").is_file() and (run / "lora" / "adapter_config.json").is_file()
    assert not (tmp_path / "mnvs" / "pair_001").exists()

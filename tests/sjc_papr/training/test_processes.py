"""PAPR in two processes at the same global batch does what one does."""

import json
from pathlib import Path

import pytest
import torch
from processes import ROOT, finish, start
from tiny_novel import make_novel, novel_config
from tiny_scene import TINY_MODEL, small_model
from two_papr import CONFIG, train

from blender_render.dataset.readers import Views
from sjc_papr.training.config import PatchConfig
from sjc_papr.training.gradients import average_gradients
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer
from training_core.config import ConfigError
from training_core.step.processes import OneProcess

HELPER = ROOT / "tests/sjc_papr/helpers/two_papr.py"
# Sums of float32 numbers in another order, over six steps of Adam with a change of density.
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-4


class TwoOnPaper(OneProcess):
    """Says that it is the first of two."""

    count = 2


def test_a_process_sends_zeros_for_what_its_patches_do_not_touch() -> None:
    class Halved(TwoOnPaper):
        def average(self, values: torch.Tensor) -> None:
            self.sent = values.clone()
            values *= 0.5

    touched, other, frozen = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    touched.grad = torch.tensor([2.0, 4.0])
    optimizer = torch.optim.Adam([touched, other, frozen])
    processes = Halved()
    numbers = average_gradients(optimizer, torch.tensor([6.0]), processes)
    assert processes.sent.tolist() == [2.0, 4.0, 0.0, 0.0, 6.0] and numbers.tolist() == [3.0]
    assert touched.grad.tolist() == [1.0, 2.0] and frozen.grad is None
    assert other.grad is not None and other.grad.tolist() == [0.0, 0.0]


@pytest.mark.slow
def test_two_processes_equal_one_and_each_other(tmp_path: Path) -> None:
    finish(start(2, [str(HELPER), str(tmp_path)]))
    first, second = (torch.load(tmp_path / f"process_{rank}.pt") for rank in range(2))
    alone = train(tmp_path)
    assert alone.keys() == first.keys() == second.keys()
    assert len(alone["points.positions"]) not in (150, 170)  # some were dropped, some added
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(
            first[name], value, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
        )


@pytest.mark.slow
def test_the_command_in_two_processes_writes_one_run_and_continues(
    frame: Path, tmp_path: Path
) -> None:
    arguments = [
        "-m", "sjc_papr.train", f"data.path={frame}", f"output_root={tmp_path}", "name=pair",
        *TINY_MODEL, "optimize.patches.size=8", "optimize.patches.per_step=2", "log.every=1",
        "log.checkpoint_every=2", "log.validate_every=2",
    ]  # fmt: skip
    finish(start(2, [*arguments, "optimize.steps=3"]))
    run = tmp_path / "sjc_papr" / "pair"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "loss/total" in line] == [1, 2, 3]
    assert (run / "metrics.json").is_file()
    assert not (tmp_path / "sjc_papr" / "pair_001").exists()
    odd = [*arguments, "optimize.steps=3", "optimize.patches.per_step=3", "name=odd"]
    for said in finish(start(2, odd), code=2):
        assert "per_step=3 is no multiple of the number of processes, 2" in said


def test_patches_of_two_processes_are_those_of_one(views: Views) -> None:
    config = PatchConfig(size=6, per_step=4, accumulate=2)
    whole, *halves = (
        list(PatchSampler(views, 1.0, config, 3, None, share).sample(5))
        for share in ((0, 1), (0, 2), (1, 2))
    )
    for (rays, colours), first, second in zip(whole, *halves, strict=True):
        assert torch.equal(colours, torch.cat([first[1], second[1]]))
        assert torch.equal(rays.directions, torch.cat([first[0].directions, second[0].directions]))


def test_losses_on_novel_views_refuse_several_processes(views: Views, tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(ConfigError, match="train in one process"):
        Trainer(
            model,
            PatchSampler(views, 1.0, CONFIG.patches, 0),
            CONFIG,
            single_stage(CONFIG.rates, CONFIG.steps),
            background=1.0,
            precision="float32",
            seed=0,
            fault_folder=tmp_path,
            auxiliary=make_novel(model, novel_config("near"), views),
            processes=TwoOnPaper(),
        )

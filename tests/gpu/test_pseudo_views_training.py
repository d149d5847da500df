"""The view network trains on the GPU as on the CPU, and PAPR learns from its pictures there."""

from pathlib import Path

import pytest
import torch
from pseudo_data import TINY_VIEWS, known_views, other_cameras
from tiny_scene import draw_sphere, small_model, sphere_views

from sjc_papr.data.input_checks import pick_views
from sjc_papr.data.view_corrections import CorrectionsConfig, corrections_of
from sjc_papr.pseudo_views.config import TrainPseudoViewsConfig, ViewOptimizeConfig
from sjc_papr.pseudo_views.gathering import gather
from sjc_papr.pseudo_views.samples import ViewDrawer, ViewSample
from sjc_papr.pseudo_views.trainer import ViewTrainer, view_quality
from sjc_papr.training.config import OptimizeConfig, PatchConfig, RateConfig
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer


def samples() -> list[ViewSample]:
    views = known_views()
    return [
        ViewSample(
            f"ball/0/{number}",
            "ball",
            gather(views, camera),
            (255.0 * torch.tensor(draw_sphere(camera)[0])).round().byte(),
        )
        for number, camera in enumerate(other_cameras())
    ]


def test_the_view_network_learns_as_on_the_cpu(tmp_path: Path, cuda: torch.device) -> None:
    quality = []
    for device in ("cpu", "cuda"):
        config = TrainPseudoViewsConfig(device=device, precision="float32", network=TINY_VIEWS)
        config.optimize = ViewOptimizeConfig(steps=6, batch=2)
        trainer = ViewTrainer(config, ViewDrawer(samples(), True, 0), tmp_path)
        losses = [trainer.step(step)["loss/total"].item() for step in range(6)]
        quality.append([*losses, *view_quality(trainer.network, samples()).values()])
    assert quality[1] == pytest.approx(quality[0], rel=1e-2)


def test_papr_learns_from_pseudo_views_and_corrects_the_true_ones(
    tmp_path: Path, cuda: torch.device
) -> None:
    torch.manual_seed(0)
    views, config = sphere_views(8), OptimizeConfig(steps=40, patches=PatchConfig(size=12))
    wrong, few = CorrectionsConfig(colours=1e-2, poses=1e-3), pick_views(views, [0, 1, 2])
    made = pick_views(views, [3, 4, 5, 6, 7])
    trainer = Trainer(
        small_model(300).to(cuda),
        PatchSampler(few, 1.0, config.patches, 0, cuda, pseudo=made, pseudo_share=0.5),
        config,
        single_stage(RateConfig(), config.steps, wrong.rates()),
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=tmp_path,
        corrections=corrections_of(wrong, len(few)),
    )
    losses = [trainer.step(step)["loss/mse"].item() for step in range(40)]
    assert sum(losses[-10:]) < sum(losses[:10])

"""After training on images alone, the depth that attention gives is the sphere's."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_scene import cameras, draw_sphere, small_config
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render_cameras
from sjc_papr.training.config import OptimizeConfig, PatchConfig, PointsConfig
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.point_init import initial_points
from sjc_papr.training.trainer import Trainer

SIZE = (40, 32)
STEPS = 180


def drawn(count: int, seed: int, *, with_depth: bool) -> Views:
    """Images of the sphere; those to train on come without depth."""
    rig = cameras(count, SIZE, seed)
    images, depths = zip(*[draw_sphere(camera) for camera in rig], strict=True)
    images = torch.tensor(np.stack(images), dtype=torch.float32)
    depth = torch.tensor(np.stack(depths), dtype=torch.float32) if with_depth else None
    return Views(images, rig, depth, tuple(map(str, range(count))))


def inner(depth: Tensor) -> Tensor:
    """Pixels [N, H, W] whose eight neighbours all show the sphere too."""
    empty = (depth <= 0.0).float()[:, None]
    return F.max_pool2d(empty, 3, stride=1, padding=1)[:, 0] == 0.0


def relative_error(predicted: Tensor, truth: Tensor) -> float:
    """Mean absolute relative error over inner pixels."""
    seen = inner(truth)
    return ((predicted - truth).abs()[seen] / truth[seen]).mean().item()


def depth_of(model: Papr, views: Views) -> Tensor:
    return torch.cat([output.depth for output in render_cameras(model, views.cameras)])


def trained_model(train: Views, held_out: Views, folder: Path, seed: int) -> tuple[Papr, float]:
    """A model after training, and its error before.

    Three points in five start inside the sphere, where they are wrong. Attention must learn to
    look at the surface from colours and silhouettes.
    """
    config = small_config(background_score=5.0, bandwidth=1.0, occlusion=1.0)
    config.neighbours = 20
    start = PointsConfig(init="hull", count=4000, hull_resolution=64, hull_interior=0.6)
    model = Papr(config, initial_points(train, start, config.point_features, seed))
    assert held_out.depth is not None
    before = relative_error(depth_of(model, held_out), held_out.depth)
    optimize = OptimizeConfig(steps=STEPS, patches=PatchConfig(size=20))
    trainer = Trainer(
        model,
        PatchSampler(train, 1.0, optimize.patches, seed),
        optimize,
        single_stage(optimize.rates, STEPS),
        background=1.0,
        precision="float32",
        seed=seed,
        fault_folder=folder,
    )
    for step in range(STEPS):
        trainer.step(step)
    return model, before


@pytest.mark.slow
def test_depth_from_attention_is_within_one_percent(tmp_path: Path) -> None:
    held_out = drawn(4, 5, with_depth=True)
    assert held_out.depth is not None
    model, before = trained_model(drawn(20, 0, with_depth=False), held_out, tmp_path, seed=0)
    error = relative_error(depth_of(model, held_out), held_out.depth)
    # What no geometry at all would reach: every inner pixel at the mean depth.
    seen = inner(held_out.depth)
    flat = torch.full_like(held_out.depth, held_out.depth[seen].mean().item())
    constant = relative_error(flat, held_out.depth)
    assert seen.sum() > 500
    assert error < 0.01
    assert error < 0.8 * before and before > 0.011
    assert error < 0.6 * constant and constant > 0.015

"""The training step: it learns, stops when sick, leaves resting groups alone, resumes exactly."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_scene import small_model
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.networks.model import Papr
from sjc_papr.training.config import (
    DensityConfig,
    LossConfig,
    OptimizeConfig,
    PatchConfig,
    RateConfig,
)
from sjc_papr.training.losses import Losses
from sjc_papr.training.lr_schedule import GROUPS, LRSchedule, Phase, single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore
from training_core.step.guards import TrainingFault


def make_trainer(
    model: Papr, views: Views, folder: Path, rates: LRSchedule | None = None, **optimize: Any
) -> Trainer:
    """A trainer of 100 steps of 10 pixel patches."""
    values = {"steps": 100, "patches": PatchConfig(size=10), **optimize}
    config = OptimizeConfig(**values)
    return Trainer(
        model,
        PatchSampler(views, 1.0, config.patches, seed=0),
        config,
        rates or single_stage(RateConfig(), config.steps),
        background=1.0,
        precision="float32",
        seed=0,
        fault_folder=folder,
        model_terms=None,
    )


def snapshot(model: Papr) -> dict[str, list[Tensor]]:
    """Copies of all parameters by group."""
    return {name: [p.detach().clone() for p in group] for name, group in model.groups().items()}


def changed(before: dict[str, list[Tensor]], model: Papr) -> set[str]:
    """Groups of which any bit changed."""
    return {
        name
        for name, group in model.groups().items()
        if not all(torch.equal(a, b) for a, b in zip(before[name], group, strict=True))
    }


def test_loss_falls(views: Views, tmp_path: Path) -> None:
    trainer = make_trainer(small_model(200), views, tmp_path)
    losses = [trainer.step(step)["loss/mse"].item() for step in range(100)]
    assert sum(losses[-15:]) < 0.5 * sum(losses[:15])


def test_every_group_trains(views: Views, tmp_path: Path) -> None:
    model = small_model()
    before = snapshot(model)
    trainer = make_trainer(model, views, tmp_path)
    for step in range(3):
        logged = trainer.step(step)
    assert changed(before, model) == set(GROUPS)
    assert logged["gradient_norm"] > 0.0 and logged["loss/total"].isfinite()


@pytest.mark.parametrize("still", GROUPS)
def test_a_group_at_rate_zero_keeps_every_bit(views: Views, tmp_path: Path, still: str) -> None:
    model = small_model()
    before = snapshot(model)
    rates = single_stage(replace(RateConfig(), **{still: 0.0}), 100)
    trainer = make_trainer(model, views, tmp_path, rates)
    for step in range(3):
        trainer.step(step)
    assert changed(before, model) == set(GROUPS) - {still}


def test_groups_rest_between_their_stages(views: Views, tmp_path: Path) -> None:
    """Adam's momentum would carry a group on; a resting one must not move, nor lose its moments."""
    model = small_model()
    stages = [Phase(3, {name: 1e-2}, 0, 1.0) for name in ("positions", "features", "positions")]
    trainer = make_trainer(model, views, tmp_path, LRSchedule(stages))
    for first, moving in ((0, "positions"), (3, "features"), (6, "positions")):
        before = snapshot(model)
        for step in range(first, first + 3):
            trainer.step(step)
        assert changed(before, model) == {moving}
    assert int(trainer.optimizer.state[model.points.positions]["step"]) == 6


def silence(model: Papr) -> None:
    """Make the match of every key and query negative."""
    with torch.no_grad():
        for layer, bias in ((model.attention.project_key, -1.0),):
            layer.weight.zero_()
            layer.bias.fill_(bias)
        model.attention.project_query.weight.zero_()
        model.attention.project_query.bias.fill_(1.0)


def test_dead_relu_attention_stops_with_a_message(views: Views, tmp_path: Path) -> None:
    model = small_model(score_activation="relu", proximity=False)
    silence(model)
    trainer = make_trainer(model, views, tmp_path, dead_patience=4)
    with pytest.raises(TrainingFault, match=r"attention is dead.*score_activation=softplus"):
        for step in range(100):
            trainer.step(step)
    assert trainer.checks.dead_steps == 4


def test_influence_of_zero_that_cannot_learn_is_dead(views: Views, tmp_path: Path) -> None:
    model = small_model(proximity=False)
    torch.nn.init.zeros_(model.points.influence)
    rates = single_stage(replace(RateConfig(), influence=0.0), 100)
    trainer = make_trainer(model, views, tmp_path, rates, dead_patience=4)
    with pytest.raises(TrainingFault, match="attention is dead"):
        for step in range(100):
            trainer.step(step)


def test_points_far_from_the_object_are_dead(views: Views, tmp_path: Path) -> None:
    model = small_model(proximity=True)
    with torch.no_grad():
        model.points.positions += 30.0
    trainer = make_trainer(model, views, tmp_path, dead_patience=4)
    with pytest.raises(TrainingFault, match="attention is dead"):
        for step in range(100):
            trainer.step(step)


def test_patches_without_an_object_do_not_count_as_dead(views: Views, tmp_path: Path) -> None:
    empty = replace(views, images=torch.zeros_like(views.images))
    model = small_model(score_activation="relu", proximity=False)
    silence(model)
    trainer = make_trainer(model, empty, tmp_path, dead_patience=2)
    for step in range(5):
        trainer.step(step)
    assert trainer.checks.dead_steps == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_numbers_stop_before_they_reach_a_weight(
    views: Views, tmp_path: Path, value: float
) -> None:
    model = small_model()
    trainer = make_trainer(model, views, tmp_path)
    trainer.step(0)
    with torch.no_grad():
        model.points.features[:, 0] = value
    before = snapshot(model)
    with pytest.raises(TrainingFault, match=r"step 1: loss is NaN|step 1: loss is infinite"):
        trainer.step(1)
    for name, tensors in snapshot(model).items():
        for now, old in zip(tensors, before[name], strict=True):
            assert torch.equal(now.nan_to_num(), old.nan_to_num())
    assert (tmp_path / "fault_step_1.safetensors").is_file()


def test_gradients_are_clipped_together(views: Views, tmp_path: Path) -> None:
    model = small_model()
    trainer = make_trainer(model, views, tmp_path, clip_gradient=1e-4)
    logged = trainer.step(0)
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert logged["gradient_norm"] > 1e-3, "the norm before clipping is logged"
    assert norm.item() == pytest.approx(1e-4, rel=1e-2)


def test_terms_on_the_model_are_weighted_and_logged(views: Views, tmp_path: Path) -> None:
    trainer = make_trainer(small_model(), views, tmp_path)
    trainer.model_terms = {"size": (10.0, lambda model: model.points.positions.square().mean())}
    logged = trainer.step(0)
    expected = logged["loss/mse"] + 10.0 * logged["loss/size"]
    assert logged["loss/total"].item() == pytest.approx(expected.item())


DENSITY = DensityConfig(
    prune_events=3,
    prune_from=0.1,
    prune_until=0.8,
    prune_below=0.98,
    grow_events=2,
    grow_from=0.2,
    grow_until=0.6,
    grow_count=15,
)


@pytest.mark.parametrize("k", [1, 5, 12, 19])
def test_n_steps_equal_k_steps_a_checkpoint_and_the_rest(
    views: Views, tmp_path: Path, k: int
) -> None:
    def start(seed: int) -> Trainer:
        torch.manual_seed(seed)
        model = small_model(60)
        return make_trainer(model, views, tmp_path, steps=20, density=DENSITY, dead_patience=50)

    def finish(trainer: Trainer, first: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        for step in range(first, 20):
            trainer.step(step)
        return trainer.tensors()

    straight, straight_state = finish(start(0), 0)
    stopped = start(0)
    for step in range(k):
        stopped.step(step)
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(k, *stopped.tensors())

    fresh = start(1)
    saved = store.load()
    assert saved is not None
    fresh.restore(saved)
    resumed, resumed_state = finish(fresh, saved.step)
    assert resumed.keys() == straight.keys()
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name
    assert resumed_state == straight_state
    assert len(straight["model.points.influence"]) != 60, "no point was added or dropped"


def test_a_factor_on_every_loss_is_no_other_training(views: Views, tmp_path: Path) -> None:
    """Adam divides it out: large loss weights are no reason for small rates."""
    model = small_model(60)
    plain, scaled = (make_trainer(deepcopy(model), views, tmp_path) for _ in range(2))
    scaled.losses = Losses(LossConfig(mse=1e5))
    for step in range(3):
        plain.step(step)
        scaled.step(step)
    for ours, theirs in zip(plain.model.parameters(), scaled.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_accumulated_batches_give_the_gradient_of_one_large_batch(
    views: Views, tmp_path: Path
) -> None:
    gradients = []
    for shape in ({"per_step": 4}, {"per_step": 2, "accumulate": 2}, {"accumulate": 4}):
        torch.manual_seed(0)
        model = small_model()
        patches = PatchConfig(size=10, **shape)
        trainer = make_trainer(model, views, tmp_path, patches=patches)
        logged = trainer.step(0)
        gradients.append([p.grad for p in model.parameters()])
        assert logged["loss/mse"].item() == pytest.approx(first_loss := logged["loss/total"].item())
        assert first_loss > 0.0
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_gradient_norms_by_group_make_up_the_whole(views: Views, tmp_path: Path) -> None:
    trainer = make_trainer(small_model(), views, tmp_path, clip_gradient=1e-3)
    logged = trainer.step(0)
    groups = torch.stack([logged[f"gradient_norm/{name}"] for name in GROUPS])
    assert logged["gradient_norm"].item() == pytest.approx(groups.norm().item())
    clipped = torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm()
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)

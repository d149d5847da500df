"""Steps with losses on views without images: when, at what cost, and beside everything else."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_novel import (
    MODES,
    STEPS,
    TERMS,
    make_novel,
    make_trainer,
    mode_name,
    novel_config,
    with_near,
)
from tiny_scene import small_model
from torch import Tensor

from blender_render.dataset.readers import Views
from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import RenderOutput, render
from sjc_papr.novel_view import losses as novel_module
from sjc_papr.novel_view.config import NovelConfig
from sjc_papr.training.config import PatchConfig, RateConfig
from sjc_papr.training.losses import Losses
from sjc_papr.training.lr_schedule import GROUPS
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore

# What is off costs nothing and changes nothing.


def test_a_step_without_terms_is_the_plain_one(views: Views, tmp_path: Path) -> None:
    """Bit for bit what rendering a patch, its loss and Adam give."""
    trainer = make_trainer(views, tmp_path, novel_config())
    assert trainer.auxiliary is None and trainer.divergence is None
    torch.manual_seed(0)
    model = small_model(60)
    groups = [{"params": g, "name": name, "lr": 0.0} for name, g in model.groups().items()]
    adam, losses = torch.optim.Adam(groups, eps=1e-15, fused=True), Losses(trainer.config.losses)
    for step in range(STEPS):
        trainer.step(step, measure=True)
        for group in adam.param_groups:
            group["lr"] = trainer.rates(group["name"], step)
        adam.zero_grad(set_to_none=True)
        for rays, target in trainer.sampler.sample(step):
            losses(render(model, rays, background=1.0).rgb, target)[0].backward()
        adam.step()
    for (name, ours), theirs in zip(
        trainer.model.named_parameters(), model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def count_renders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pixels of each call of ``render``, in order."""
    sizes: list[int] = []

    def counted(model: Papr, rays: Any, **settings: Any) -> RenderOutput:
        sizes.append(rays.directions[..., 0].numel())
        return render(model, rays, **settings)

    monkeypatch.setattr("sjc_papr.training.trainer.render", counted)
    monkeypatch.setattr(novel_module, "render", counted)
    return sizes


def test_views_are_rendered_once(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_renders(monkeypatch)
    patch, novel = 10 * 10, 16 * 13
    for terms, mode, expected in (
        ((), {}, [patch]),
        (("sjc", "smooth"), {}, [patch, novel]),
        (TERMS, {}, [patch, novel, novel]),
        (TERMS, {"mode": "paired_l1"}, [patch, novel, novel]),
        (("near",), {"mode": "eq1_gt", "neighbours": 2}, [patch, novel, novel, novel]),
    ):
        sizes.clear()
        trainer = make_trainer(views, tmp_path, with_near(novel_config(*terms), mode))
        trainer.step(0, measure=True)
        assert sizes == expected


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_moves_the_points(views: Views, tmp_path: Path, term: str) -> None:
    runs = [make_trainer(views, tmp_path, novel_config(*terms)) for terms in ((), (term,))]
    for trainer in runs:
        trainer.step(0)
        trainer.step(1)
    plain, ours = (trainer.model.points for trainer in runs)
    assert not torch.equal(plain.positions, ours.positions)
    assert not torch.equal(plain.influence, ours.influence)
    # Depth has no colour: the UNet hears of smoothing only through what moved.
    first = [make_trainer(views, tmp_path, novel_config(*terms)) for terms in ((), (term,))]
    for trainer in first:
        trainer.step(0)
    same = all(
        torch.equal(a, b) for a, b in zip(*(t.model.unet.parameters() for t in first), strict=True)
    )
    assert same is (term == "smooth")


@pytest.mark.parametrize("mode", MODES, ids=mode_name)
def test_measuring_does_not_change_the_step(
    views: Views, tmp_path: Path, mode: dict[str, Any]
) -> None:
    runs = [make_trainer(views, tmp_path, with_near(novel_config(*TERMS), mode)) for _ in range(2)]
    for step in range(3):
        for trainer, measure in zip(runs, (False, True), strict=True):
            trainer.step(step, measure=measure)
    assert_same(*runs)


def assert_same(ours: Trainer, theirs: Trainer) -> None:
    (a, a_state), (b, b_state) = ours.tensors(), theirs.tensors()
    assert a.keys() == b.keys() and a_state == b_state
    for name in a:
        assert torch.equal(a[name], b[name]), name


# Memory.


_NODES: list[weakref.ref[Any]] = []


class _Traced(torch.autograd.Function):
    """The identity, as a graph node whose end can be seen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        token = torch.nn.Module()
        ctx.token = token
        _NODES.append(weakref.ref(token))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def living_graphs(
    views: Views, monkeypatch: pytest.MonkeyPatch, config: NovelConfig, measure: bool
) -> list[int]:
    """How many novel graphs are alive when each render begins, and after the last backward."""
    _NODES.clear()
    alive: list[int] = []

    def count() -> None:
        alive.append(sum(node() is not None for node in _NODES))

    def traced(*arguments: Any, **settings: Any) -> RenderOutput:
        count()
        output = render(*arguments, **settings)
        return replace(output, rgb=_Traced.apply(output.rgb))

    monkeypatch.setattr(novel_module, "render", traced)
    make_novel(small_model(60), config, views).backward(0, measure=measure)
    count()
    return alive


@pytest.mark.parametrize("measure", [False, True])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (MODES[0], [0, 1, 0]),  # gradients go to both views: nothing to be done
        (MODES[1], [0, 0, 0]),
        (MODES[2], [0, 0, 0]),
        (MODES[3], [0, 0, 0, 0, 0]),
    ],
    ids=["paired", "paired_stop", "pseudo", "gt"],
)
def test_one_graph_at_a_time(
    views: Views,
    monkeypatch: pytest.MonkeyPatch,
    mode: dict[str, Any],
    expected: list[int],
    measure: bool,
) -> None:
    config = with_near(novel_config(*TERMS), mode)
    assert living_graphs(views, monkeypatch, config, measure) == expected


# When.


def test_terms_come_every_so_many_steps(views: Views, tmp_path: Path) -> None:
    config = novel_config("sjc", "smooth", every=2)
    config.sjc.every, config.sjc.from_share = 2, 0.5
    trainer = make_trainer(views, tmp_path, config, steps=16)
    trainer.auxiliary.steps = 16
    logged = [trainer.step(step) for step in range(16)]
    found = {name: [i + 1 for i, x in enumerate(logged) if f"loss/{name}" in x] for name in TERMS}
    assert found == {"smooth": [2, 4, 6, 8, 10, 12, 14, 16], "sjc": [12, 16], "near": []}


def test_a_step_between_them_is_the_plain_one(views: Views, tmp_path: Path) -> None:
    plain = make_trainer(views, tmp_path, None)
    rare = make_trainer(views, tmp_path, novel_config(*TERMS, every=7))
    for step in range(6):
        plain.step(step)
        rare.step(step)
    for a, b in zip(plain.model.parameters(), rare.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_pictures_grow_with_the_run(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = count_renders(monkeypatch)
    config = novel_config("smooth")
    config.resolutions = [8, 12, 20]
    novel = make_novel(small_model(60), config, views)
    for step in range(STEPS):
        novel.backward(step, measure=False)
    # 20 x 16 images; sides below 8 are not made.
    assert sizes == [8 * 8] * 4 + [12 * 10] * 3 + [20 * 16] * 3


def test_sjcs_weight_rises(views: Views) -> None:
    config = novel_config("sjc")
    config.sjc.from_share, config.sjc.ramp_share = 0.2, 0.4
    novel = make_novel(small_model(60), config, views)
    logged = [novel.backward(step, measure=False).logged for step in range(STEPS)]
    weights = [float(values.get("sjc/weight", 0.0)) for values in logged]
    expected = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert weights == pytest.approx([0.5 * share for share in expected])


# With the rest of training.


FROZEN = [{name: 0.0} for name in GROUPS] + [
    {name: 0.0 for name in GROUPS if name != "renderer"},
    {name: 0.0 for name in GROUPS if name != "positions"},
]


@pytest.mark.parametrize("still", FROZEN, ids=lambda s: "_".join(s))
def test_groups_at_rate_zero_keep_every_bit(
    views: Views, tmp_path: Path, still: dict[str, float]
) -> None:
    trainer = make_trainer(views, tmp_path, novel_config(*TERMS), replace(RateConfig(), **still))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    for step in range(2):
        trainer.step(step, measure=True)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    for group, parameters in trainer.model.groups().items():
        same = [torch.equal(p, before[names[id(p)]]) for p in parameters]
        assert all(same) if group in still else not all(same), group


def test_accumulated_batches_have_the_gradient_norm_of_one_large_batch(
    views: Views, tmp_path: Path
) -> None:
    """Or SJC, balanced by that norm, would weigh less where memory is short."""
    norms = []
    for shape in ({"per_step": 4}, {"per_step": 2, "accumulate": 2}, {"accumulate": 4}):
        patches = PatchConfig(size=10, **shape)
        trainer = make_trainer(views, tmp_path, novel_config("sjc"), patches=patches)
        norms.append(trainer.step(0)["picture_gradient/photometric"].item())
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-3) and norms[0] > 0.0


@pytest.mark.parametrize("k", [1, 5])
def test_n_steps_equal_k_steps_a_checkpoint_and_the_rest(
    views: Views, tmp_path: Path, k: int
) -> None:
    config = novel_config(*TERMS)
    config.balance.kind, config.watch.restarts = "gradient_norm", 2

    def run(trainer: Trainer, first: int, last: int) -> Trainer:
        for step in range(first, last):
            trainer.step(step)
        return trainer

    straight = run(make_trainer(views, tmp_path, config), 0, STEPS)
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(k, *run(make_trainer(views, tmp_path, config), 0, k).tensors())
    saved = store.load()
    assert saved is not None
    fresh = make_trainer(views, tmp_path, config, seed=1)
    fresh.restore(saved)
    assert_same(run(fresh, k, STEPS), straight)
    assert straight.auxiliary.balance.means["sjc"] > 0.0

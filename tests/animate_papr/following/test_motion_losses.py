"""Motion terms: equal to plain loops, blind to the motions they allow."""

import math

import pytest
import torch
from tiny_animation import small_model
from torch import Tensor

from animate_papr.following.config import MotionConfig
from animate_papr.following.motion_losses import MotionTerms, motion_terms
from sjc_papr.networks.model import Papr


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def moved_model(positions: Tensor) -> Papr:
    model = small_model(len(positions))
    with torch.no_grad():
        model.points.positions.copy_(positions)
    return model


def test_terms_equal_loops() -> None:
    before, after, k = torch.randn(20, 3), torch.randn(20, 3), 4
    near = [
        sorted(((before[i] - before[j]).norm().item(), j) for j in range(20) if j != i)[:k]
        for i in range(20)
    ]
    unit = sum(d * d for row in near for d, _ in row) / (20 * k)
    smooth = rigid = 0.0
    for i, row in enumerate(near):
        mean = sum(after[j] - before[j] for _, j in row) / k
        smooth += ((after[i] - before[i] - mean) ** 2).sum().item() / 20
        for distance, j in row:
            rigid += ((after[i] - after[j]).norm().item() - distance) ** 2 / (20 * k)
    terms, model = MotionTerms(before, k), moved_model(after)
    assert terms.smooth(model).item() == pytest.approx(smooth / unit, rel=1e-4)
    assert terms.rigid(model).item() == pytest.approx(rigid / unit, rel=1e-4)


def test_translation_costs_nothing_and_rotation_is_rigid() -> None:
    before = torch.randn(50, 3)
    terms = MotionTerms(before, 6)
    shifted = moved_model(before + torch.tensor([0.3, -0.2, 0.5]))
    assert terms.smooth(shifted) < 1e-9 and terms.rigid(shifted) < 1e-9
    c, s = math.cos(0.7), math.sin(0.7)
    turned = moved_model(before @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))
    assert terms.rigid(turned) < 1e-9
    assert terms.smooth(turned) > 1e-3
    scaled = moved_model(before * 1.1)
    assert terms.rigid(scaled) > 1e-3


def test_terms_do_not_depend_on_the_unit_of_length() -> None:
    before, after = torch.randn(30, 3), torch.randn(30, 3)
    for name in ("smooth", "rigid"):
        here = getattr(MotionTerms(before, 5), name)(moved_model(after))
        there = getattr(MotionTerms(before * 40.0, 5), name)(moved_model(after * 40.0))
        assert here.item() == pytest.approx(there.item(), rel=1e-3)


def test_gradients_pull_a_straying_point_back() -> None:
    before = torch.randn(40, 3)
    terms, model = MotionTerms(before, 6), moved_model(before)
    with torch.no_grad():
        model.points.positions[7] += torch.tensor([0.5, 0.0, 0.0])
    for term in (terms.smooth, terms.rigid):
        model.zero_grad()
        term(model).backward()
        gradient = model.points.positions.grad
        assert gradient is not None and gradient.isfinite().all()
        assert gradient.norm(dim=1).argmax() == 7
    model.zero_grad()
    terms.smooth(model).backward()
    assert model.points.positions.grad is not None and model.points.positions.grad[7, 0] > 0.0


def test_the_frame_before_is_kept_apart_from_training() -> None:
    model = small_model(30)
    terms = MotionTerms(model.points.positions, 5)
    with torch.no_grad():
        model.points.positions[0] += 1.0
    assert terms.smooth(model) > 0.0


def test_only_weighted_terms_are_used() -> None:
    before = torch.randn(20, 3)
    assert motion_terms(MotionConfig(smooth=0.0, rigid=0.0), before) == {}
    both = motion_terms(MotionConfig(smooth=0.5, rigid=2.0), before)
    assert {name: weight for name, (weight, _) in both.items()} == {
        "motion_smooth": 0.5,
        "motion_rigid": 2.0,
    }
    assert set(motion_terms(MotionConfig(smooth=0.5, rigid=0.0), before)) == {"motion_smooth"}

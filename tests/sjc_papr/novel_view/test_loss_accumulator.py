"""Sums of losses and norms of gradients over the views of a step."""

import pytest
import torch
from tiny_scene import one_view, small_model
from torch import Tensor

from sjc_papr.networks.model import Papr
from sjc_papr.networks.renderer import render
from sjc_papr.novel_view.loss_accumulator import LossAccumulator, norm


def view_of(model: Papr, weight: float) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """A term on one view: its value, what it looks at, and its weighted gradient there."""
    rgb = render(model, one_view((8, 8))).rgb
    value = rgb.square().mean()
    (gradient,) = torch.autograd.grad(weight * value, rgb, retain_graph=True)
    return value, [rgb], [gradient]


def test_norm_is_that_of_all_numbers_together() -> None:
    tensors = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0], [12.0]])]
    assert norm(tensors).item() == pytest.approx(13.0)


def test_losses_of_views_are_added_with_and_without_the_weight() -> None:
    model = small_model(60)
    sums = LossAccumulator(model, measure=False)
    for value in (0.5, 0.25):
        sums.add("near", 2.0, torch.tensor(value), [], [torch.full((3,), value)])
    sums.add("sjc", 0.1, torch.tensor(7.0), [], [torch.zeros(2)])
    logged = sums.logged()
    assert logged["loss/near"].item() == 0.75 and logged["weighted/near"].item() == 1.5
    assert logged["loss/sjc"].item() == 7.0
    assert logged["weighted/sjc"].item() == pytest.approx(0.7)
    # Images of two views are different numbers: their norms come together as parts of one.
    expected = (3 * (0.5**2 + 0.25**2)) ** 0.5
    assert logged["picture_gradient/near"].item() == pytest.approx(expected)
    assert logged["picture_gradient/sjc"].item() == 0.0
    assert not any(name.startswith("parameter_gradient") for name in logged)


def test_gradients_at_the_parameters_are_those_of_a_backward_pass() -> None:
    model, weight = small_model(60), 0.3
    sums = LossAccumulator(model, measure=True)
    value, parts, gradients = view_of(model, weight)
    sums.add("near", weight, value, parts, gradients)
    logged = sums.logged()
    (weight * value).backward()
    for group, parameters in model.groups().items():
        plain = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        found = logged[f"parameter_gradient/near/{group}"]
        torch.testing.assert_close(found, norm(plain), rtol=1e-5, atol=0.0)
        assert found > 0.0 or not any(p.any() for p in plain), group


def test_gradients_of_two_views_cancel_before_the_norm_is_taken() -> None:
    model = small_model(60)
    sums = LossAccumulator(model, measure=True)
    value, parts, gradients = view_of(model, 1.0)
    for sign in (1.0, -1.0):
        sums.add("near", sign, value, parts, [sign * g for g in gradients])
    logged = sums.logged()
    assert logged["picture_gradient/near"] > 0.0
    assert all(logged[f"parameter_gradient/near/{group}"] == 0.0 for group in model.groups())


def test_frozen_parameters_are_left_out() -> None:
    model = small_model(60)
    for parameter in model.groups()["renderer"]:
        parameter.requires_grad_(False)
    sums = LossAccumulator(model, measure=True)
    sums.add("near", 1.0, *view_of(model, 1.0))
    logged = sums.logged()
    assert "parameter_gradient/near/renderer" not in logged
    assert logged["parameter_gradient/near/positions"] > 0.0

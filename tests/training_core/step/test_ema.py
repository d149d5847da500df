"""Averages of weights: their decay, and weights that come back."""

import pytest
import torch

from training_core.step.ema import Ema


def test_the_average_follows_quickly_at_first_then_with_its_decay() -> None:
    weight = torch.zeros(2)
    ema = Ema({"w": weight}, decay=0.5)
    expected = 0.0
    for step in range(20):
        weight.fill_(step + 1.0)
        ema.update(step)
        decay = min(0.5, (1.0 + step) / (10.0 + step))
        expected = decay * expected + (1.0 - decay) * (step + 1.0)
        assert ema.averages["w"].tolist() == pytest.approx([expected] * 2)


def test_averages_are_in_use_inside_only_whatever_happens() -> None:
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    ema = Ema({"w": weight}, decay=0.9)
    assert ema.averages["w"].dtype == torch.float32
    ema.averages["w"].fill_(5.0)
    with pytest.raises(KeyError), ema.in_use():
        assert weight.tolist() == [5.0, 5.0]
        raise KeyError
    assert weight.tolist() == [1.0, 1.0]
    ema.copy_to_parameters()
    assert weight.tolist() == [5.0, 5.0]

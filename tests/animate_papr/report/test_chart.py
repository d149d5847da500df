"""Charts: points land where their values say."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from animate_papr.report.chart import Chart, Line, line_chart, log_ticks, nice_ticks


def drawn(svg: str) -> np.ndarray:
    """Points of the first line, [N, 2]."""
    found = re.search(r'<polyline[^>]*points="([^"]*)"', svg)
    assert found
    return np.array([[float(v) for v in pair.split(",")] for pair in found[1].split()])


@pytest.mark.parametrize("logarithmic", [False, True])
def test_places_are_proportional_to_values(logarithmic: bool) -> None:
    values = [(0.0, 1.0), (1.0, 10.0), (3.0, 1000.0), (4.0, 100.0)]
    svg = line_chart([Line("a", values)], Chart("x", "y", logarithmic=logarithmic))
    ElementTree.fromstring(svg)
    across, down = drawn(svg).T
    np.testing.assert_allclose(
        np.diff(across) / (across[-1] - across[0]), [0.25, 0.5, 0.25], atol=1e-3
    )
    expected = np.log10([v for _, v in values]) if logarithmic else np.array([v for _, v in values])
    share = (down[0] - down) / (down[0] - down.min())
    np.testing.assert_allclose(share, (expected - expected[0]) / np.ptp(expected), atol=2e-3)


def test_what_cannot_be_drawn_is_left_out() -> None:
    values = [(0.0, 1.0), (1.0, math.nan), (2.0, -1.0), (3.0, 2.0)]
    assert len(drawn(line_chart([Line("a", values)], Chart("x", "y")))) == 3
    assert len(drawn(line_chart([Line("a", values)], Chart("x", "y", logarithmic=True)))) == 2
    assert line_chart([Line("a", [(0.0, math.inf)])], Chart("x", "y")) == ""


def test_a_single_point_is_a_dot_that_says_its_value() -> None:
    svg = line_chart([Line("PSNR <dB>", [(0.0, 25.5)])], Chart("x", "y", x_names=["f&0"]))
    titles = [t.text for t in ElementTree.fromstring(svg).iter("title")]
    assert titles == ["f&0: PSNR <dB> 25.5"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (27.3, 28.1), (-5e-4, 3e-4), (0, 123456)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 3 <= len(ticks) <= 11
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)
    step = ticks[1] - ticks[0]
    assert (
        min(abs(step / 10 ** math.floor(math.log10(step * 1.0001)) - m) for m in (1, 2, 5)) < 1e-6
    )


def test_logarithmic_ticks() -> None:
    np.testing.assert_allclose(10 ** np.array(log_ticks(-2.1, -0.5)), [0.01, 0.02, 0.05, 0.1, 0.2])
    np.testing.assert_allclose(log_ticks(-4.5, 1.2), [-4, -3, -2, -1, 0, 1])
    assert 4 <= len(log_ticks(-17.2, 0.3)) <= 8

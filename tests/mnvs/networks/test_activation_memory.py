"""The estimate of activations passes through what was measured, and is linear beyond."""

import pytest

from mnvs.networks.activation_memory import activations_gib

PIXELS = 120 * 80


def test_the_line_goes_through_both_measurements() -> None:
    assert activations_gib((8.3, 13.2), 8 * PIXELS) == pytest.approx(8.3)
    assert activations_gib((8.3, 13.2), 14 * PIXELS) == pytest.approx(13.2)


def test_as_many_latents_in_more_frames_or_videos_take_the_same_beyond() -> None:
    # Six frames added 4.9 GiB, so twelve more add twice that.
    assert activations_gib((8.3, 13.2), 26 * PIXELS) == pytest.approx(13.2 + 2 * 4.9)

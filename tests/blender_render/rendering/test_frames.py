"""Sampling of an action's time."""

import pytest

from blender_render.rendering.frames import playback_fps, sample_times, split_frame


def test_every_fifth_frame_keeps_an_end_it_falls_on() -> None:
    assert sample_times(1, 21, every=5) == [1, 6, 11, 16, 21]
    assert sample_times(1, 20.9, every=5) == [1, 6, 11, 16]


def test_loop_leaves_out_the_repeated_end() -> None:
    assert sample_times(1, 21, every=5, loop=True) == [1, 6, 11, 16]
    assert sample_times(0, 12, count=4, loop=True) == [0, 3, 6, 9]


def test_count_spans_an_action_that_does_not_loop() -> None:
    assert sample_times(0, 12, count=4) == [0, 4, 8, 12]


def test_fractional_ends() -> None:
    times = sample_times(0.8, 23.2, count=3)
    assert times == pytest.approx([0.8, 12.0, 23.2])
    assert sample_times(0.8, 23.2, every=10) == pytest.approx([0.8, 10.8, 20.8])


def test_float32_key_times_do_not_cost_the_last_frame() -> None:
    assert len(sample_times(0.9999988675117493, 48.0, every=47)) == 2
    assert len(sample_times(1.0, 47.99999, every=47)) == 2


def test_no_duration_gives_one_frame() -> None:
    assert sample_times(7.5, 7.5, count=6) == [7.5]
    assert sample_times(7.5, 7.5, every=5, loop=True) == [7.5]


@pytest.mark.parametrize("wrong", [{}, {"every": 1, "count": 1}])
def test_exactly_one_way_of_sampling(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        sample_times(0, 10, **wrong)


def test_end_before_start_is_refused() -> None:
    with pytest.raises(ValueError, match="ends"):
        sample_times(5, 4, count=2)


def test_split_frame_snaps_to_whole_frames_and_handles_negative_ones() -> None:
    assert split_frame(4.63333) == (4, pytest.approx(0.63333))
    assert split_frame(0.9999988675117493) == (1, 0.0)
    assert split_frame(-0.25) == (-1, pytest.approx(0.75))


def test_playback_keeps_the_speed_of_the_action() -> None:
    assert playback_fps([0, 5, 10], 24) == pytest.approx(4.8)
    assert playback_fps([3], 24) == 24

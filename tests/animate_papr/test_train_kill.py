"""An animation ended at several moments and started again ends with the same bits."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_animation import (
    FIRST_STEPS,
    FRAMES,
    NEXT_STEPS,
    arguments,
    assert_same_checkpoint,
    beyond,
    end_when,
    logged_steps,
    write_animation,
)

from animate_papr import train
from training_core.cli import EXIT_STOPPED


def finished(frame: Path) -> Callable[[], bool]:
    return (frame / "metrics.json").exists


@pytest.mark.slow
def test_killed_animations_end_with_the_same_bytes(tmp_path: Path) -> None:
    dataset = write_animation(tmp_path / "sphere")
    events = (
        "first.density.grow_events=2",
        "first.density.grow_count=20",
        "first.density.prune_events=1",
        "first.density.prune_below=0.98",
        "next.motion.smooth=0.1",
        "next.preset=motion",
    )
    assert train.main(arguments(dataset, tmp_path / "undisturbed", *events)) == 0
    whole = tmp_path / "undisturbed" / "animate_papr" / "tiny" / "frames"

    command = arguments(dataset, tmp_path / "killed", *events)
    frames = tmp_path / "killed" / "animate_papr" / "tiny" / "frames"
    moments = [
        (beyond(frames / FRAMES[0], 30), signal.SIGKILL),  # within the first frame
        (finished(frames / FRAMES[0]), signal.SIGKILL),  # between two frames
        (beyond(frames / FRAMES[1], 16), signal.SIGKILL),  # after the motion stage of the second
        (beyond(frames / FRAMES[2], 5), signal.SIGTERM),
    ]
    for ready, number in moments:
        status = end_when("animate_papr.train", command, ready, number)
        assert status == (EXIT_STOPPED if number == signal.SIGTERM else -signal.SIGKILL)

    assert train.main(command) == 0
    for i, frame in enumerate(FRAMES):
        steps = NEXT_STEPS if i else FIRST_STEPS
        assert_same_checkpoint(frames / frame, whole / frame, steps)
        ours, theirs = (folder / frame / "points.safetensors" for folder in (frames, whole))
        assert ours.read_bytes() == theirs.read_bytes()
        assert logged_steps(frames / frame) == list(range(1, steps + 1))

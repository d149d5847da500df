"""Training ended at several moments and started again gives the weights of one that was not."""

import itertools
import json
import signal
from pathlib import Path

import pytest
from kill_runs import assert_same_checkpoint, beyond, end_when, logged_steps, saving
from tiny_scene import TINY_MODEL

from sjc_papr import train
from training_core.cli import EXIT_STOPPED

STEPS = 150
MODULE = "sjc_papr.train"


def arguments(frame: Path, output: Path) -> list[str]:
    """Growing and pruning on both sides of every moment at which the run is ended."""
    return [
        *TINY_MODEL,
        f"data.path={frame}",
        f"output_root={output}",
        "name=tiny",
        f"optimize.steps={STEPS}",
        "optimize.patches.size=10",
        "optimize.density.prune_events=5",
        "optimize.density.prune_from=0.05",
        "optimize.density.prune_until=0.9",
        "optimize.density.prune_below=0.98",
        "optimize.density.grow_events=5",
        "optimize.density.grow_from=0.1",
        "optimize.density.grow_until=0.95",
        "optimize.density.grow_count=20",
        "log.every=1",
        "log.checkpoint_every=20",
        "log.validate_every=0",
    ]


def points_over_time(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["points"] for line in lines]


@pytest.fixture(scope="module")
def undisturbed(frame: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    assert train.main(arguments(frame, output)) == 0
    run = output / "sjc_papr" / "tiny"
    counts = points_over_time(run)
    steps = [b - a for a, b in itertools.pairwise(counts)]
    assert min(steps) < 0.0 < max(steps), "points must come and go for this test to say anything"
    return run


@pytest.mark.slow
def test_killed_and_stopped_runs_end_with_the_same_bits(
    undisturbed: Path, frame: Path, tmp_path: Path
) -> None:
    run, command = tmp_path / "sjc_papr" / "tiny", arguments(frame, tmp_path)
    moments = [
        (beyond(run, 3), signal.SIGKILL),  # before the first checkpoint
        (beyond(run, 50), signal.SIGTERM),
        (saving(run, 60, 95), signal.SIGKILL),  # a checkpoint half written
        (beyond(run, 105), signal.SIGKILL),  # between two checkpoints
    ]
    for ready, number in moments:
        status = end_when(MODULE, command, ready, number)
        assert status == (EXIT_STOPPED if number == signal.SIGTERM else -signal.SIGKILL)
        assert not (run / "metrics.json").exists()
        if number == signal.SIGTERM:  # the step that was under way is saved
            latest = (run / "checkpoints" / "latest").read_text()
            assert latest == f"step_{logged_steps(run)[-1]:08d}"

    assert train.main(command) == 0
    assert_same_checkpoint(run, undisturbed, STEPS)
    assert logged_steps(run) == list(range(1, STEPS + 1))
    assert points_over_time(run) == points_over_time(undisturbed)
    figures = [json.loads((r / "metrics.json").read_text())["psnr"] for r in (run, undisturbed)]
    assert figures[0] == figures[1]

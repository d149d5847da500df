"""Real commands in processes of their own, ended at chosen moments."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file

PATIENCE_SECONDS = 60.0
ROOT = Path(__file__).parents[3]


def end_when(
    module: str, arguments: list[str], ready: Callable[[], bool], number: signal.Signals
) -> int:
    """Start ``python -m module arguments``, send the signal once ``ready``; the exit status."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not ready():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the awaited moment did not come"
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
    return process.returncode


def logged_steps(run: Path) -> list[int]:
    """Steps in the log of a run or frame folder; a line that is being written is left out."""
    try:
        text = (run / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    lines = [line for line in text.split("\n")[:-1] if "loss/total" in line]
    return [json.loads(line)["step"] for line in lines]


def beyond(run: Path, step: int) -> Callable[[], bool]:
    """Whether the step is logged."""
    return lambda: max(logged_steps(run), default=0) >= step


def saving(run: Path, step: int, last: int) -> Callable[[], bool]:
    """Whether a checkpoint after ``step`` is half written (or, should that be missed, ``last``)."""

    def ready() -> bool:
        writing = [p.name for p in (run / "checkpoints").glob(".tmp-step_*")]
        return any(int(name[-8:]) > step for name in writing) or beyond(run, last)()

    return ready


def assert_same_checkpoint(run: Path, other: Path, step: int) -> None:
    """Weights and optimizer of two runs agree bit for bit.

    States of the random generators are left out: NumPy's and Python's belong to the process that
    trains, here perhaps to pytest's, and training does not draw from them.
    """
    name = f"checkpoints/step_{step:08d}/tensors.safetensors"
    ours, theirs = load_file(run / name), load_file(other / name)
    assert ours.keys() == theirs.keys()
    for key in ours:
        if not key.startswith("rng."):
            assert ours[key].tobytes() == theirs[key].tobytes(), key

"""Real commands in processes of their own, ended at chosen moments."""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from safetensors.numpy import load_file

PATIENCE_SECONDS = 120.0
# What a server imports once, whose forks are the processes; the last two come with a first step.
PRELOADED = ("animate_papr.train", "mnvs.train", "torch._dynamo", "torch.utils.tensorboard")


def import_server(preload: Sequence[str] = PRELOADED) -> ForkServerContext:
    """Where processes are forked that have ``preload`` imported: seconds less for each of them.

    There is one server for all tests of a process, which imports what the first of them asks for.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))  # for the server
        forkserver.ensure_running()
    return context


def _run(module: str, arguments: list[str]) -> None:
    sys.exit(importlib.import_module(module).main(arguments))


def end_when(
    module: str,
    arguments: list[str],
    ready: Callable[[], bool],
    number: signal.Signals,
    preload: Sequence[str] = PRELOADED,
) -> int:
    """Do what ``python -m module arguments`` does in a process of its own, and send it the signal
    once ``ready``; its exit status, of a process that the signal killed minus its number.
    """
    process = import_server(preload).Process(target=_run, args=(module, arguments))
    process.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while not ready():
            assert process.is_alive(), f"ended by itself, with {process.exitcode}"
            assert time.monotonic() < deadline, "the awaited moment did not come"
            time.sleep(0.001)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


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

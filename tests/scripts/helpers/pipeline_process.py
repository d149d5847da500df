"""The pipeline in processes of their own that do not import everything anew, ended when asked."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pipeline

PATIENCE_SECONDS = 120.0
ROOT = Path(__file__).parents[3]


def _run(arguments: list[str]) -> None:
    sys.exit(pipeline.main(arguments))


def run_until(arguments: list[str], ready: Callable[[], bool], number: signal.Signals) -> int:
    """Start the pipeline, send the signal once ``ready``; its exit code (- the signal's number)."""
    # A server that has imported the pipeline and done nothing else forks the processes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline"])
    process = context.Process(target=_run, args=(arguments,))
    paths = [str(ROOT), str(ROOT / "scripts"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
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

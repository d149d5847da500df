"""The Blender processes that render, one for each asset, and what they say on their way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blender_render.rendering.asset_failures import AssetFailure
from training_core.config import InputError
from training_core.stopping import STOP_SIGNALS, Stopped

# Takes each event of a process: what it plans, each picture, each warning.
Listener = Callable[[dict[str, Any]], None]


class WorkerPool:
    """The Blender processes of this start, so that all of them can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def start(self, *args: Any, **options: Any) -> subprocess.Popen[str]:
        """``subprocess.Popen`` in a process group of its own. Raises Stopped after ``stop``.

        The process is deaf to signals that ask to stop: a scheduler sends them to every process of
        a job, but here only ``stop`` decides.
        """
        with self._lock:
            if self.stopped:
                raise Stopped("stopped")
            # Of this thread alone, and inherited by the process.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                process = subprocess.Popen(*args, start_new_session=True, text=True, **options)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._processes.add(process)
            return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """Kill a process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        """Kill all; what they have finished is kept for the next start."""
        with self._lock:
            self.stopped = True
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def run_worker(
    job: Path, log: Path, timeout_s: float, listener: Listener, worker_pool: WorkerPool
) -> None:
    """Run one job in a Blender process of its own.

    Args:
        job: the file that says what is to be done. log: takes what the process writes.

    Raises:
        AssetFailure: this asset cannot be rendered. InputError: nothing can.
        Stopped: ``worker_pool.stop`` was called.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "blender_render.blender.worker"]
    path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with (
        log.open("w", encoding="utf-8") as out,
        os.fdopen(read_end, encoding="utf-8") as events,
        # Blender as a module leaves its temporary folder behind.
        tempfile.TemporaryDirectory(prefix="blender_render_") as scratch,
    ):
        environment["TMPDIR"] = scratch
        try:
            process = worker_pool.start(
                [*command, str(job), str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                env=environment,
            )
        finally:
            os.close(write_end)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            worker_pool.end(process)

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            ending = _listen(events, listener)
            code = process.wait()
        finally:
            timer.cancel()
            worker_pool.end(process)
    if ending.get("event") == "failed":
        raise AssetFailure(ending["reason"], ending["detail"])
    if ending.get("event") == "fatal":
        raise InputError(ending["detail"])
    if ending.get("event") != "done":
        if worker_pool.stopped:
            raise Stopped("stopped")
        if late.is_set():
            raise AssetFailure("timeout", f"not finished after {timeout_s:g} s")
        raise AssetFailure("crashed", f"exit code {code}; last words: {_last_words(log)}")


def _listen(events: Any, listener: Listener) -> dict[str, Any]:
    """Hand every event on; returns the one that ended the work, {} if none did."""
    for line in events:
        event = json.loads(line)
        if event["event"] in ("done", "failed", "fatal"):
            return event
        listener(event)
    return {}


def _last_words(log: Path) -> str:
    lines = [x.strip() for x in log.read_text(errors="replace").splitlines() if x.strip()]
    return lines[-1] if lines else "none"

"""Renderer processes, seen from the parent."""

import signal
import subprocess

from blender_render.rendering.worker_pool import WorkerPool
from training_core.stopping import STOP_SIGNALS


def test_a_renderer_does_not_hear_the_signals_that_stop_the_command() -> None:
    """A scheduler sends them to all processes of a job, and a dead renderer looks like a crash."""
    kills = "; ".join(f"kill -s {int(number)} $$" for number in STOP_SIGNALS)
    pool = WorkerPool()
    process = pool.start(["sh", "-c", f"{kills}; echo alive"], stdout=subprocess.PIPE)
    assert process.communicate(timeout=10)[0] == "alive\n"
    pool.end(process)
    assert not STOP_SIGNALS & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_deaf_renderer_can_still_be_ended() -> None:
    pool = WorkerPool()
    process = pool.start(["sleep", "60"])
    pool.stop()
    assert process.wait(timeout=10) == -signal.SIGKILL

"""Starting a command in several processes, as torchrun or ``slurm/task.sh`` would."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Two processes that import everything from a cold disk have taken minutes.
PATIENCE_S = 600


def start(count: int, arguments: list[str]) -> list[subprocess.Popen[str]]:
    """``python ARGUMENTS`` so many times, each told which one it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(count):
        variables = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=os.environ | variables,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finish(processes: list[subprocess.Popen[str]], code: int = 0) -> list[str]:
    """Wait for all; what each wrote to stderr. Of processes that hang, the failure says it, too."""
    with ThreadPoolExecutor(len(processes)) as readers:
        # All are read at the same time: one that cannot write would keep the others waiting.
        reading = [readers.submit(process.communicate) for process in processes]
        wait(reading, timeout=PATIENCE_S)
        hung = [rank for rank, process in enumerate(processes) if process.poll() is None]
        for process in processes:
            process.kill()
        errors = [read.result()[1] for read in reading]
    assert not hung, (hung, errors)
    assert [process.returncode for process in processes] == [code] * len(processes), errors
    return errors

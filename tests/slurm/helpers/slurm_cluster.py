"""A real Slurm on this machine for tests, started by ``tests/slurm/cluster.sh``."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "tests" / "slurm" / "cluster.sh"
NOT_INSTALLED = 3
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}
PASSED_ON = ("PATH", "HOME", "USER", "LANG")


class Cluster:
    """A running Slurm of one node; jobs are submitted with a clean environment.

    Args:
        user: number of the user to whom it belongs, where that is not who runs the tests.
        prefix: words in front of every command of Slurm, its daemons included.
    """

    def __init__(self, user: int | None = None, prefix: tuple[str, ...] = ()) -> None:
        # Sockets have short names, and pytest's folders long ones.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.prefix = list(prefix)
        if user is not None:
            os.chown(self.folder, user, user)
            self.prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        started = subprocess.run(
            [*self.prefix, SCRIPT, "start", self.folder],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        if started.returncode == NOT_INSTALLED:
            shutil.rmtree(self.folder)
            pytest.skip(
                f"no Slurm here ({started.stderr.strip()}): apt-get install slurm-wlm munge"
            )
        if started.returncode != 0:
            self.close()  # some of its daemons may run
        assert started.returncode == 0, started.stderr
        self.environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.environment["SLURM_CONF"] = str(self.folder / "slurm.conf")

    def close(self) -> None:
        subprocess.run([*self.prefix, SCRIPT, "stop", self.folder], check=True, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command: str | Path, **variables: str) -> str:
        """Run one of Slurm's commands; its output."""
        done = subprocess.run(
            [*self.prefix, *command],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """Slurm's record of a job, or of an array task (``7_2``)."""
        record = self.call("scontrol", "show", "job", "-o", job)
        return dict(re.findall(r"(\S+?)=(\S*)", record))

    def state(self, job: str) -> str:
        return self.show(job)["JobState"]

    def wait_until(self, happens: Callable[[], object], what: str, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.1)

    def wait_ended(self, *jobs: str, seconds: float = 40) -> list[str]:
        """States of jobs when all have ended."""
        self.wait_until(
            lambda: all(self.state(job) in ENDED for job in jobs), f"{jobs} end", seconds
        )
        return [self.state(job) for job in jobs]

    def signal_shell(self, job: str, name: str) -> None:
        """Signal a job's shell alone, as Slurm does before the time limit."""
        # Unchecked: for tasks of arrays scancel 22.05 ends with any code after doing it.
        command = ["scancel", "--batch", f"--signal={name}", job]
        subprocess.run([*self.prefix, *command], env=self.environment, timeout=60)

    def start_again(self, job: str) -> None:
        """Start a requeued job sooner than after the two minutes that Slurm lets it wait.

        Not at once: slurmd refuses a start from the second of the requeue as "credential revoked",
        and the job then ends as failed.
        """

        def runs() -> bool:
            state = self.state(job)
            assert state not in ENDED, f"{job} is {state}: {self.log(job)}"
            if state == "RUNNING":
                return True
            # Not by `call`: it may have started in this moment, and that is all right.
            command = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(command, env=self.environment, capture_output=True)
            time.sleep(0.4)
            return False

        self.wait_until(lambda: self.state(job) == "PENDING", f"{job} waits again", 20)
        time.sleep(2)
        self.wait_until(runs, f"{job} runs again", 30)

    def log(self, job: str) -> str:
        """What a job has written so far."""
        path = Path(self.show(job)["StdOut"])
        return path.read_text() if path.exists() else ""

    def jobs(self) -> list[str]:
        """Ids of all jobs that were ever submitted, arrays once."""
        lines = self.call("scontrol", "show", "job", "-o").splitlines()
        ids = [re.findall(r"(?:Array)?JobId=(\d+)", line) for line in lines]
        return sorted({found[-1] for found in ids if found}, key=int)


def kill(pid_file: Path, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal the process whose id a file holds."""
    os.kill(int(pid_file.read_text()), number)


def processes(module: str, *words: str) -> list[int]:
    """Ids of the processes that run ``python -m module`` with these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        wanted = (module, *words)
        if line[0].endswith(b"python") and all(word.encode() in line for word in wanted):
            found.append(int(folder.name))
    return found

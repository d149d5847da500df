"""A scratch folder from which the job files are submitted to a test's cluster."""

import sys
from pathlib import Path

from slurm_cluster import ROOT, Cluster


def real_environment(folder: Path) -> Path:
    """An environment for jobs with the interpreter that runs the tests; what VENV is set to."""
    activate = folder / "venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    return folder / "venv"


class Place:
    """Submits with ``variables`` in the environment; logs are ``JOB.out`` or ``JOB_TASK.out``."""

    def __init__(self, cluster: Cluster, folder: Path, venv: Path) -> None:
        self.cluster, self.folder, self.root = cluster, folder, ROOT
        self.runs = folder / "scratch/videopapr/runs"
        self.variables = {
            "SCRATCH": str(folder / "scratch"),
            "VENV": str(venv),
            "VIDEOPAPR_ROOT": str(ROOT),
            "TEST": str(folder),
            "SAVES_IN": str(self.runs / "sjc_papr/fox/checkpoints/step_1"),
        }

    def submit(self, *arguments: str, file: str = "train_papr", **variables: str) -> str:
        """Submit a job file; options come first, then what follows ``--``. The job's id."""
        at = arguments.index("--") if "--" in arguments else len(arguments)
        options, rest = arguments[:at], arguments[at + 1 :] or ("fox",)
        array = any(option.startswith("--array") for option in options)
        output = f"--output={self.folder}/" + ("%A_%a.out" if array else "%j.out")
        script = ROOT / "slurm" / f"{file}.sbatch"
        command = [
            "sbatch",
            "--parsable",
            f"--chdir={self.folder}",
            output,
            *options,
            script,
            *rest,
        ]
        return self.cluster.call(*command, **{**self.variables, **variables})

    def start(self, *arguments: str, **variables: str) -> str:
        """Submit a job whose command works until it is told to stop, and wait for that command."""
        job = self.submit(*arguments, **{"WAITS": "1", **variables})
        self.cluster.wait_until((self.folder / "running").exists, f"job {job} runs")
        return job

    def text(self, name: str) -> str:
        """What the command wrote down, "" where nothing."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

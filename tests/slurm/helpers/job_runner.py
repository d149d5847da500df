"""Job files run by bash, with stand-ins for srun, sbatch, scontrol and python."""

import os
import subprocess
from pathlib import Path

from stand_in import make_environment

ROOT = Path(__file__).resolve().parents[3]
TRAIN = str(ROOT / "slurm" / "train_papr.sbatch")
RENDER = str(ROOT / "slurm" / "render_array.sbatch")
RUNS = str(ROOT / "slurm" / "runs_array.sbatch")

SRUN = '#!/bin/bash\nexec "$@"\n'
SBATCH = (
    "#!/bin/bash\n"
    'printf \'%s\\n\' "$@" > "$TEST/sbatch_args"\n'
    'echo "${RESUBMIT_COUNT:-} ${MANIFEST:-} ${SHARDS:-}" > "$TEST/sbatch_env"\n'
)


# Slurm's record of the job: its limit and its end, or none.
SCONTROL = (
    "#!/bin/bash\n"
    "[[ -n ${LIMIT:-} ]] || exit 1\n"
    'echo "JobId=1 TimeLimit=$LIMIT EndTime=$(date -d "+${LEFT}sec" +%FT%T) PreemptTime=None"\n'
)


class Job:
    """A scratch folder in which job files can be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        make_environment(folder)
        for name, text in {"srun": SRUN, "sbatch": SBATCH, "scontrol": SCONTROL}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TEST": str(folder),
            "SLURM_JOB_ID": "1",
            "TMPDIR": str(folder),
            "SCRATCH": str(folder / "scratch"),
            "VENV": str(folder / "venv"),
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SAVES_IN": str(folder / "scratch/videopapr/runs/sjc_papr/fox/checkpoints/step_1"),
        }

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", *arguments],
            env={**self.environment, **variables},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process = self.start(*arguments, **variables)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output

    def lines(self, name: str) -> list[str]:
        """What a stand-in wrote down, [] where it was not called."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

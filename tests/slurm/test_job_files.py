"""The job files, run by bash with stand-ins for srun, sbatch and python in front of the PATH."""

import re
import signal
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from job_runner import RENDER, ROOT, TRAIN, Job

FILES = sorted(p for p in (ROOT / "slurm").iterdir() if p.suffix in (".sh", ".sbatch"))
JOBS = [p for p in FILES if p.suffix == ".sbatch"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_syntax(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", JOBS, ids=lambda p: p.name)
def test_directives_hold_nothing_personal_and_leave_time_to_save(path: Path) -> None:
    directives = [line for line in path.read_text().splitlines() if line.startswith("#SBATCH")]
    if path.stem != "tensorboard":  # which has nothing to save
        assert "#SBATCH --signal=B:USR1@300" in directives
        assert "#SBATCH --requeue" in directives and "#SBATCH --open-mode=append" in directives
    assert any(line.startswith("#SBATCH --time=") for line in directives)
    assert any(line.startswith("#SBATCH --mem") for line in directives)
    assert not any(
        word in " ".join(directives) for word in ("account", "mail", "partition", "gpus")
    )


@pytest.mark.parametrize(
    ("file", "module"),
    [("train_papr", "sjc_papr"), ("animate", "animate_papr"), ("train_mnvs", "mnvs")],
)
def test_training_jobs_call_the_command(job: Job, file: str, module: str) -> None:
    script = str(ROOT / "slurm" / f"{file}.sbatch")
    code, output = job.run(script, "fox", "--config", "a b.yaml", "x=1", CODE="0")
    assert code == 0, output
    runs = f"{job.folder}/scratch/videopapr/runs"
    expected = ["-m", f"{module}.train", "--config", "a b.yaml", "x=1"]
    assert job.lines("python_args") == [*expected, "name=fox", f"output_root={runs}"]


def test_each_process_is_told_which_one_it_is(job: Job) -> None:
    scontrol = job.folder / "bin" / "scontrol"
    scontrol.write_text("#!/bin/bash\nprintf 'node7\\nnode8\\n'\n")
    scontrol.chmod(0o755)
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    show = "".join(f"${{{name}:-none}} " for name in names)
    command = [str(ROOT / "slurm" / "task.sh"), str(job.folder), "bash", "-c", f"echo {show}"]
    slurm = {
        "SLURM_NTASKS": "8",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node[7-8]",
    }
    assert job.run(*command, **slurm) == (0, "5 1 8 4 node7 23456\n")
    assert job.run(*command, SLURM_NTASKS="1") == (0, "none " * 5 + "none\n")


def signal_running(job: Job, process: subprocess.Popen, number: signal.Signals) -> None:
    """Signal the job's shell once the command works."""
    deadline = time.monotonic() + 20
    while not (job.folder / "running").exists():
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.02)
    process.send_signal(number)


@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_becomes_usr1_of_the_command_and_its_code_comes_back(
    job: Job, sent: signal.Signals
) -> None:
    process = job.start(TRAIN, "fox", WAITS="1", RESUBMIT="1")
    signal_running(job, process, sent)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75, output
    assert job.lines("signal") == ["SIGUSR1"]
    # Time running out is a reason to come back, being cancelled is not.
    assert bool(job.lines("sbatch_args")) == (sent == signal.SIGUSR1), output


def test_a_warning_that_comes_at_once_is_kept_until_the_time_is_nearly_up(job: Job) -> None:
    """Slurm sends it in the first second of a job whose limit is below five minutes."""
    process = job.start(TRAIN, "fox", WAITS="1", LIMIT="00:01:00", LEFT="17")
    signal_running(job, process, signal.SIGUSR1)
    begin = time.time()  # a quarter of a minute is kept for saving, so two seconds are left
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75 and "the limit of 60 s is short: stopping in" in output, output
    assert time.time() - begin > 0.9


def test_a_step_that_nobody_ended_is_no_success(job: Job) -> None:
    """What srun says after a node was lost."""
    (job.folder / "bin" / "srun").write_text("#!/bin/bash\nexit 0\n")
    code, output = job.run(TRAIN, "fox")
    assert code == 1
    assert "1 of 1 processes ended without a word" in output and "code 0" not in output


def test_missing_variables_are_an_error_like_any_other(job: Job) -> None:
    for variables, name in (({"SCRATCH": ""}, "SCRATCH"), ({"VENV": ""}, "VENV")):
        code, output = job.run(TRAIN, "fox", **variables)
        assert code == 2 and f"error: set {name}" in output
    code, output = job.run(RENDER, MANIFEST=str(job.folder / "venv/bin/python"))
    assert code == 2 and "error: submit as an array" in output


def test_the_sites_file_fills_in_what_the_environment_leaves_open(job: Job) -> None:
    site = job.folder / "site.env"
    site.write_text("# comment\nRUNS=$SCRATCH/mine\nVENV=/nowhere\nnot a line\n")
    code, output = job.run(TRAIN, "fox", CODE="0", SITE_ENV=str(site))
    assert code == 0, output
    assert job.lines("python_args")[-1] == f"output_root={job.folder}/scratch/mine"
    assert job.run(TRAIN, "fox", SITE_ENV="/nowhere/site.env")[0] == 2


@pytest.mark.parametrize("arguments", [[], ["--config", "a.yaml"], ["data.path=x"]])
def test_a_training_job_needs_a_name(job: Job, arguments: list[str]) -> None:
    code, output = job.run(TRAIN, *arguments)
    assert code == 2
    assert "usage" in output
    assert job.lines("python_args") == []


def test_the_pipeline_gets_its_folder(job: Job) -> None:
    code, output = job.run(
        str(ROOT / "slurm/pipeline.sbatch"), "fox", "--asset", "Fox.glb", CODE="0"
    )
    assert code == 0, output
    runs = f"output_root={job.folder}/scratch/videopapr/runs"
    assert job.lines("python_args") == [
        *("scripts/pipeline.py", "--asset", "Fox.glb", "name=fox", runs)
    ]


def test_tensorboard_says_how_to_reach_it(job: Job) -> None:
    program = job.folder / "bin" / "tensorboard"
    program.write_text('#!/bin/bash\nprintf "%s " "$@"\n')
    program.chmod(0o755)
    script = str(ROOT / "slurm/tensorboard.sbatch")
    code, output = job.run(script, USER="ann", CC_CLUSTER="fir", PORT="7007")
    assert code == 0, output
    assert f":{7007} ann@fir" in output and "ssh -N -f -L localhost:7007:" in output
    runs = f"{job.folder}/scratch/videopapr/runs"
    assert f"--logdir {runs} --host 0.0.0.0 --port 7007 --load_fast false" in output


@pytest.mark.parametrize(
    ("script", "files"),
    [(TRAIN, ["requirements.txt"]), (RENDER, ["requirements.txt", "requirements-render.txt"])],
)
def test_the_environment_is_built_on_the_node_without_a_network(
    job: Job, script: str, files: list[str]
) -> None:
    for name in ("virtualenv", "pip"):
        program = job.folder / "bin" / name
        program.write_text(f'#!/bin/bash\necho "{name} $*" >> "$TEST/installed"\n')
        program.chmod(0o755)
    disk = job.folder / "disk"
    (disk / "env" / "bin").mkdir(parents=True)
    (disk / "env" / "bin" / "activate").write_text(
        f'echo active >> "$TEST/installed"; source "{job.folder}/venv/bin/activate"\n'
    )
    (job.folder / "list.txt").write_text("a.glb\n")
    variables = {
        "VENV": "",
        "SLURM_TMPDIR": str(disk),
        "MANIFEST": str(job.folder / "list.txt"),
        "SHARDS": "1",
        "SLURM_ARRAY_TASK_ID": "0",
        "BASH_FUNC_module%%": '() { echo "module $*" >> "$TEST/installed"; }',
        "CODE": "0",
    }
    code, output = job.run(script, "fox", **variables)
    assert code == 0, output
    wanted = " ".join(f"-r {ROOT}/slurm/{name}" for name in files)
    assert job.lines("installed") == [
        "module purge",
        "module load StdEnv/2023 python/3.11",
        f"virtualenv --no-download {disk}/env",
        "active",
        "pip install --no-index --upgrade pip",
        f"pip install --no-index {wanted}",
    ]
    assert job.lines("python_args")


def test_cluster_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=!\[ ]", line)[0] for line in requirements}

    def listed(name: str) -> list[str]:
        lines = (ROOT / "slurm" / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    # Wheelhouses know no extras, so what imageio[ffmpeg] brings is named itself.
    needed = names(project["dependencies"]) | {"imageio-ffmpeg"}
    assert names(listed("requirements.txt")) == needed
    assert sorted(listed("requirements-render.txt")) == sorted(extras["render"])


def test_the_wheelhouses_versions_are_allowed_by_the_project() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["render"], *extras["mnvs"]]
    text = (ROOT / "requirements-alliance.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))
    assert {"torch", "bpy", "numpy", "diffusers"} <= pins.keys()
    for requirement in map(Requirement, wanted):
        if requirement.name in pins:
            assert requirement.specifier.contains(pins[requirement.name]), requirement

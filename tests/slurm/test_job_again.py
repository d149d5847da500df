"""When a job submits itself again, as what, and when it does not."""

import os
from pathlib import Path

import pytest
from job_runner import ROOT, TRAIN, Job


def test_code_75_submits_the_same_job_again_and_counts(job: Job) -> None:
    options = {
        "RESUBMIT": "1",
        "RESUBMIT_COUNT": "2",
        "RESUBMIT_OPTIONS": "--time=1:00:00 --mem=1G",
    }
    asked = {"SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "6", "SLURM_MEM_PER_NODE": "32768"}
    code, output = job.run(
        TRAIN, "fox", "data.path=a b", LIMIT="03:00:00", LEFT="9", **asked, **options
    )
    assert code == 75, output
    # As this job was asked for, its command line included; then what is asked for in addition.
    same = ["--time=03:00:00", "--ntasks=1", "--cpus-per-task=6", "--mem=32768"]
    assert job.lines("sbatch_args") == [
        *same,
        "--time=1:00:00",
        "--mem=1G",
        TRAIN,
        "fox",
        "data.path=a b",
    ]
    assert job.lines("sbatch_env")[0].startswith("3 ")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"CODE": "0", "RESUBMIT": "1"}, "code 0"),
        ({"CODE": "3", "RESUBMIT": "1"}, "code 3"),
        ({"CODE": "1", "RESUBMIT": "1"}, "code 1"),
        ({}, "RESUBMIT=1 does so"),
        ({"RESUBMIT": "1", "SAVE": "0"}, "saved nothing new"),
        ({"RESUBMIT": "1", "RESUBMIT_COUNT": "10"}, "already continued 10 times"),
    ],
    ids=["finished", "fault", "crash", "not_asked", "no_progress", "too_often"],
)
def test_no_job_comes_back_without_reason(job: Job, variables: dict[str, str], why: str) -> None:
    code, output = job.run(TRAIN, "fox", **variables)
    assert code == int(variables.get("CODE", "75"))
    assert why in output
    assert job.lines("sbatch_args") == []


def test_an_old_checkpoint_is_no_progress(job: Job) -> None:
    saved = Path(job.environment["SAVES_IN"])
    saved.mkdir(parents=True)
    (saved / "state.json").touch()
    os.utime(saved / "state.json", (1, 1))
    _, output = job.run(TRAIN, "fox", RESUBMIT="1", SAVE="0")
    assert "saved nothing new" in output
    assert job.lines("sbatch_args") == []


def test_a_chain_of_one_comes_back_as_a_chain_of_one(job: Job) -> None:
    """What `submit.py animate --chain 1` sends: the array of one task has no next one."""
    animate = str(ROOT / "slurm" / "animate.sbatch")
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    array |= {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "1"}
    saves = str(job.folder / "scratch/videopapr/runs/animate_papr/fox/checkpoints/step_1")
    code, output = job.run(animate, "fox", SAVES_IN=saves, **array)
    assert code == 75 and "submit the same command again to continue" in output, output
    code, output = job.run(animate, "fox", SAVES_IN=saves, RESUBMIT="1", **array)
    assert code == 75, output
    assert job.lines("sbatch_args") == ["--array=1-1%1", animate, "fox"]

"""The folder in which a job's processes tell each other when to stop: it goes when the job ends."""

import os
import signal
import time
from pathlib import Path

import pytest
from job_runner import RENDER, ROOT, TRAIN, Job

TENSORBOARD = str(ROOT / "slurm" / "tensorboard.sbatch")


def control(job: Job) -> Path:
    return job.folder / "scratch/videopapr/runs/.jobs/1"


def wait_running(job: Job) -> None:
    deadline = time.monotonic() + 20
    while not (job.folder / "running").exists():
        assert time.monotonic() < deadline, "the command never started"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "variables", "code"),
    [
        (TRAIN, {"CODE": "0"}, 0),
        (TRAIN, {"CODE": "3"}, 3),
        (TRAIN, {"RESUBMIT": "1"}, 75),
        (TRAIN, {"VENV": "/nowhere"}, 2),
        (RENDER, {"CODE": "0", "SHARDS": "1", "SLURM_ARRAY_TASK_ID": "0"}, 0),
        (TENSORBOARD, {"VENV": "/nowhere"}, 2),
    ],
    ids=["done", "fault", "again", "no_environment", "render", "tensorboard"],
)
def test_nothing_is_left_of_a_job_that_has_ended(
    job: Job, script: str, variables: dict[str, str], code: int
) -> None:
    (job.folder / "list.txt").write_text("a.glb\n")
    variables = {"MANIFEST": str(job.folder / "list.txt"), **variables}
    ended, output = job.run(script, "fox", **variables)
    assert ended == code, output
    assert bool(job.lines("sbatch_args")) == ("RESUBMIT" in variables), output
    assert list(control(job).parent.iterdir()) == []


def test_a_preempted_job_that_requeues_itself_leaves_nothing_either(job: Job) -> None:
    scontrol = job.folder / "bin" / "scontrol"
    scontrol.write_text(
        '#!/bin/bash\n[[ $1 != requeue ]] || echo "$*" > "$TEST/requeued"\n'
        "echo JobId=1 PreemptTime=2026-01-01T00:00:00\n"
    )
    code, output = job.run(TRAIN, "fox")
    assert code == 75 and "waiting in the queue again" in output
    assert job.lines("requeued") == ["requeue 1"]
    assert list(control(job).parent.iterdir()) == []


def test_a_start_after_a_kill_begins_with_a_clean_folder(job: Job) -> None:
    process = job.start(TRAIN, "fox", WAITS="1")
    wait_running(job)
    process.kill()
    os.kill(int(job.lines("running")[0]), signal.SIGKILL)
    process.communicate(timeout=30)
    assert (control(job) / "started").exists(), "a killed shell can clear nothing away"
    (control(job) / "stop").touch()
    (control(job) / "code.7").write_text("9\n")
    (job.folder / "running").unlink()
    code, output = job.run(TRAIN, "fox", CODE="0", WAITS="1", WORK="1.5", SLURM_RESTART_COUNT="1")
    assert code == 0 and "start number 2," in output, output
    assert job.lines("signal") == [], "the old start's stop is not for this one"
    assert list(control(job).parent.iterdir()) == []


def test_the_folder_of_a_later_start_is_left_to_it(job: Job) -> None:
    """A node was thought lost, and the job was put back into the queue, but its shell lives on."""
    process = job.start(TRAIN, "fox", WAITS="1")
    wait_running(job)
    (control(job) / "started").write_text("another-node 1 2\n")
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75, output
    assert (control(job) / "started").read_text() == "another-node 1 2\n"

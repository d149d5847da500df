"""The job files under a real Slurm of one node, with a command in small; skipped without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from job_place import Place
from slurm_cluster import ROOT, Cluster, kill
from stand_in import make_environment

pytestmark = pytest.mark.slow


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    return Place(cluster, tmp_path, make_environment(tmp_path))


@pytest.mark.parametrize("name", ["USR1", "TERM", "INT"])
def test_a_signal_to_the_shell_saves_whatever_its_name(
    cluster: Cluster, place: Place, name: str
) -> None:
    job = place.start(RESUBMIT="1", RESUBMIT_OPTIONS="--hold")
    before = cluster.jobs()
    cluster.signal_shell(job, name)
    cluster.wait_ended(job)
    assert cluster.show(job)["ExitCode"] == "75:0", cluster.log(job)
    assert place.text("signal") == "SIGUSR1"
    # Time running out is a reason to come back, being cancelled is not.
    came_back = [new for new in cluster.jobs() if new not in before]
    assert len(came_back) == (name == "USR1"), cluster.log(job)
    if came_back:
        cluster.call("scancel", *came_back)


def test_a_cancelled_job_saves_within_the_grace_time(cluster: Cluster, place: Place) -> None:
    job = place.start(RESUBMIT="1")
    cluster.call("scancel", job)
    assert cluster.wait_ended(job) == ["CANCELLED"]
    cluster.wait_until((place.folder / "signal").exists, "the command hears of it")
    assert place.text("signal") == "SIGTERM"
    assert (Path(place.variables["SAVES_IN"]) / "state.json").exists()


def test_signals_before_the_command_runs_are_remembered(cluster: Cluster, place: Place) -> None:
    job = place.submit(PREPARATION="3")
    cluster.wait_until(lambda: "start number 1" in cluster.log(job), "the job starts")
    cluster.signal_shell(job, "USR1")
    cluster.wait_ended(job)
    assert cluster.show(job)["ExitCode"] == "75:0"
    assert "before the command began" in cluster.log(job)
    assert not (place.folder / "imports").exists()


@pytest.mark.parametrize("whom", ["--batch", "--full"])
def test_signals_while_the_command_imports_reach_it_later(
    cluster: Cluster, place: Place, whom: str
) -> None:
    job = place.submit(IMPORTS="3", WAITS="1")
    cluster.wait_until((place.folder / "imports").exists, "the command imports")
    cluster.call("scancel", whom, "--signal=USR1", job)
    cluster.wait_ended(job)
    assert cluster.show(job)["ExitCode"] == "75:0", cluster.log(job)
    assert place.text("signal") == "SIGUSR1"


def test_a_requeued_job_keeps_its_log_and_counts_its_starts(cluster: Cluster, place: Place) -> None:
    job = place.start()
    cluster.call("scontrol", "requeue", job)
    cluster.wait_until(lambda: cluster.state(job) == "PENDING", "the job waits again", 20)
    os.unlink(place.folder / "running")
    cluster.start_again(job)
    cluster.wait_until((place.folder / "running").exists, "the job runs again")
    log = cluster.log(job)
    assert "start number 1," in log and "start number 2," in log
    cluster.call("scancel", job)
    cluster.wait_ended(job)


def test_a_preempted_job_saves_and_comes_back(cluster: Cluster, place: Place) -> None:
    job = place.start("--cpus-per-task=64")
    urgent = cluster.call(
        *("sbatch", "--parsable", "--partition=urgent", "--cpus-per-task=64", "--mem=1G"),
        *("--output=/dev/null", "--wrap=true"),
    )
    assert cluster.wait_ended(urgent) == ["COMPLETED"]
    assert place.text("signal") in ("SIGTERM", "SIGUSR1")
    cluster.start_again(job)
    cluster.wait_until(lambda: "start number 2," in cluster.log(job), "the job runs again", 20)
    cluster.call("scancel", job)
    cluster.wait_ended(job)


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_limit_without_a_warning_saves_and_comes_back(
    cluster: Cluster, place: Place, tasks: int
) -> None:
    array = ("--array=1-2%1",) if tasks == 2 else ()
    job = place.start("--signal=B:CONT@1", *array, RESUBMIT="1", RESUBMIT_OPTIONS="--hold")
    before, first = cluster.jobs(), f"{job}_1" if array else job
    cluster.call("scontrol", "update", f"JobId={first}", "EndTime=now+1")
    assert cluster.wait_ended(first, seconds=90) == ["TIMEOUT"], cluster.log(first)
    assert place.text("signal") in ("SIGTERM", "SIGUSR1")
    came_back = [new for new in cluster.jobs() if new not in before]
    if array:  # the task that waits goes on
        assert not came_back and cluster.state(f"{job}_2") in ("PENDING", "RUNNING")
        assert "the next task of the chain continues" in cluster.log(first)
    assert len(came_back) == (0 if array else 1), cluster.log(first)
    cluster.call("scancel", job, *came_back)
    cluster.wait_until(lambda: not cluster.call("squeue", "-h", "-j", job), "all has ended")


@pytest.mark.parametrize(("code", "tasks"), [("0", 1), ("2", 1), ("3", 1), ("75", 3)])
def test_a_chain_stops_when_there_is_nothing_to_continue(
    cluster: Cluster, place: Place, code: str, tasks: int
) -> None:
    job = place.submit("--array=1-3%1", f"--output={place.folder}/%a.out", CODE=code)
    cluster.wait_until(lambda: not cluster.call("squeue", "-h", "-j", job), "the chain ends")
    logs = sorted(path.name for path in place.folder.glob("*.out"))
    assert logs == [f"{number}.out" for number in range(1, tasks + 1)]
    said = (place.folder / "1.out").read_text()
    assert ("the next task of the chain continues" in said) == (code == "75")


def test_the_last_task_of_a_chain_submits_the_chain_again(cluster: Cluster, place: Place) -> None:
    before = cluster.jobs()
    job = place.submit("--array=1-2%1", RESUBMIT="1", RESUBMIT_OPTIONS="--hold")
    cluster.wait_ended(f"{job}_1", f"{job}_2")
    (again,) = [new for new in cluster.jobs() if new not in (*before, job)]
    record = cluster.show(again)
    assert record["ArrayTaskId"].startswith("1-2") and record["ArrayTaskThrottle"] == "1"
    cluster.call("scancel", again)


def test_a_job_of_two_processes_comes_back_as_it_was_asked_for(
    cluster: Cluster, place: Place
) -> None:
    before = cluster.jobs()
    options = ("--ntasks-per-node=2", "--time=7:00", "--cpus-per-task=3", "--mem-per-cpu=1G")
    saves = str(place.runs / "mnvs/fox/checkpoints/step_1")
    job = place.submit(*options, file="train_mnvs", RESUBMIT="1", SAVES_IN=saves)
    cluster.wait_ended(job)
    cluster.wait_until(lambda: len(cluster.jobs()) > len(before) + 1, "it comes back")
    (again,) = [new for new in cluster.jobs() if new not in (*before, job)]
    cluster.call("scancel", again)
    names = ("NumTasks", "CPUs/Task", "TimeLimit", "NtasksPerN:B:S:C", "MinMemoryCPU")
    first, second = cluster.show(job), cluster.show(again)
    assert [first.get(name) for name in names] == [second.get(name) for name in names]
    assert first["TimeLimit"] == "00:07:00" and first["CPUs/Task"] == "3"


def test_a_killed_process_of_two_is_named_and_ends_the_job(cluster: Cluster, place: Place) -> None:
    job = place.start("--ntasks-per-node=2", file="train_mnvs", WORK="5")
    cluster.wait_until((place.folder / "running.1").exists, "the second process runs")
    kill(place.folder / "running.1")
    cluster.wait_ended(job)
    assert "process 1 was killed by signal 9" in cluster.log(job)
    assert cluster.show(job)["ExitCode"] == "137:0"


def test_a_lost_node_is_no_success(cluster: Cluster, place: Place) -> None:
    job = place.start()
    node = cluster.call("sinfo", "-h", "-o", "%n")
    cluster.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    cluster.wait_until(lambda: cluster.state(job) != "RUNNING", "the job is lost")
    cluster.call("scancel", job)
    # A node that is well comes back by itself.
    cluster.wait_until(lambda: cluster.call("sinfo", "-h", "-o", "%T") == "idle", "idle again")
    assert "ended with code 0" not in cluster.log(job)


def test_phases_are_sent_as_one_and_a_render_array_gets_no_gpu(
    cluster: Cluster, place: Place
) -> None:
    (place.folder / "list.txt").write_text("a.glb\nb.glb\nc.glb\n")
    words = ["render", str(place.folder / "list.txt"), "--shards", "2", "--time", "9"]
    words += ["--output=/dev/null", "--then", "papr", "fox", "--time", "9", "--gpu", "h100:1"]
    said = cluster.call(
        *(sys.executable, ROOT / "scripts/submit.py", *words, "--output=/dev/null"),
        **{**place.variables, "SBATCH_GPUS_PER_NODE": "h100:2", "CODE": "0"},
    )
    render, papr = re.findall(r"^job (\d+)$", said, re.MULTILINE)
    assert cluster.wait_ended(f"{render}_0", f"{render}_1", papr) == ["COMPLETED"] * 3
    gpus = [cluster.show(job).get("TresPerNode", "") for job in (f"{render}_0", papr)]
    assert gpus == ["", "gres:gpu:h100:1"]


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests already run as a plain user")
def test_all_of_it_works_as_a_plain_user() -> None:
    nobody = 65534
    cluster = Cluster(user=nobody)
    try:
        place = Place(cluster, cluster.folder / "place", make_environment(cluster.folder / "place"))
        subprocess.run(["chown", "-R", str(nobody), place.folder], check=True)
        job = place.start()
        cluster.signal_shell(job, "USR1")
        cluster.wait_ended(job)
        assert cluster.show(job)["ExitCode"] == "75:0", cluster.log(job)
        assert (place.folder / "signal").stat().st_uid == nobody
    finally:
        cluster.close()

"""Real trainings as jobs of a real Slurm of one node: interrupted ones end with the same bits."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import tiny_animation as tiny
from job_place import Place, real_environment
from moving_dots import write_dots
from slurm_cluster import Cluster, processes
from small_command import SIZES, command

from animate_papr import train
from mnvs.checkpoints.tiny_checkpoint import build_tiny

pytestmark = pytest.mark.slow
# Sums of float32 numbers in another order; losses are about 1.
RELATIVE_TOLERANCE = 1e-4


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    """With the interpreter that runs the tests as the jobs' environment."""
    return Place(cluster, tmp_path, real_environment(tmp_path))


def same_animation(ours: Path, theirs: Path, first: int, following: int) -> None:
    """All frames of two animations agree bit for bit."""
    for i, frame in enumerate(tiny.FRAMES):
        tiny.assert_same_checkpoint(ours / frame, theirs / frame, following if i else first)
        points = (folder / frame / "points.safetensors" for folder in (ours, theirs))
        assert len({path.read_bytes() for path in points}) == 1


def animate(place: Place, tasks: str, steps: tuple[int, int], *options: str) -> tuple[str, Path]:
    """Train an animation in one go, and submit it as a chain: the chain's id, and its frames."""
    dataset = tiny.write_animation(place.folder / "sphere")
    more = [f"first.steps={steps[0]}", f"next.steps={steps[1]}", "threads=1", "log.every=10"]
    more.append("log.checkpoint_every=100")
    whole = tiny.arguments(dataset, place.folder / "whole", *more)
    assert train.main(whole) == 0
    words = [word for word in whole if not word.startswith(("name=", "output_root="))]
    chain = ["--cpus-per-task=1", f"--array={tasks}%1", *options, "--", "tiny", *words]
    job = place.submit(*chain, file="animate")
    return job, place.runs / "animate_papr/tiny/frames"


def test_an_animation_chained_by_signals_ends_with_the_same_bits(
    cluster: Cluster, place: Place
) -> None:
    steps = (150, 100)  # the command hears of a signal up to two seconds later
    job, frames = animate(place, "1-5", steps)
    moments = [tiny.beyond(frames / tiny.FRAMES[0], 20), tiny.beyond(frames / tiny.FRAMES[1], 10)]
    for task, ready in enumerate(moments, start=1):
        cluster.wait_until(ready, f"task {task} is in its frame", 60)
        cluster.signal_shell(f"{job}_{task}", "USR1")
        cluster.wait_ended(f"{job}_{task}")
    cluster.wait_until(lambda: not cluster.call("squeue", "-h", "-j", job), "the chain ends", 90)
    logs = sorted(path.name for path in place.folder.glob(f"{job}_*.out"))
    assert logs == [f"{job}_{task}.out" for task in (1, 2, 3)], "the rest is taken back"
    same_animation(frames, place.folder / "whole/animate_papr/tiny/frames", *steps)


@pytest.mark.skipif("LONG_TESTS" not in os.environ, reason="takes minutes: LONG_TESTS=300,150")
def test_an_animation_chained_by_limits_of_a_minute_ends_with_the_same_bits(
    cluster: Cluster, place: Place
) -> None:
    steps = tuple(int(number) for number in os.environ["LONG_TESTS"].split(","))
    job, frames = animate(place, "1-20", (steps[0], steps[1]), "--time=1")
    cluster.wait_until(lambda: not cluster.call("squeue", "-h", "-j", job), "the chain ends", 1500)
    logs = [path.read_text() for path in sorted(place.folder.glob(f"{job}_*.out"))]
    assert 2 <= len(logs) < 20
    assert all("the limit of 60 s is short" in log for log in logs[:-1])
    assert all("the next task of the chain continues" in log for log in logs[:-1])
    same_animation(frames, place.folder / "whole/animate_papr/tiny/frames", steps[0], steps[1])


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    return [line["loss/total"] for line in lines if "loss/total" in line]


def test_a_killed_process_of_two_leaves_a_run_that_one_process_continues(
    cluster: Cluster, place: Place
) -> None:
    network = build_tiny(place.folder / "tiny", **SIZES)
    dots = [write_dots(place.folder / "dots", frames=3)]
    steps = (
        "train.steps=24",
        "validation.every=0",
        "log.checkpoint_every=10",
        "train.accumulate=1",
    )
    words = command(network, dots, place.runs, *steps)
    words = [word for word in words if not word.startswith(("name=", "output_root="))]
    run = place.runs / "mnvs/pair"
    job = place.submit(
        *("--ntasks-per-node=2", "--cpus-per-task=1", "--", "pair", *words), file="train_mnvs"
    )
    cluster.wait_until(tiny.beyond(run, 12), "12 steps are logged", 120)
    # By its data, too: other tests may train beside this one.
    own = next(word for word in words if word.startswith("data.paths="))
    (second,) = (pid for pid in processes("mnvs.train", own) if _variable(pid, "RANK") == "1")
    os.kill(second, signal.SIGKILL)
    cluster.wait_ended(job, seconds=60)
    log = cluster.log(job)
    assert "process 1 was killed by signal 9" in log
    assert "another process of this run has died" in log and "Traceback" not in log
    saved = sorted((run / "checkpoints").glob("step_*"))
    assert saved and not list((run / "checkpoints").glob(".tmp*"))
    assert int(saved[-1].name[-8:]) < 24

    again = place.submit("--cpus-per-task=1", "--", "pair", *words, file="train_mnvs")
    assert cluster.wait_ended(again, seconds=90) == ["COMPLETED"], cluster.log(again)
    alone = place.submit("--cpus-per-task=1", "--", "alone", *words, file="train_mnvs")
    assert cluster.wait_ended(alone, seconds=90) == ["COMPLETED"], cluster.log(alone)
    ours, theirs = losses(run), losses(place.runs / "mnvs/alone")
    assert len(ours) == len(theirs) == 24
    assert ours == pytest.approx(theirs, rel=RELATIVE_TOLERANCE)


def _variable(pid: int, name: str) -> str:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    found = re.search(rf"(?:^|\0){name}=([^\0]*)", text)
    return found[1] if found else ""

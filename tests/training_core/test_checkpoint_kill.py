"""Checkpoints of a process that is killed while it saves."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from stored_value import value

from training_core.checkpoint import CheckpointStore

ROOT = Path(__file__).resolve().parents[2]


def test_kill_between_two_renames_of_one_step(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_last=1)
    folder = store.save(1, {"x": torch.tensor(1.0)}, {})
    folder.rename(folder.with_suffix(".old"))
    assert value(store) == 1.0
    store.save(2, {"x": torch.tensor(2.0)}, {})
    assert sorted(os.listdir(tmp_path)) == ["latest", "step_00000002"]


def save_until_killed(folder: Path, last_event: int) -> None:
    """Save steps 2, 2 again and 3; die without any cleanup at the given file operation."""
    watched = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
    events = 0

    def count(event: str, arguments: object) -> None:
        nonlocal events
        events += event in watched
        if events == last_event:
            os._exit(1)

    sys.addaudithook(count)
    store = CheckpointStore(folder, keep_last=1)
    for step, content, metric in ((2, 2.0, 1.0), (2, 2.5, 2.0), (3, 3.0, 1.5)):
        store.save(step, {"x": torch.tensor(content)}, {"content": content}, metric)
    os._exit(0)


@pytest.mark.slow
def test_kill_at_every_file_operation_of_a_save(tmp_path: Path) -> None:
    seen = set()
    for last_event in range(1, 500):
        folder = tmp_path / str(last_event)
        CheckpointStore(folder).save(1, {"x": torch.tensor(1.0)}, {"content": 1.0}, 0.5)
        child = os.fork()
        if child == 0:
            try:
                save_until_killed(folder, last_event)
            finally:
                os._exit(2)  # an error must not let the child go on as a second test run
        finished = os.waitpid(child, 0)[1] == 0
        store = CheckpointStore(folder, keep_last=1)
        saved = store.load()
        assert saved is not None
        assert saved.tensors["x"].item() == saved.state["content"]
        seen.add(saved.state["content"])
        assert value(store, store.best()) in (1.0, 2.0, 2.5)
        store.save(4, {"x": torch.tensor(4.0)}, {}, 9.0)
        assert sorted(os.listdir(folder)) == ["best", "latest", "step_00000004"]
        if finished:
            break
    assert finished
    assert seen == {1.0, 2.0, 2.5, 3.0}


SAVER = """
import sys, torch
from training_core.checkpoint import CheckpointStore
store = CheckpointStore(sys.argv[1], keep_last=1)
saved = store.load()
step = saved.step if saved else 0
while True:
    step += 1
    for again in range(2):  # the second time replaces the first
        store.save(step, {"x": torch.full((20000,), float(step))}, {"step": step}, metric=step % 7)
    print(step, flush=True)
"""


def test_kill_minus_nine_while_saving(tmp_path: Path) -> None:
    rng = random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        first = int(process.stdout.readline())
        assert first == done + 1
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        printed = [first, *map(int, process.stdout.read().split())]
        process.wait()
        process.stdout.close()
        saved = CheckpointStore(tmp_path).load()
        assert saved is not None
        assert saved.step >= printed[-1]
        assert saved.state["step"] == saved.step
        assert torch.equal(saved.tensors["x"], torch.full((20000,), float(saved.step)))
        done = saved.step
    CheckpointStore(tmp_path, keep_last=1).save(done + 1, {}, {})
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.old"))

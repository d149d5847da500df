"""Metrics files, TensorBoard events and progress."""

import io
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training_core import metrics_log
from training_core.metrics_log import MetricsLog, last_logged_step, progress_bar, write_final
from training_core.run_folder import RunFolder


@dataclass
class Empty:
    steps: int = 1


def open_run(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path, "papr", "fox", Empty())


def lines(run: RunFolder) -> list[dict]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def test_every_line_is_on_disk_at_once(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with MetricsLog(run, 0) as log:
        log.log(1, {"loss": 0.1 + 0.2, "psnr": float("nan")})
        (line,) = lines(run)
    assert line.pop("seconds") >= 0.0
    assert line == {"step": 1, "loss": 0.30000000000000004, "psnr": None}


@pytest.mark.parametrize(
    "damage",
    [
        b"\x89PNG\r\n\x1a\n\x00\xff\xfe",
        b"[" * 200_000 + b"\n",
        b'{"step": "x"}\n',
        b'{"step": 1e999}\n',
    ],
    ids=["binary", "nested", "text", "infinite"],
)
def test_damage_among_the_lines_is_dropped(tmp_path: Path, damage: bytes) -> None:
    run = open_run(tmp_path)
    with MetricsLog(run, 0) as log:
        log.log(1, {"loss": 1.0})
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(damage)
    assert last_logged_step(run.path / "metrics.jsonl") == 1
    with MetricsLog(open_run(tmp_path), 1) as log:
        log.log(2, {"loss": 2.0})
    assert [line["step"] for line in lines(run)] == [1, 2]


def test_continuing_drops_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with MetricsLog(run, 0) as log:
        for step in (1, 2, 3, 4):
            log.log(step, {"loss": float(step)})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')  # killed while writing
    with MetricsLog(open_run(tmp_path), 2) as log:
        log.log(3, {"loss": 30.0})
    assert [(x["step"], x["loss"]) for x in lines(run)] == [(1, 1.0), (2, 2.0), (3, 30.0)]

    board = EventAccumulator(str(run.tensorboard)).Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_pictures_and_points_reach_tensorboard(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    with MetricsLog(run, 0) as log:
        picture = torch.zeros(4, 6, 3)
        picture[0, 0] = torch.tensor([1.5, 0.5, -1.0])  # beyond the range is clipped
        log.image("view", picture, 1)
        log.points("cloud", torch.rand(5, 3), np.ones((5, 3)), 1)
    board = EventAccumulator(str(run.tensorboard), size_guidance={"images": 0, "tensors": 0})
    board.Reload()
    (event,) = board.Images("view")
    assert (event.width, event.height) == (6, 4)
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert pixels[0, 0].tolist() == [255, 127, 0] and pixels[1:].max() == 0
    tags = board.Tags()["tensors"]
    assert "cloud_VERTEX" in tags and "cloud_COLOR" in tags


def test_full_disk_names_the_metrics_file(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_log, "_drop_after", lambda path, step: None)
        log = MetricsLog(run, 0)
    with pytest.raises(OSError, match="No space left") as caught:
        log.log(1, {"loss": 1.0})
    assert caught.value.filename == str(run.path / "metrics.jsonl")


def test_final_figures(tmp_path: Path) -> None:
    run = open_run(tmp_path)
    write_final(run, {"psnr": 25.1, "lpips": None})
    assert json.loads((run.path / "metrics.json").read_text()) == {"psnr": 25.1, "lpips": None}
    clips = {"a": {"psnr": float("-inf"), "name": "nan"}, "b": [1.5, float("nan"), True, 7]}
    write_final(run, {"psnr": np.float64("nan"), "clips": clips, "size": (3, float("inf"))})
    text = (run.path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")) == {
        "psnr": None,
        "clips": {"a": {"psnr": None, "name": "nan"}, "b": [1.5, None, True, 7]},
        "size": [3, None],
    }


def test_progress_without_a_terminal_logs_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(metrics_log.time, "monotonic", lambda: now)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    with progress_bar(100, initial=40, description="training") as bar:
        for step in range(41, 71):
            now += 1.0
            bar.set_postfix(loss=0.123456, points=step)
            bar.update()
    # What must be read off a line: where it is, how long it took, how long it takes, the figures.
    wanted = [("55/100", "00:15", "00:45", "points=55"), ("70/100", "00:30", "00:30", "points=70")]
    assert len(caplog.messages) == len(wanted)
    for message, parts in zip(caplog.messages, wanted, strict=True):
        places = [message.index(part) for part in ("training", *parts)]
        assert places == sorted(places) and "loss=0.12" in message


def test_progress_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with progress_bar(0, description="frames", unit="frame"):
        pass
    (message,) = caplog.messages
    assert "frames" in message and "0/0" in message


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_bar(3, description="training") as bar:
        for _ in range(3):
            bar.set_postfix(loss=0.5)
            bar.update()
    assert "training: 100%" in terminal.getvalue()
    assert "3/3" in terminal.getvalue() and "loss=0.5" in terminal.getvalue()

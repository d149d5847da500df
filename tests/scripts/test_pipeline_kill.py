"""The whole pipeline, stopped anywhere, ends with the bytes of a run that was not."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pipeline
import pytest
from kill_runs import PRELOADED, end_when
from PIL import Image
from tiny_pipeline import FIRST_STEPS, NEXT_STEPS, STAGES, arguments, complete, made, run_folder

from blender_render.dataset.readers import read_dataset_info
from training_core.cli import EXIT_STOPPED


@pytest.mark.slow
def test_six_views_killed_anywhere_end_with_the_same_bytes(sixview: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert pipeline.main(arguments(whole, "views", sixview)) == 0
    summary = json.loads((run_folder(whole) / "summary.json").read_text())
    assert len(summary["psnr"]) == 2 and "input view" in summary["psnr_of"]
    page = (run_folder(whole) / "report.html").read_text()
    assert "judged on the input view" in page

    command, folder = arguments(killed, "views", sixview), run_folder(killed)
    frames = folder / "4_animate" / "animate_papr" / "tiny" / "frames"
    moments: list[tuple[Callable[[], bool], signal.Signals]] = [
        ((folder / "2_views" / "log.txt").exists, signal.SIGTERM),
        ((folder / "2_views" / "complete.json").exists, signal.SIGKILL),
        ((folder / "3_dataset" / "log.txt").exists, signal.SIGKILL),
        ((folder / "3_dataset" / "complete.json").exists, signal.SIGKILL),
        (lambda: _step(frames / "frame_000") > 20, signal.SIGKILL),
        ((frames / "frame_000" / "metrics.json").exists, signal.SIGKILL),
        (lambda: _step(frames / "frame_001") > 5, signal.SIGTERM),
        ((folder / "4_animate" / "complete.json").exists, signal.SIGKILL),
        ((folder / "5_results" / "steps.json").exists, signal.SIGKILL),
        (lambda: len(list(folder.rglob("*.ply"))) > 0, signal.SIGKILL),
    ]
    for ready, number in moments:
        wanted = EXIT_STOPPED if number == signal.SIGTERM else -number
        assert end_when("pipeline", command, ready, number, (*PRELOADED, "pipeline")) == wanted
    assert pipeline.main(command) == 0
    assert made(killed).keys() == made(whole).keys()
    for name, content in made(whole).items():
        assert made(killed)[name] == content, name


def _grown(log: Path) -> Callable[[], bool]:
    """Whether a log has grown since this was first asked: an earlier start may have begun it."""
    sizes: list[int] = []

    def ready() -> bool:
        sizes.append(log.stat().st_size if log.is_file() else 0)
        return sizes[-1] > sizes[0]

    return ready


def _step(frame: Path) -> int:
    """Last logged step of a frame, 0 before the first."""
    try:
        return (frame / "metrics.jsonl").read_text().count("loss/total")
    except FileNotFoundError:
        return 0


@pytest.mark.slow
def test_one_picture_becomes_an_animation(tmp_path: Path) -> None:
    """Without networks: cut out, inflated, moved, trained on."""
    picture = np.full((40, 60, 3), 235, np.uint8)
    picture[8:34, 20:40] = (200, 40, 30)
    Image.fromarray(picture).save(tmp_path / "fox.png")
    more = (
        "generate.model.inflate=true",
        "generate.inflate.motion=bounce",
        "generate.clip.frames=2",
        "generate.clip.view_size=64",
        "generate.inflate.around=2",
        "animate.next.align.steps=0",
        "inflated.longer=1.5",
        f"inflated.refine={NEXT_STEPS + 1}",
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert pipeline.main(arguments(whole, "image", tmp_path / "fox.png", *more)) == 0
    assert complete(whole) == STAGES
    record = json.loads((run_folder(whole) / "1_prepare" / "prepare.json").read_text())
    assert record["background"] == "removed, plain border method" and record["doubts"] == []
    info = read_dataset_info(run_folder(whole) / "2_views" / "multiview")
    assert "nothing is known of the character" in info["test_views"]
    settings = (
        run_folder(whole) / "4_animate" / "animate_papr" / "tiny" / "config.yaml"
    ).read_text()
    assert "2_views/multiview" in settings and "init: hull" in settings
    # Said for inflated bodies, in configs/pipeline/small.yaml; six views alone have another one.
    # How the body moves is known and carries the points, so later frames are refined only.
    steps = [f"steps: {count}" for count in (FIRST_STEPS * 3 // 2, NEXT_STEPS + 1)]
    said = (
        "bandwidth: 2.5",
        "reach: 0.025",
        "colours: 4.0",
        "to: tracks",
        "factor: 0.2",
        "hull_events: 4",
        *steps,
    )
    assert all(line in settings for line in said)

    command, folder = arguments(killed, "image", tmp_path / "fox.png", *more), run_folder(killed)
    moments = [
        ((folder / "1_prepare" / "complete.json").exists, signal.SIGKILL),
        (_grown(folder / "2_views" / "log.txt"), signal.SIGTERM),
        ((folder / "2_views" / "sixview").exists, signal.SIGKILL),
    ]
    for ready, number in moments:
        wanted = EXIT_STOPPED if number == signal.SIGTERM else -number
        assert end_when("pipeline", command, ready, number, (*PRELOADED, "pipeline")) == wanted
    assert pipeline.main(command) == 0
    assert made(killed) == made(whole)

"""The whole pipeline at the smallest size, from each kind of input."""

import json
import logging
from pathlib import Path

import numpy as np
import pipeline
import pytest
import torch
from ball_scene import edit_json, write_dataset, write_sixview
from blender_runs import needs_blender
from refusals import assert_refused
from tiny_pipeline import FIRST_STEPS, STAGES, arguments, complete, run_folder, stamps

from blender_render import pack
from blender_render.dataset.readers import read_dataset_info, read_sixview
from blender_render.imaging.video import write_video
from blender_render.validate import validate
from training_core.config import InputError
from training_core.files.json_files import read_json


@pytest.mark.slow
@pytest.mark.parametrize("mark", [pytest.param("", marks=needs_blender)])
def test_an_asset_is_judged_on_views_it_never_saw(
    mark: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = (
        "render.resolution=24",
        "render.frames.count=2",
        "render.held_out=2",
        "render.engine.samples=1",
    )
    command = arguments(tmp_path, "asset", "builtin:demo", *small)
    assert pipeline.main(command) == 0
    assert complete(tmp_path) == STAGES[1:]
    folder = run_folder(tmp_path)
    dataset = folder / "3_dataset" / "frames"
    assert validate(dataset) == []
    info = read_dataset_info(dataset)
    assert info["test"] == "held out" and info["asset"] == "builtin:demo"
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["psnr"]) == 2 and summary["seconds"].keys() == set(STAGES[1:4])
    assert "views that training never saw" in (folder / "report.html").read_text()

    before = stamps(folder)
    with caplog.at_level(logging.INFO):
        assert pipeline.main(command) == 0
    assert stamps(folder) == before and caplog.text.count("complete already") == 4


def test_frame_folders_are_trained_on_as_they_are(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "balls", frames=1)
    assert pipeline.main(arguments(tmp_path, "views", dataset)) == 0
    run = run_folder(tmp_path) / "4_animate" / "animate_papr" / "tiny"
    assert f"path: {dataset}" in (run / "config.yaml").read_text()
    assert not (run_folder(tmp_path) / "3_dataset" / "frames").exists()


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "others' frames"])
def test_frame_folders_of_any_kind_come_to_their_end(tmp_path: Path, packed: bool) -> None:
    dataset = write_dataset(tmp_path / "balls", frames=1)
    if packed:
        pack.main([str(dataset), "--remove"])
        dataset = dataset.with_suffix(".zip")
    else:
        (dataset / "dataset.json").unlink()
    assert pipeline.main(arguments(tmp_path, "views", dataset)) == 0
    summary = json.loads((run_folder(tmp_path) / "summary.json").read_text())
    assert len(summary["psnr"]) == 1 and summary["psnr_of"] is None


@pytest.mark.slow
def test_a_video_becomes_an_animation_at_its_own_rate(tmp_path: Path) -> None:
    """Every second of six frames, cut out of plain grey; a square rises by 2 pixels a frame."""
    frames = np.full((6, 48, 64, 3), 0.9)
    for time, frame in enumerate(frames):
        frame[24 - 2 * time : 40 - 2 * time, 20:40] = (0.8, 0.2, 0.1)
    write_video(tmp_path / "square.mp4", frames, fps=12.0)
    more = (
        *("generate.model.inflate=true", "generate.inflate.around=2", "generate.clip.view_size=48"),
        *("generate.clip.frames=3", "generate.clip.stride=2", "animate.next.align.steps=0"),
    )
    assert pipeline.main(arguments(tmp_path, "video", tmp_path / "square.mp4", *more)) == 0
    assert complete(tmp_path) == STAGES
    record = read_json(run_folder(tmp_path) / "1_prepare" / "prepare.json")
    assert record["background"] == "removed, plain border method" and record["frames"] == 3
    info = read_dataset_info(run_folder(tmp_path) / "2_views" / "multiview")
    assert info["fps"] == pytest.approx(6.0) and len(info["frames"]) == 3
    alphas = read_sixview(run_folder(tmp_path) / "2_views" / "sixview").input[..., 3] > 127
    heights = [float(torch.where(alpha)[0].double().mean()) for alpha in alphas]
    assert heights[0] > heights[1] > heights[2], "it rises"
    summary = read_json(run_folder(tmp_path) / "summary.json")
    assert len(summary["psnr"]) == 3


def test_settings_may_change_until_their_stage_has_begun(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The second stage fails, so that the run stops there.
    unreadable = ("animate.points.init=depth",)
    asked = arguments(tmp_path, "views", sixview, *unreadable)
    said = assert_refused(pipeline.main, asked, capsys, "points.init=depth")
    assert complete(tmp_path) == ["2_views", "3_dataset"]
    log = run_folder(tmp_path) / "4_animate" / "log.txt"
    assert said.removeprefix("error: ") in log.read_text()
    assert_refused(
        pipeline.main,
        arguments(tmp_path, "views", sixview),
        capsys,
        "animate.points.init=depth, now animate.points.init=network",
    )
    # Taken away, the stage has not begun, and the ones before it are kept.
    before = stamps(run_folder(tmp_path) / "3_dataset")
    for path in sorted((run_folder(tmp_path) / "4_animate").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    stop = "animate.first.dead_patience=7"
    assert pipeline.main(arguments(tmp_path, "views", sixview, stop, "results.fps=9")) == 0
    assert stamps(run_folder(tmp_path) / "3_dataset") == before
    # Six views of a rig were learned together with pseudo-views.
    assert list((run_folder(tmp_path) / "4_animate").rglob("pseudo_networks.json"))


def test_another_input_under_the_same_name_is_refused(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_sixview(tmp_path / "balls", size=24)
    command = arguments(tmp_path, "views", given, "animate.points.init=depth")
    assert_refused(pipeline.main, command, capsys, "points.init=depth")
    edit_json(given / "sample.json", lambda info: info.update(fps=3))
    for asked in (command, [*command, "--dry-run"]):
        assert_refused(pipeline.main, asked, capsys, "has changed since")
    other = [*command[2:], "--views", str(sixview)]
    for asked in (other, [*other, "--dry-run"]):
        assert_refused(pipeline.main, asked, capsys, "was started with views=")


def test_a_dry_run_shows_every_stage_and_makes_nothing(
    sixview: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.main(["--dry-run", *arguments(tmp_path, "views", sixview)]) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in STAGES[1:]) and "form: sixview" in shown
    assert f"first frame {FIRST_STEPS} steps" in shown
    asset = ["--dry-run", *arguments(tmp_path, "asset", "builtin:demo", "render.frames.count=3")]
    assert pipeline.main(asset) == 0
    assert "21 pictures" in capsys.readouterr().out
    assert not run_folder(tmp_path).exists()


@pytest.mark.parametrize("name", ["small", "full"])
def test_shipped_configs_are_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["device=auto"] if name == "full" else []
    asset = ["--asset", "builtin:demo", "--dry-run", *more]
    assert pipeline.main(["--config", name, *asset]) == 0
    assert "8 frame(s) per asset" in capsys.readouterr().out


def test_without_networks_a_picture_is_inflated(
    sixview: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing_in_the_cache(source: str) -> Path:
        raise InputError(f"{source}: not there")

    monkeypatch.setattr("mnvs.inference.published.checkpoint_folder", nothing_in_the_cache)
    picture = sixview / "input" / "000.png"
    caplog.set_level("INFO")
    assert pipeline.main(["--dry-run", *arguments(tmp_path, "image", picture)]) == 0
    assert "the silhouette is inflated" in capsys.readouterr().out
    assert "hf download sudo-ai/zero123plus-v1.2" in caplog.text
    monkeypatch.setattr("mnvs.inference.published.checkpoint_folder", Path)
    asked = ["--dry-run", *arguments(tmp_path, "image", picture)]
    assert_refused(pipeline.main, asked, capsys, "sudo-ai/zero123plus-v1.2")  # taken for there

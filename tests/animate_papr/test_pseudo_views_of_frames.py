"""Frames that learn from pseudo-views, too."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pseudo_data import random_views_network
from refusals import assert_refused
from six_spheres import random_network, write_six
from tiny_animation import arguments, write_animation

from animate_papr import train
from animate_papr.config import AnimateConfig
from animate_papr.frame_data import FrameTask, PseudoFrames
from blender_render.dataset.frames_of_sixview import write_frames
from blender_render.imaging.images import encode_png
from sjc_papr.data.world import World
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.pseudo_views.network_files import VIEW_FILES
from training_core.config import load_config
from training_core.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of six views a frame, and networks; for reading only."""
    folder = tmp_path_factory.mktemp("six_frames")
    said = {"frames": [0.0, 1.0], "world_to_asset": {"scale": 1.0, "offset": [0.0, 0.0, 0.0]}}
    said |= {"fps": 1.0, "resolution": [24, 24]}
    write_frames(write_six(folder / "video", "a", **said), folder / "frames")
    views, depth = random_views_network(), random_network()
    VIEW_FILES.save(folder / "view", views, views.state_dict(), {})
    DEPTH_FILES.save(folder / "depth", depth, depth.state_dict(), {})
    return folder


def command(folder: Path, output: Path, *more: str) -> list[str]:
    networks = [f"pseudo.network={folder / 'view'}", f"pseudo.depth_network={folder / 'depth'}"]
    short = ["first.steps=6", "next.steps=4", "next.align.steps=8", "log.validate_every=0"]
    return arguments(folder / "frames", output, *networks, *short, *more)


def test_every_frame_learns_from_them(folder: Path, tmp_path: Path) -> None:
    quality = {}
    for name, more in {"with": [], "again": [], "without": ["pseudo.count=0"]}.items():
        own = ["pseudo.count=3", *more, f"name={name}"]
        assert train.main(command(folder, tmp_path, *own)) == 0
        figures = json.loads((tmp_path / "animate_papr" / name / "metrics.json").read_text())
        quality[name] = [frame["psnr"] for frame in figures["frames"]]
    assert len(quality["with"]) == 2 and quality["with"] == quality["again"]
    assert all(a != b for a, b in zip(quality["with"], quality["without"], strict=True))


def test_those_of_the_frame_before_are_kept_or_made_anew(folder: Path, tmp_path: Path) -> None:
    config = load_config(AnimateConfig, None, command(folder, tmp_path, "pseudo.count=3"))
    run, world, pseudo = RunFolder(tmp_path, False), World(), PseudoFrames(config.pseudo)
    first, later = (
        FrameTask.read(config, index, f"frame_00{index}", run, world, pseudo) for index in range(2)
    )
    alone = FrameTask.read(config, 1, "frame_001", run, world)
    assert (
        first.pseudo and later.pseudo and alone.pseudo and later.read_before and alone.read_before
    )
    assert torch.equal(later.pseudo.images, alone.pseudo.images)
    assert not torch.equal(first.pseudo.images, later.pseudo.images)
    kept, anew = later.read_before()[1], alone.read_before()[1]
    assert kept is first.pseudo
    assert anew is not None and torch.equal(anew.images, first.pseudo.images)


def test_a_single_moment_learns_from_them_too(folder: Path, tmp_path: Path) -> None:
    quality = []
    for count in (3, 0):
        own = [f"pseudo.count={count}", f"name=count_{count}"]
        moment = f"data.path={folder / 'frames' / 'frame_000'}"
        assert train.main([*command(folder, tmp_path, *own), moment]) == 0
        run = tmp_path / "animate_papr" / f"count_{count}"
        quality.append(json.loads((run / "metrics.json").read_text())["mean_psnr"])
    assert quality[0] != quality[1]


def test_a_frame_with_a_blank_picture_goes_on_without(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = Path(shutil.copytree(folder / "frames", tmp_path / "blank"))
    blank = sorted((dataset / "frame_001" / "train").glob("*.png"))[2]
    blank.write_bytes(encode_png(np.zeros((24, 24, 4), dtype=np.uint8)))
    more = ["pseudo.count=3", f"data.path={dataset}"]
    assert train.main(command(folder, tmp_path, *more)) == 0
    assert "frame_001: no pseudo-views" in caplog.text


def test_the_plan_says_so(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dry = command(folder, tmp_path, "pseudo.count=3", "pseudo.share=0.4", "--dry-run")
    assert train.main(dry) == 0
    assert "3 pseudo-views from the six, 40% of the patches" in capfd.readouterr().out


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_frames_of_other_cameras_are_refused_before_any_work(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    dataset = write_animation(tmp_path / "sphere")
    more = ["pseudo.count=3", f"data.path={dataset}", *dry]
    asked = command(folder, tmp_path, *more)
    assert_refused(train.main, asked, capfd, "six square pictures of a rig")
    assert not (tmp_path / "animate_papr").exists()

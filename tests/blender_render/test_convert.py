"""The converter, on a made-up source in the published form and on the published renders."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_scene import draw, posed
from published_source import (
    FRAMES,
    ODD_CAMERA,
    SCALE,
    in_source_units,
    source_cameras,
    to_world,
    write_source,
)
from refusals import assert_refused
from spoilt_sources import BAD

from blender_render import convert_videopapr
from blender_render.convert_videopapr import convert, main
from blender_render.dataset import format as dataset_format
from blender_render.dataset import videopapr_source
from blender_render.dataset.archive import open_tree
from blender_render.dataset.readers import list_frames, read_dataset_info, read_views
from blender_render.dataset.videopapr_source import SourceFrame
from blender_render.geometry.visual_hull import carve
from blender_render.validate import validate


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("made") / "balls")


@pytest.fixture(scope="session")
def converted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("converted") / "balls"
    convert(made, target)
    return target


@pytest.fixture
def measured_before(
    made: Path, measured: tuple[SourceFrame, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For tests of what is written: frame 0 of ``made`` is measured once, its quality coarsely."""
    frame, to_world = measured

    def coarse(masks: Any, cameras: Any, count: int, box: Any, **more: Any) -> Any:
        return carve(masks, cameras, min(count, 32), box, **more)

    monkeypatch.setattr(convert_videopapr, "carve", coarse)
    monkeypatch.setattr(videopapr_source, "read_frame", lambda tree, name: frame)
    monkeypatch.setattr(videopapr_source, "normalisation", lambda frames: to_world)


@pytest.fixture(scope="session")
def measured(made: Path) -> tuple[SourceFrame, np.ndarray]:
    with open_tree(made) as tree:
        frame = videopapr_source.read_frame(tree, "frame_000")
    return frame, videopapr_source.normalisation([frame])


@pytest.fixture
def source(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "source"))


def test_the_result_is_a_sound_dataset(converted: Path) -> None:
    assert list_frames(converted) == ["frame_000", "frame_005"]
    assert validate(converted) == []
    info = read_dataset_info(converted)
    assert (info["frames"], info["resolution"]) == ([0, 5], [96, 64])
    for frame in info["conversion"].values():
        assert frame["poses_inverted"] is True
        assert frame["hull_iou_mean"] > 0.8


def test_every_eighth_camera_is_for_testing(converted: Path) -> None:
    counts = {s: len(read_views(converted / "frame_000", s)) for s in ("train", "val", "test")}
    assert counts == {"train": 19, "val": 2, "test": 3}
    source = source_cameras()
    info = read_dataset_info(converted)
    wanted = to_world(np.stack([source[i].position for i in (0, 8, 16)]), info)
    found = [c.position for c in read_views(converted / "frame_005", "test").cameras]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_points_of_the_scene_land_where_the_pictures_show_them(converted: Path) -> None:
    info = read_dataset_info(converted)
    for number in FRAMES:
        balls = in_source_units(posed(number))
        for split in ("train", "val", "test"):
            views = read_views(converted / dataset_format.frame_name(number), split)
            for camera, image in zip(views.cameras, views.images, strict=True):
                scaled = [
                    (tuple(to_world(np.array(c), info)), r / info["world_to_asset"]["scale"], rgb)
                    for c, r, rgb in balls
                ]
                drawn = torch.from_numpy(draw(camera, scaled)[0]).float() / 255.0
                assert (drawn - image).abs().mean() < 2e-3


def test_the_odd_camera_keeps_its_own_distance(converted: Path) -> None:
    info = read_dataset_info(converted)
    centre = to_world(np.zeros(3), info)
    distances = sorted(
        float(np.linalg.norm(camera.position - centre)) * info["world_to_asset"]["scale"]
        for split in ("train", "val", "test")
        for camera in read_views(converted / "frame_000", split).cameras
    )
    np.testing.assert_allclose(distances[:-1], 2.5 * SCALE, rtol=1e-6)
    assert distances[-1] == pytest.approx(3.5 * SCALE)


def test_the_object_is_centred_with_longest_side_one(converted: Path) -> None:
    info = read_dataset_info(converted)
    corners = []
    for number in FRAMES:
        for centre, radius, _ in in_source_units(posed(number)):
            corners += [np.array(centre) - radius, np.array(centre) + radius]
    world = to_world(np.array(corners), info)
    assert np.ptp(world, axis=0).max() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(world.min(0) + world.max(0), 0.0, atol=0.06)


def test_camera_to_world_sources_stay_as_they_are(converted: Path, tmp_path: Path) -> None:
    right = write_source(tmp_path / "right", inverted=False)
    convert(right, tmp_path / "out", frames=[0])
    info = read_dataset_info(tmp_path / "out")
    assert info["conversion"]["frame_000"]["poses_inverted"] is False
    convert_again = read_views(tmp_path / "out/frame_000", "train").cameras
    wanted = read_views(converted / "frame_000", "train").cameras
    for a, b in zip(convert_again, wanted, strict=True):
        np.testing.assert_allclose(a.cam_to_world[:3, :3], b.cam_to_world[:3, :3], atol=1e-9)


def test_smaller_pictures_are_averages_of_the_large_ones(
    made: Path, converted: Path, tmp_path: Path
) -> None:
    assert main([str(made), str(tmp_path / "out"), "--resolution", "48x32", "--frames", "5"]) == 0
    assert list_frames(tmp_path / "out") == ["frame_005"]
    small = read_views(tmp_path / "out/frame_005", "test")
    large = read_views(converted / "frame_005", "test", resolution=(48, 32))
    assert (small.images - large.images).abs().max() <= 0.51 / 255
    assert small.cameras[0].fl_x == pytest.approx(large.cameras[0].fl_x)


def test_a_second_start_does_nothing(
    made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "out"
    with caplog.at_level(logging.INFO):
        convert(made, target, (24, 16), [0])
        assert "inverted them" in caplog.text
        assert f"Camera_{ODD_CAMERA:02d}_frame_000.png stands at distance" in caplog.text
        assert "Depth was left out" in caplog.text
        before = {p: p.stat().st_mtime_ns for p in target.rglob("*")}
        caplog.clear()
        convert(made, target, (24, 16), [0])
    assert "complete already" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in target.rglob("*")} == before


@pytest.mark.parametrize("spoil, words", BAD.values(), ids=BAD)
def test_bad_sources_end_in_one_line_and_leave_nothing(
    source: Path,
    spoil: Callable[[Path], object],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(source)
    target = source.parent / "out"
    assert_refused(main, [str(source), str(target)], capsys, words)
    assert sorted(p.name for p in source.parent.iterdir()) == ["source"]


def test_wrong_targets_and_arguments(
    made: Path, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert_refused(main, [str(made), str(file)], capsys, str(file))
    assert_refused(main, [str(made), str(file / "below")], capsys, str(file))
    assert file.read_text() == "mine"
    other = [str(made), str(converted), "--resolution", "48x32"]
    assert_refused(main, other, capsys, "holds something else")
    assert validate(converted) == []
    no_frame = [str(made), str(tmp_path / "o"), "--frames", "7"]
    assert_refused(main, no_frame, capsys, "has no frame 7")
    assert_refused(main, [str(tmp_path / "no"), str(tmp_path / "o")], capsys, "does not exist")
    with pytest.raises(SystemExit) as stop:
        main([str(made), str(tmp_path / "o"), "--resolution", "48"])
    assert stop.value.code == 2


@pytest.mark.parametrize(
    "code, words",
    [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only"), (errno.EACCES, "denied")],
)
def test_a_full_or_locked_disk_leaves_no_dataset(
    made: Path,
    measured_before: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    code: int,
    words: str,
) -> None:
    written: list[Path] = []

    def fail_later(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) == 20:
            raise OSError(code, os.strerror(code), str(path))
        with path.open("wb") as file:
            return file.write(data)

    target = tmp_path / "out"
    arguments = [str(made), str(target), "--resolution", "24x16", "--frames", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail_later)
        assert_refused(main, arguments, capsys, words, str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "neither a dataset nor a half one"
    assert main(arguments) == 0
    assert dataset_format.is_complete(target)


def test_what_a_killed_start_left_is_replaced(
    made: Path, measured_before: None, tmp_path: Path
) -> None:
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "frame_000").write_text("half")
    convert(made, tmp_path / "out", (24, 16), [0])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_the_published_butterfly(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "data" / "videopapr_butterfly"
    target = tmp_path / "butterfly"
    assert main([str(source), str(target), "--resolution", "120x68", "--frames", "0,20"]) == 0
    info = read_dataset_info(target)
    for frame in info["conversion"].values():
        assert frame["poses_inverted"] is True
        assert frame["hull_iou_mean"] > 0.9
    # Its cameras stand 113.5 units from the origin, one of them 163.5.
    scale = info["world_to_asset"]["scale"]
    cameras = [
        c for s in dataset_format.SPLITS for c in read_views(target / "frame_000", s).cameras
    ]
    asset = np.stack([c.position for c in cameras]) * scale + info["world_to_asset"]["offset"]
    distances = np.sort(np.linalg.norm(asset, axis=1))
    np.testing.assert_allclose(distances[:50], 113.52, atol=0.1)
    assert distances[50] == pytest.approx(163.48, abs=0.1)
    assert validate(target) == []
    assert len(read_views(target / "frame_000", "test")) == 7

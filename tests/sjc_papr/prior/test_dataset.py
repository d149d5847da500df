"""What the small prior learns from: pairs of views of one frame, a function of the step alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_prior import NETWORK, camera
from tiny_scene import write_frame

from blender_render.dataset.readers import read_views
from blender_render.geometry.cameras import Camera
from sjc_papr.networks.rays import PixelWindow, camera_rays
from sjc_papr.prior.config import PriorDataConfig
from sjc_papr.prior.dataset import (
    WORLDS_FILE,
    FrameViews,
    PairSampler,
    frame_folders,
    in_worlds,
    keep_worlds,
    read_frames,
    worlds_of_run,
    zoomed,
)
from sjc_papr.prior.score_model import prior_rays
from sjc_papr.score_models.framing import square_view
from training_core.config import ConfigError, InputError


def dotted(view: Camera, point: np.ndarray) -> torch.Tensor:
    """A white image with a soft dark dot where the view shows the point."""
    x, y = view.project(point[None])[0][0]
    rows = torch.arange(view.height)[:, None] + 0.5 - float(y)
    columns = torch.arange(view.width)[None, :] + 0.5 - float(x)
    return (1.0 - torch.exp(-(rows**2 + columns**2) / 8.0)).expand(3, -1, -1)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.2])
def test_zoomed_picture_and_camera_agree(factor: float) -> None:
    view, point = camera(30.0, 20.0, size=48), np.array([0.3, 0.1, 0.2])
    image, longer = zoomed(dotted(view, point), view, factor)
    ink = 1.0 - image[0]
    total = ink.sum()
    found_x = (ink.sum(0) * (torch.arange(48) + 0.5)).sum() / total
    found_y = (ink.sum(1) * (torch.arange(48) + 0.5)).sum() / total
    pixels, _ = longer.project(point[None])
    assert [found_x.item(), found_y.item()] == pytest.approx(pixels[0].tolist(), abs=0.05)
    assert np.abs(pixels[0] - 24.0).min() > 2.0, "a dot in the middle would say nothing"
    # So do image and rays.
    column, row = (int(x) for x in pixels[0])
    ray = camera_rays(longer, PixelWindow(row, column, 1, 1)).directions[0, 0, 0].numpy()
    to_point = (point - view.position) / np.linalg.norm(point - view.position)
    assert float(ray @ to_point) > np.cos(0.6 / 48)


def test_zooming_out_is_white_around() -> None:
    image, _ = zoomed(torch.zeros(3, 16, 16), camera(0.0, 0.0), 0.5)
    assert bool((image[:, :3] == 1.0).all()) and bool((image[:, 6:10, 6:10] == 0.0).all())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames, of spheres in different places; for reading only."""
    folder = tmp_path_factory.mktemp("prior") / "sphere"
    for number, x in ((0, 0.0), (1, 0.3)):
        write_frame(folder / f"frame_{number:03d}", (x, 0.0, 0.0))
    return folder


def make_sampler(dataset: Path, seed: int = 0, **config: float) -> PairSampler:
    data = PriorDataConfig(paths=[str(dataset)], **config)
    return PairSampler(read_frames(data, 16, "train"), data, NETWORK, seed)


def test_a_batch_is_a_pure_function_of_the_step(dataset: Path) -> None:
    first, second = make_sampler(dataset), make_sampler(dataset)
    torch.manual_seed(1)
    for step in (3, 0, 7):
        first.sample(step, 2)
    torch.manual_seed(2)
    ours, theirs = first.sample(5, 4), second.sample(5, 4)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours.target, first.sample(6, 4).target)
    assert not torch.equal(ours.target, make_sampler(dataset, seed=1).sample(5, 4).target)


def test_pairs_are_of_one_moment_and_pictures_fit_their_rays(dataset: Path) -> None:
    sampler = make_sampler(dataset, zoom_min=1.0, zoom_max=1.0)
    # So that each image says which frame and view it is.
    sampler.frames = [
        FrameViews(
            m.name,
            torch.stack([torch.full((3, 16, 16), (10 * i + j) / 20) for j in range(10)]),
            m.cameras,
        )
        for i, m in enumerate(sampler.frames)
    ]
    batch = sampler.sample(0, 40)
    seen = {"target": set(), "frame": set()}
    for i in range(40):
        target, image = (
            round(float(x[i].mean() * 0.5 + 0.5) * 20) for x in (batch.target, batch.image)
        )
        assert target // 10 == image // 10
        seen["target"].add(target)
        seen["frame"].add(target // 10)
        cameras = sampler.frames[target // 10].cameras
        expected = prior_rays(cameras[image % 10], cameras[target % 10], NETWORK, 1.0)
        for ours, theirs in zip(batch[2:], expected, strict=True):
            assert torch.allclose(ours[i], theirs, atol=1e-6)
    assert seen["frame"] == {0, 1} and len(seen["target"]) > 10


def test_skipped_frames_are_left_out(dataset: Path) -> None:
    paths = [str(dataset)]
    assert [p.name for p in frame_folders(PriorDataConfig(paths))] == ["frame_000", "frame_001"]
    assert [p.name for p in frame_folders(PriorDataConfig(paths, [0]))] == ["frame_001"]
    frames = read_frames(PriorDataConfig(paths, [0]), 16, "train")
    assert [Path(m.name).name for m in frames] == ["frame_001"]
    assert frames[0].images.shape == (10, 3, 16, 16)
    corner = float(frames[0].images[:, :, 0, 0].min())
    assert corner == pytest.approx(1.0, abs=1e-6), "the background is white"
    with pytest.raises(ConfigError, match="no frames"):
        frame_folders(PriorDataConfig(paths, [0, 1]))
    with pytest.raises(ConfigError, match="no folder /nowhere"):
        frame_folders(PriorDataConfig(["/nowhere"]))


def test_one_frame_is_a_dataset(dataset: Path) -> None:
    folder = dataset / "frame_001"
    assert frame_folders(PriorDataConfig([str(folder)])) == [folder]


def test_a_frame_to_be_skipped_is_skipped_however_it_is_named(dataset: Path) -> None:
    both = [str(dataset / "frame_000"), str(dataset / "frame_001")]
    assert frame_folders(PriorDataConfig(both, [0])) == [dataset / "frame_001"]
    with pytest.raises(ConfigError, match="no frame 7"):
        frame_folders(PriorDataConfig([str(dataset)], [7]))


def test_pictures_that_are_not_square_are_framed_as_at_inference(dataset: Path) -> None:
    views = read_views(dataset / "frame_000", "train")
    assert views.images.shape[1] != views.images.shape[2]
    frame = read_frames(PriorDataConfig([str(dataset)]), 16, "train")[0]
    for image, square, rgb, wide in zip(
        frame.images, frame.cameras, views.composite(1.0), views.cameras, strict=True
    ):
        expected, seen_from = square_view(rgb.permute(2, 0, 1), wide, 16)
        assert torch.equal(image, expected)
        assert square.fl_x == seen_from.fl_x and square.fl_y == pytest.approx(square.fl_x)


def enlarge(dataset: Path, factor: float, shift: float) -> None:
    for file in dataset.rglob("transforms_*.json"):
        content = json.loads(file.read_text())
        for entry in content["frames"]:
            pose = np.array(entry["transform_matrix"])
            pose[:3, 3] = factor * pose[:3, 3] + shift
            entry["transform_matrix"] = pose.tolist()
        file.write_text(json.dumps(content))


def test_datasets_of_another_unit_and_place_are_carried_into_ours(
    dataset: Path, tmp_path: Path
) -> None:
    """Beside one of ours, which stays as it is; all frames move by what the first one says."""
    other = Path(shutil.copytree(dataset, tmp_path / "millimetres"))
    enlarge(other, 1000.0, 5e3)
    config = PriorDataConfig([str(dataset), str(other)])
    worlds = worlds_of_run(config, tmp_path)
    assert list(worlds) == [str(other)]
    assert worlds[str(other)].scale == pytest.approx(1 / 800.0, rel=0.12)
    frames = in_worlds(read_frames(config, 16, "train"), worlds)
    assert [len(frame.cameras) for frame in frames] == [10] * 4
    for ours, theirs in zip(frames[:2], frames[2:], strict=True):
        assert torch.equal(ours.images, theirs.images)
        here = np.stack([c.position for c in ours.cameras])
        there = np.stack([c.position for c in theirs.cameras])
        size = worlds[str(other)].scale * 1000.0
        np.testing.assert_allclose(there, here * size, atol=0.1)

    (tmp_path / "checkpoints").mkdir()
    keep_worlds(tmp_path, worlds)
    (tmp_path / "checkpoints" / "100").mkdir()
    assert worlds_of_run(config, tmp_path) == worlds, "a run goes on in the worlds it began in"
    (tmp_path / WORLDS_FILE).write_text('{"a": {"centre": [0, 0], "scale": 1}}')
    with pytest.raises(InputError, match=r"worlds\.json: 'centre'"):
        worlds_of_run(config, tmp_path)
    (tmp_path / WORLDS_FILE).unlink()
    assert worlds_of_run(config, tmp_path) == {}, "as runs did before worlds were recorded"

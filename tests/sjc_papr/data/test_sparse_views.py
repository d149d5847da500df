"""The sparse-view task: the images and cameras of the few views, and which are refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_scene import draw_sphere, write_frame

from blender_render.dataset import format as fmt
from blender_render.dataset.readers import Views, read_views
from blender_render.geometry.cameras import SIXVIEW_RIGS, Camera, multiview_cameras, sixview_cameras
from blender_render.imaging.images import encode_png
from sjc_papr.data.config import DataConfig
from sjc_papr.data.sparse_views import SparseConfig, pick_views, sparse_views
from training_core.config import ConfigError, InputError

SIDE = 24
WORLD = {"scale": 3.0, "offset": [0.5, 0.0, -1.0]}
TIMES = [0.0, 2.5]


def pixels_of(camera: Camera, time: int) -> np.ndarray:
    """8-bit RGBA of the sphere, which rises a little with time."""
    image, _ = draw_sphere(camera, (0.0, 0.0, 0.1 * time))
    return np.rint(image * 255.0).astype(np.uint8)


def write_sixview(folder: Path, version: str, **info: Any) -> Path:
    """A complete six-view video of two frames."""
    rig = SIXVIEW_RIGS[version]
    cameras = [rig.camera(0.0, 0.0, SIDE), *sixview_cameras(rig, SIDE)]
    names = [fmt.INPUT_FOLDER, *(fmt.view_folder(i) for i in range(6))]
    for camera, name in zip(cameras, names, strict=True):
        (folder / name).mkdir(parents=True)
        for time in range(2):
            data = encode_png(pixels_of(camera, time))
            (folder / name / f"{fmt.image_name(time)}.png").write_bytes(data)
    entries = [{"camera": fmt.camera_dict(camera)} for camera in cameras]
    content = {
        "rig": version,
        "num_frames": 2,
        "frames": TIMES,
        "world_to_asset": WORLD,
        "input": entries[0],
        "views": entries[1:],
        **info,
    }
    fmt.write_sample_info(folder, content)
    fmt.mark_complete(folder, "sphere")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frame folders of one dataset; for reading only."""
    root = tmp_path_factory.mktemp("sparse") / "sphere"
    for time in range(2):
        write_frame(root / fmt.frame_name(time), (0.0, 0.0, 0.1 * time))
    info = {"frames": TIMES, "resolution": [20, 16], "world_to_asset": WORLD}
    fmt.write_dataset_info(root, info)
    fmt.mark_complete(root, "sphere")
    return root


@pytest.fixture(scope="module", params=["v1.1", "v1.2"])
def sixview(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of either rig; for reading only."""
    return write_sixview(tmp_path_factory.mktemp("sixview") / "video", request.param)


@pytest.mark.parametrize("frame", [0, 1])
def test_six_views_are_the_pictures_and_cameras_of_the_rig(
    sixview: Path, dataset: Path, frame: int
) -> None:
    version = json.loads((sixview / fmt.SAMPLE_FILE).read_text())["rig"]
    data = DataConfig(path=str(dataset / fmt.frame_name(frame)))
    views = sparse_views(SparseConfig("sixview", sixview=str(sixview), frame=frame), data)
    expected = sixview_cameras(SIXVIEW_RIGS[version], SIDE)
    assert len(views) == 6 and len(set(views.names)) == 6 and views.depth is None
    for image, camera, truth in zip(views.images, views.cameras, expected, strict=True):
        assert np.array_equal(np.rint(image.numpy() * 255.0), pixels_of(truth, frame))
        assert np.allclose(camera.cam_to_world, truth.cam_to_world, atol=1e-12)
        assert camera.camera_angle_x == pytest.approx(math.radians(SIXVIEW_RIGS[version].fov_deg))
        assert (camera.width, camera.height) == (SIDE, SIDE)
    assert views.images.dtype == torch.float32


def test_six_views_at_another_size_still_show_the_sphere_where_cameras_say(
    sixview: Path, dataset: Path
) -> None:
    data = DataConfig(path=str(dataset / "frame_000"), width=12, height=8)
    views = sparse_views(SparseConfig("sixview", sixview=str(sixview)), data)
    assert views.images.shape == (6, 8, 12, 4)
    full = sparse_views(SparseConfig("sixview", sixview=str(sixview)), DataConfig())
    for small, large, alpha, whole in zip(
        views.cameras, full.cameras, views.images[..., 3], full.images[..., 3], strict=True
    ):
        assert (small.width, small.height) == (12, 8)
        points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
        ratio = small.project(points)[0] / large.project(points)[0]
        assert np.allclose(ratio, [12 / SIDE, 8 / SIDE])
        assert torch.allclose(alpha, whole.view(8, 3, 12, 2).mean((1, 3)), atol=1e-5)


SPOILED: dict[str, tuple[dict[str, Any], str]] = {
    "scale": ({"world_to_asset": {**WORLD, "scale": 3.1}}, "another world than .*by 0.03"),
    "offset": (
        {"world_to_asset": {**WORLD, "offset": [0.5, 0.3, -1.0]}},
        "another world than .*by 0.1 object lengths",
    ),
    "asset": ({"asset_sha256": "abc"}, "another asset"),
    "moment": ({"frames": [0.5, 2.5]}, r"animation frame 0\.5, but .*frame_000 shows 0;"),
    "nothing": ({"world_to_asset": None}, r"sample\.json: 'world_to_asset' with"),
}


@pytest.mark.parametrize("info, message", SPOILED.values(), ids=SPOILED)
def test_another_world_is_refused_by_name(
    tmp_path: Path, dataset: Path, info: dict[str, Any], message: str
) -> None:
    video = write_sixview(tmp_path / "video", "v1.2", **info)
    data = DataConfig(path=str(dataset / "frame_000"))
    with pytest.raises(InputError, match=message) as caught:
        sparse_views(SparseConfig("sixview", sixview=str(video)), data)
    assert "\n" not in str(caught.value) and str(video) in str(caught.value)
    trusted = SparseConfig("sixview", sixview=str(video), check_world=False)
    assert len(sparse_views(trusted, data)) == 6


def test_a_world_that_is_not_said_is_refused(sixview: Path, frame: Path) -> None:
    """``frame`` stands alone, as a NeRF-synthetic folder does."""
    config = SparseConfig("sixview", sixview=str(sixview))
    with pytest.raises(InputError, match=r"dataset\.json.*check_world=false"):
        sparse_views(config, DataConfig(path=str(frame)))


def test_the_same_moment_under_another_number_is_the_same(tmp_path: Path, dataset: Path) -> None:
    video = write_sixview(tmp_path / "video", "v1.2", frames=TIMES[::-1])
    data = DataConfig(path=str(dataset / "frame_001"))
    assert len(sparse_views(SparseConfig("sixview", sixview=str(video), frame=0), data)) == 6
    with pytest.raises(InputError, match="frame 1 shows animation frame 0, but"):
        sparse_views(SparseConfig("sixview", sixview=str(video), frame=1), data)


def test_a_frame_beyond_the_video_is_refused(sixview: Path, dataset: Path) -> None:
    config = SparseConfig("sixview", sixview=str(sixview), frame=2)
    with pytest.raises(InputError, match="frame 2 is asked for, but the video has 2"):
        sparse_views(config, DataConfig(path=str(dataset / "frame_000")))


def same(views: Views, others: Views) -> None:
    assert views.names == others.names and torch.equal(views.images, others.images)
    for camera, other in zip(views.cameras, others.cameras, strict=True):
        assert np.array_equal(camera.cam_to_world, other.cam_to_world)


def test_all_is_the_training_split(frame: Path) -> None:
    same(sparse_views(SparseConfig(), DataConfig(path=str(frame))), read_views(frame, "train"))


@pytest.mark.parametrize("kind", ["random", "spread"])
def test_some_views_are_training_views_with_their_own_cameras(frame: Path, kind: str) -> None:
    whole = read_views(frame, "train")
    views = sparse_views(SparseConfig(kind, count=4), DataConfig(path=str(frame)))
    assert len(set(views.names)) == 4
    same(views, pick_views(whole, [whole.names.index(name) for name in views.names]))
    again = sparse_views(SparseConfig(kind, count=4), DataConfig(path=str(frame)))
    same(views, again)
    drawn = {
        sparse_views(SparseConfig(kind, count=4, seed=seed), DataConfig(path=str(frame))).names
        for seed in range(6)
    }
    assert len(drawn) > 1
    everything = sparse_views(SparseConfig(kind, count=10), DataConfig(path=str(frame)))
    assert everything.names == whole.names
    with pytest.raises(ConfigError, match=r"11 views are asked for, but .* has 10"):
        sparse_views(SparseConfig(kind, count=11), DataConfig(path=str(frame)))


def test_picked_views_keep_their_depth() -> None:
    rig = multiview_cameras(3, 2.5, 0.6, (6, 5))
    views = Views(torch.rand(3, 5, 6, 4), rig, torch.rand(3, 5, 6), ("a", "b", "c"))
    picked = pick_views(views, [2, 0])
    assert picked.names == ("c", "a") and picked.cameras == (rig[2], rig[0])
    assert picked.depth is not None and views.depth is not None
    assert torch.equal(picked.depth, views.depth[[2, 0]])


def smallest_angle(views: Views) -> float:
    towards = np.stack([camera.forward for camera in views.cameras])
    products = towards @ towards.T - 2.0 * np.eye(len(towards))
    return math.degrees(math.acos(products.max()))


def test_spread_views_are_farther_apart_than_drawn_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = multiview_cameras(60, 2.5, 0.6, (4, 4), seed=1, layout="uniform")
    whole = Views(torch.rand(60, 4, 4, 4), rig, None, tuple(map(str, range(60))))
    monkeypatch.setattr("sjc_papr.data.sparse_views.load_training_views", lambda *_: whole)

    def apart(kind: str) -> list[float]:
        return [
            smallest_angle(sparse_views(SparseConfig(kind, 6, seed), DataConfig(path="any")))
            for seed in range(8)
        ]

    assert min(apart("spread")) > 55.0
    assert np.mean(apart("spread")) > 1.5 * np.mean(apart("random"))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SparseConfig("sixview"), "which six-view video"),
        (lambda: SparseConfig("random", count=0), "count"),
        (lambda: SparseConfig("sixview", sixview="x", frame=-1), "frame"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], SparseConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().validate()

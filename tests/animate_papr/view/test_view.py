"""The viewer over a tiny trained run: what it shows is the run's, and a page holds it all."""

import sys
from pathlib import Path

import fake_viser
import numpy as np
import pytest
import torch
from refusals import assert_refused
from small_sequence import SmallSequence, small_sequence
from synthetic_run import butterfly

from animate_papr.view import __main__ as command
from animate_papr.view import content
from animate_papr.view.content import Pictures, Show, read_show
from animate_papr.view.page import played, write_page
from animate_papr.view.scene import Nodes
from blender_render.dataset.readers import Views
from blender_render.imaging.images import to_uint8
from sjc_papr.data.config import DataConfig
from sjc_papr.data.loading import load_views
from sjc_papr.data.world import World


def test_points_colours_and_cameras_are_the_runs(show: Show) -> None:
    for index, cloud in enumerate(show.clouds):
        np.testing.assert_array_equal(cloud, butterfly(300, index / 3)[0])
        np.testing.assert_array_equal(show.colours[index], butterfly(300, 0.0)[1])
    assert [view.split for view in show.views] == ["test", "test"]
    assert show.distance == pytest.approx(2.2, rel=1e-3)
    assert show.fov == pytest.approx(0.6, rel=1e-3)  # square pictures


def test_paths_join_a_point_with_itself(show: Show) -> None:
    assert show.paths.shape == (300 * 2, 2, 3) and show.path_colours.shape == (600, 2, 3)
    np.testing.assert_array_equal(show.paths[0, 0], show.clouds[0][0])
    np.testing.assert_array_equal(show.paths[0, 1], show.clouds[1][0])
    np.testing.assert_array_equal(show.paths[1], [show.clouds[1][0], show.clouds[2][0]])


def test_truth_is_the_datasets_picture_beside_the_render(show: Show) -> None:
    view = show.views[1]
    pair, quality = show.compare(2, view)
    truth = show.truth(2, view)
    made = show.image(2, view.camera)
    np.testing.assert_array_equal(pair, np.concatenate([truth, made], 1))
    error = np.square((truth.astype(float) - made) / 255).mean()
    assert quality == pytest.approx(-10 * np.log10(error), rel=1e-4)
    assert not np.array_equal(show.truth(0, view), truth)
    assert show.image(2, view.camera, "depth").shape == made.shape


def test_cameras_stand_in_the_runs_world(show: Show) -> None:
    world = World((0.5, 0.0, -0.25), 2.0)
    show.sequence.world = world  # type: ignore[misc]
    moved = Pictures(show.sequence).views()
    for camera, view in zip(world.cameras([v.camera for v in show.views]), moved, strict=True):
        np.testing.assert_allclose(view.camera.cam_to_world, camera.cam_to_world)


def test_a_splits_pictures_are_read_once(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def counted(data: DataConfig, path: Path, split: str, *, with_depth: bool) -> Views:
        asked.append(path)
        return load_views(data, path, split, with_depth=with_depth)

    monkeypatch.setattr(content, "load_views", counted)
    show.pictures = Pictures(show.sequence)
    for view in show.views * 2:
        show.truth(1, view)
    assert [path.name for path in asked] == ["frame_001"]


def test_without_an_export_colours_are_by_place(own_run: Path, show: Show) -> None:
    (own_run / "export" / "trajectories.safetensors").unlink()
    colours = read_show(own_run, torch.device("cpu"), "float32").colours
    leftmost = int(show.clouds[0][:, 0].argmin())
    assert colours[0][leftmost, 0] == 40 and colours[0][:, 0].max() == 240
    assert all(colours[0] is other for other in colours)


def test_without_viser_one_line_says_what_to_do(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert_refused(command.main, [f"run={own_run}"], capsys, "setup_env.sh")


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("layers=[smoke]", "layers: 'smoke' is none of"),
        ("coarse=2", "coarse must be at least 8"),
        ("port=-1", "port must be at least 0"),
        ("prot=1", "prot: unknown key"),
    ],
)
def test_wrong_wishes_end_in_one_line(
    own_run: Path, override: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command.main, [f"run={own_run}", override], capsys, why)


def test_dry_run_starts_nothing(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: SmallSequence = small_sequence(own_run)
    monkeypatch.setattr(command, "load_sequence", lambda run: made)
    monkeypatch.setitem(sys.modules, "viser", None)
    assert command.main([f"run={own_run}", "page=it.html", "--dry-run"]) == 0
    assert "3 frames" in capsys.readouterr().out


def test_a_motion_plays_again_and_again() -> None:
    order = played(4, 10.0, loop=True)
    assert order[:8] == [0, 1, 2, 3, 0, 1, 2, 3] and len(order) == 300
    assert played(4, 10.0, loop=False)[:11] == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 0]
    assert played(1, 10.0, loop=False) == [0]


def test_nodes_show_what_is_asked_and_send_nothing_twice(show: Show) -> None:
    scene = fake_viser.Scene()
    nodes = Nodes(scene, show)
    assert scene.up == "+z"
    np.testing.assert_array_equal(nodes.cameras[0].image, show.truth(0, show.views[0]))
    nodes.set_visible(2, ("points", "cameras"), without=show.views[0])
    np.testing.assert_array_equal(nodes.cloud.points, show.clouds[2])
    assert [camera.visible for camera in nodes.cameras] == [False, True]
    assert nodes.cloud.visible and not nodes.paths.visible
    sent = nodes.cloud.sent
    nodes.set_visible(2, ("points", "cameras"), without=show.views[0])
    assert nodes.cloud.sent == sent


def test_a_page_holds_the_scene_and_asks_nobody(show: Show, tmp_path: Path) -> None:
    viser = pytest.importorskip("viser")
    write_page(viser, show, tmp_path / "page.html", ("points",))
    text = (tmp_path / "page.html").read_text()
    assert "__VISER_EMBED_DATA__" in text and 'src="http' not in text
    assert len(text) < 4_000_000


def test_depth_is_bright_where_near_and_white_where_nothing_is(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = show.views[0].camera
    far = float(np.linalg.norm(camera.position))
    size = (1, camera.height, camera.width)
    depth, alpha = torch.full(size, far - 0.4), torch.ones(size)
    depth[:, :, camera.width // 2 :] = far + 0.4
    alpha[:, 0] = 0.0
    output = type("Output", (), {"depth": depth, "alpha": alpha})
    monkeypatch.setattr(content, "render", lambda *_, **__: output)
    image = show.image(0, camera, "depth").astype(int)
    assert (image[0] == to_uint8(np.ones(3))).all()
    assert image[5, 0].sum() > image[5, -1].sum() + 200

"""The viewer's server, with a stand-in for viser, and with viser and a browser where they are."""

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_viser
import numpy as np
import pytest
from PIL import Image

from animate_papr.view.app import App
from animate_papr.view.content import Show
from blender_render.geometry.cameras import Camera, look_at


@pytest.fixture
def app(show: Show) -> Iterator[App]:
    made = App(fake_viser, show, host="127.0.0.1", port=9, coarse=8, fine=16)
    made.playing.value = False
    made.frame.value = 0
    yield made
    made.close()


def soon(holds: Callable[[], bool]) -> bool:
    """Whether something comes true within a minute, also on a busy machine."""
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def sizes(client: fake_viser.Client) -> list[tuple[int, int] | None]:
    """Width and height of the images that a visitor got."""
    shapes = [None if b is None else b.shape for b in client.scene.backgrounds]
    return [None if s is None else (s[1], s[0]) for s in shapes]


def test_points_are_the_browsers_and_images_the_models_coarse_first(app: App, show: Show) -> None:
    client = app.server.visit()
    assert soon(lambda: sizes(client) == [None, None])
    app.kind.value = "render"
    assert not app.nodes.cloud.visible
    # As wide as the window, whose aspect is 1.5.
    assert soon(lambda: sizes(client)[2:] == [(8, 5), (16, 11)])
    assert soon(lambda: "16 pixels" in app.rate.content)
    client.camera.position = np.array([0.0, -2.6, 0.0])
    client.camera.value = "moved"
    assert soon(lambda: sizes(client)[4:] == [(8, 5), (16, 11)])
    assert not np.array_equal(client.scene.backgrounds[3], client.scene.backgrounds[5])
    app.kind.value = "points"
    assert app.nodes.cloud.visible
    assert soon(lambda: sizes(client)[6:] == [None, None])


def test_a_visitor_who_looks_along_y_sees_what_such_a_camera_sees(app: App, show: Show) -> None:
    client = app.server.visit()
    app.kind.value = "render"
    assert soon(lambda: sizes(client)[-1:] == [(16, 11)])
    focal = 0.5 * 11 / np.tan(0.3)
    camera = Camera(look_at((0.0, -2.2, 0.0)), 16, 11, focal, focal, 8, 5.5)
    expected = show.image(0, camera).astype(int)
    assert np.abs(client.scene.backgrounds[-1].astype(int) - expected).max() <= 1


def test_the_frame_slider_moves_the_points(app: App, show: Show) -> None:
    app.frame.value = 2
    np.testing.assert_array_equal(app.nodes.cloud.points, show.clouds[2])


def test_a_click_on_a_camera_leads_there_and_compares(app: App, show: Show) -> None:
    client = app.server.visit()
    app.cameras.value = True
    assert all(camera.visible for camera in app.nodes.cameras)
    app.nodes.cameras[1].click(None)
    view = show.views[1]
    np.testing.assert_allclose(client.camera.position, view.camera.position)
    np.testing.assert_allclose(client.camera.look_at, 0.0, atol=1e-9)  # the object
    assert client.camera.fov == pytest.approx(0.6)
    assert [camera.visible for camera in app.nodes.cameras] == [True, False]
    expected, quality = show.compare(0, view)
    assert app.pair.visible and np.array_equal(app.pair.image, expected)
    assert f"{quality:.1f} dB" in app.quality.content
    app.frame.value = 1
    assert not np.array_equal(app.pair.image, expected)
    app.view.value = "free"
    assert not app.pair.visible


def test_it_plays_while_somebody_looks(app: App) -> None:
    app.fps.value = 100.0
    app.playing.value = True
    time.sleep(0.2)
    assert app.frame.value == 0  # nobody is there
    client = app.server.visit()
    assert soon(lambda: app.frame.value == 2)
    app.server.leave(client)


def test_closing_ends_everything(show: Show) -> None:
    app = App(fake_viser, show, host="127.0.0.1", port=9, coarse=8, fine=16)
    assert app.port == 10  # the one that was free
    app.server.leave(app.server.visit())
    app.server.visit()
    app.close()
    assert app.server.stopped and not app._player.is_alive()


class Page:
    """A page in headless Chromium, spoken to through its debugging port."""

    def __init__(self, browser: str, url: str, profile: Path) -> None:
        from websockets.sync.client import connect

        switches = "--headless --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader"
        command = [browser, *switches.split(), "--no-first-run", "--window-size=640,480"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        port = profile / "DevToolsActivePort"
        assert soon(port.is_file)
        address = f"http://127.0.0.1:{port.read_text().split()[0]}/json"

        def targets() -> list[dict[str, Any]]:
            with urllib.request.urlopen(address, timeout=10) as answer:
                found = json.load(answer)
            return [target for target in found if target["type"] == "page"]

        assert soon(lambda: bool(targets()))
        self.socket = connect(targets()[0]["webSocketDebuggerUrl"], max_size=None)

    def screenshot(self) -> np.ndarray:
        self.socket.send(json.dumps({"id": 1, "method": "Page.captureScreenshot"}))
        while "result" not in (answer := json.loads(self.socket.recv(timeout=60))):
            pass
        data = base64.b64decode(answer["result"]["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)

    def share(self, colour: tuple[int, int, int]) -> float:
        """Share of the pixels left of the controls that have about this colour."""
        return float((np.abs(self.screenshot()[:, :330] - colour).max(-1) < 50).mean())

    def shows(self, colour: tuple[int, int, int], least: float) -> bool:
        """Whether it does within a minute."""
        end = time.monotonic() + 60
        while self.share(colour) < least and time.monotonic() < end:
            time.sleep(0.5)
        return self.share(colour) >= least

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()


@pytest.mark.slow
def test_a_browser_shows_points_and_then_what_the_model_renders(show: Show, tmp_path: Path) -> None:
    viser = pytest.importorskip("viser")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine")
    # Two colours that nothing else on the page has.
    of_points, of_images = (200, 20, 180), (30, 200, 90)
    show.colours[:] = [np.tile(np.uint8(of_points), (300, 1))] * 3
    flat = np.tile(np.uint8(of_images), (8, 12, 1))
    show.image = lambda *_: flat  # type: ignore[method-assign]
    app = App(viser, show, host="127.0.0.1", port=0, coarse=8, fine=8)
    page = Page(browser, f"http://127.0.0.1:{app.port}", tmp_path / "profile")
    try:
        assert page.shows(of_points, 0.005)
        assert page.share(of_images) < 0.01  # the axes have a little green
        app.kind.value = "render"
        assert page.shows(of_images, 0.5)
        app.kind.value = "points"
        assert page.shows((255, 255, 255), 0.5) and page.shows(of_points, 0.005)
    finally:
        page.close()
        app.close()

"""The viewer in the browser: what is shown, the controls, and one drawing thread per visitor."""

import logging
import threading
import time
from functools import partial
from typing import Any

import numpy as np

from animate_papr.view.browser_camera import BrowserCamera, from_ours, to_ours
from animate_papr.view.content import IMAGES, Show, TrueView
from animate_papr.view.page import start_position
from animate_papr.view.refinement import Refiner, levels
from animate_papr.view.scene import Nodes

logger = logging.getLogger(__name__)

FREE = "free"
KINDS = ("points", *IMAGES)


def _label(view: TrueView) -> str:
    return f"{'held out' if view.split == 'test' else 'trained'}: {view.name}"


class App:
    """A running server. `close` ends it."""

    def __init__(
        self, viser: Any, show: Show, *, host: str, port: int, coarse: int, fine: int
    ) -> None:
        self.show, self._sizes = show, levels(coarse, fine)
        self.server = viser.ViserServer(host=host, port=port, verbose=False)
        self.server.gui.configure_theme(dark_mode=False)
        self.server.initial_camera.position = start_position(show)
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        self.server.initial_camera.fov = show.fov
        self.nodes = Nodes(self.server.scene, show)
        self._refiners: dict[int, Refiner] = {}
        self._ended = threading.Event()
        self._controls()
        self.server.on_client_connect(self._connected)
        self.server.on_client_disconnect(self._disconnected)
        self._player = threading.Thread(target=self._play, daemon=True)
        self._player.start()

    @property
    def port(self) -> int:
        """Where it listens; a busy port was replaced by the next free one."""
        return int(self.server.get_port())

    def _controls(self) -> None:
        gui, last = self.server.gui, len(self.show.clouds) - 1
        self.kind = gui.add_dropdown("show", KINDS, initial_value="points")
        self.frame = gui.add_slider("frame", 0, max(last, 1), 1, 0, disabled=last < 1)
        self.playing = gui.add_checkbox("play", last > 0, disabled=last < 1)
        self.fps = gui.add_slider("frames per second", 1, 30, 0.5, self.show.fps)
        self.paths = gui.add_checkbox("trajectories", False, disabled=not len(self.show.paths))
        self.cameras = gui.add_checkbox("cameras", False, disabled=not self.show.views)
        names = (FREE, *(_label(v) for v in self.show.views))
        self.view = gui.add_dropdown("ground truth from", names, initial_value=FREE)
        blank = np.full((8, 16, 3), 255, np.uint8)
        self.pair = gui.add_image(blank, label="ground truth | render", visible=False)
        self.quality = gui.add_markdown("")
        self.rate = gui.add_markdown("")
        self.playing.on_update(lambda _: self._compare())
        for control in (self.kind, self.frame, self.paths, self.cameras):
            control.on_update(lambda _: self.refresh())
        self.frame.on_update(lambda _: self._compare())
        self.view.on_update(self._go_to_view)
        for camera, view in zip(self.nodes.cameras, self.show.views, strict=True):
            camera.on_click(partial(self._choose, _label(view)))

    def _choose(self, name: str, event: Any) -> None:
        self.view.value = name

    def refresh(self) -> None:
        """Bring the scene and every visitor's image up to date with the controls."""
        wanted = [("paths", self.paths.value), ("cameras", self.cameras.value)]
        layers = [name for name, on in wanted if on]
        if self.kind.value == "points":
            layers.append("points")
        self.nodes.set_visible(int(self.frame.value), tuple(layers), self._chosen())
        for client in self.server.get_clients().values():
            self._ask(client)

    def _connected(self, client: Any) -> None:
        def draw(request: Any, size: int) -> None:
            frame, kind, seen = request
            if kind == "points":
                client.scene.set_background_image(None)
                return
            wxyz, position, fov, aspect = seen
            camera = to_ours(BrowserCamera(np.array(wxyz), np.array(position), fov, aspect), size)
            client.scene.set_background_image(self.show.image(frame, camera, kind), format="jpeg")

        def rate(size: int, seconds: float) -> None:
            if self.kind.value != "points":
                per_second = 1 / max(seconds, 1e-3)
                self.rate.content = f"{size} pixels: {per_second:.1f} images per second"

        self._refiners[client.client_id] = Refiner(draw, self._sizes, rate)
        client.camera.on_update(lambda _: self._ask(client))
        self._ask(client)

    def _disconnected(self, client: Any) -> None:
        refiner = self._refiners.pop(client.client_id, None)
        if refiner is not None:
            refiner.stop()

    def _ask(self, client: Any) -> None:
        refiner, camera = self._refiners.get(client.client_id), client.camera
        if refiner is None:
            return
        kind = self.kind.value
        # Points are drawn by the browser: there is nothing to do when the camera moves.
        seen = (
            None
            if kind == "points"
            else (tuple(camera.wxyz), tuple(camera.position), camera.fov, camera.aspect)
        )
        refiner.ask((int(self.frame.value) if seen else 0, kind, seen))

    def _go_to_view(self, event: Any) -> None:
        """Every visitor stands where the chosen picture was taken."""
        self._compare()
        self.refresh()
        chosen = self._chosen()
        if chosen is None:
            return
        seen, forward = from_ours(chosen.camera), chosen.camera.forward
        for client in self.server.get_clients().values():
            with client.atomic():
                client.camera.position = seen.position
                client.camera.look_at = seen.position + forward * np.linalg.norm(seen.position)
                client.camera.fov = seen.fov

    def _chosen(self) -> TrueView | None:
        return next((v for v in self.show.views if _label(v) == self.view.value), None)

    def _compare(self) -> None:
        """Truth beside render, for the chosen view and frame; while playing it would only lag."""
        chosen = self._chosen()
        self.pair.visible = chosen is not None
        if chosen is None or self.playing.value:
            return
        image, quality = self.show.compare(int(self.frame.value), chosen)
        self.pair.image = image
        self.quality.content = f"frame {int(self.frame.value)}: {quality:.1f} dB"

    def _play(self) -> None:
        while not self._ended.wait(1.0 / float(self.fps.value)):
            if self.playing.value and self.server.get_clients():
                self.frame.value = (int(self.frame.value) + 1) % len(self.show.clouds)

    def serve(self) -> None:
        """Until interrupted."""
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            logger.info("viewer ended")
        finally:
            self.close()

    def close(self) -> None:
        """End all threads and the server."""
        self._ended.set()
        self._player.join()
        for refiner in list(self._refiners.values()):
            refiner.stop()
        self.server.stop()

"""The scene as one HTML file that plays without a server, to send to others."""

import math
from pathlib import Path
from typing import Any

from animate_papr.view.content import Show
from animate_papr.view.scene import Nodes
from training_core.files.atomic import write_text

LENGTH = 30.0  # seconds


def write_page(viser: Any, show: Show, path: Path, layers: tuple[str, ...]) -> None:
    """Write the page: points frame by frame in real time, and of the layers those named."""
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        server.initial_camera.position = start_position(show)
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.fov = show.fov
        nodes = Nodes(server.scene, show, cameras="cameras" in layers)
        nodes.set_visible(0, layers)
        recorder = server.get_scene_serializer()
        for frame in played(len(show.clouds), show.fps, show.loop):
            nodes.set_visible(frame, layers)
            recorder.insert_sleep(1.0 / show.fps)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, recorder.as_html())
    finally:
        server.stop()


def played(count: int, fps: float, loop: bool) -> list[int]:
    """Frames in playing order for about half a minute: the page fades in whenever it starts anew,
    and points that come again take no space in it.

    Where the motion is no loop, its last frame stays for 0.6 s before it begins again.
    """
    if count < 2:
        return [0]
    once = [*range(count), *([count - 1] * (0 if loop else round(0.6 * fps)))]
    return once * max(1, round(LENGTH * fps / len(once)))


def start_position(show: Show) -> tuple[float, float, float]:
    """In front, to one side and a little above, somewhat farther than the dataset's cameras."""
    azimuth, elevation = math.radians(25.0), math.radians(15.0)
    away = 1.25 * show.distance
    flat = away * math.cos(elevation)
    side, front = flat * math.sin(azimuth), -flat * math.cos(azimuth)
    return side, front, away * math.sin(elevation)

"""Stands for viser: remembers what it was told, and lets a test play the visitor."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Control:
    """A node or an input. Assigning `value` calls what waits for it, as a visitor's click does."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update({"visible": True, "sent": 0, "calls": []} | values)

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        self.__dict__["sent"] += 1
        if name == "value":
            for call in self.calls:
                call(self)

    def on_update(self, call: Callable[[Any], None]) -> None:
        self.calls.append(call)

    def on_click(self, call: Callable[[Any], None]) -> None:
        self.__dict__["click"] = call


class Scene:
    def __init__(self) -> None:
        self.backgrounds: list[np.ndarray | None] = []

    def set_up_direction(self, up: str) -> None:
        self.up = up

    def add_point_cloud(self, name: str, points: Any, colours: Any, **more: Any) -> Control:
        return Control(points=points, colors=colours, **more)

    def add_line_segments(self, name: str, points: Any, colours: Any, **more: Any) -> Control:
        return Control(points=points, **more)

    def add_camera_frustum(self, name: str, **more: Any) -> Control:
        return Control(**more)

    def set_background_image(self, image: np.ndarray | None, **more: Any) -> None:
        self.backgrounds.append(image)


class Gui:
    def configure_theme(self, **more: Any) -> None:
        pass

    def add_dropdown(self, label: str, options: Any, *, initial_value: str) -> Control:
        return Control(options=options, value=initial_value)

    def add_slider(
        self, label: str, low: float, high: float, step: float, initial: float, **more: Any
    ) -> Control:
        return Control(low=low, high=high, value=initial)

    def add_checkbox(self, label: str, initial: bool, **more: Any) -> Control:
        return Control(value=initial, **more)

    def add_image(self, image: np.ndarray, **more: Any) -> Control:
        return Control(image=image, **more)

    def add_markdown(self, content: str) -> Control:
        return Control(content=content)


class Client:
    """A visitor in front of the object, looking along +Y."""

    def __init__(self, client_id: int) -> None:
        self.client_id, self.scene = client_id, Scene()
        turn = np.sqrt(0.5)
        self.camera = Control(
            wxyz=np.array([turn, -turn, 0.0, 0.0]),
            position=np.array([0.0, -2.2, 0.0]),
            fov=0.6,
            aspect=1.5,
        )

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        yield


class ViserServer:
    def __init__(self, host: str, port: int, verbose: bool) -> None:
        self.host, self.port = host, port
        self.gui, self.scene, self.initial_camera = Gui(), Scene(), Control()
        self.clients: dict[int, Client] = {}
        self.stopped = False

    def on_client_connect(self, call: Callable[[Client], None]) -> None:
        self.connected = call

    def on_client_disconnect(self, call: Callable[[Client], None]) -> None:
        self.disconnected = call

    def get_clients(self) -> dict[int, Client]:
        return dict(self.clients)

    def get_port(self) -> int:
        return self.port + 1  # as if the first one were busy

    def stop(self) -> None:
        self.stopped = True

    def visit(self) -> Client:
        client = Client(len(self.clients))
        self.clients[client.client_id] = client
        self.connected(client)
        return client

    def leave(self, client: Client) -> None:
        del self.clients[client.client_id]
        self.disconnected(client)

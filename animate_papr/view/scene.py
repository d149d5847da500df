"""A run's points, paths and cameras as nodes of a viser scene."""

from typing import Any

import numpy as np
import torch

from animate_papr.view.browser_camera import from_ours
from animate_papr.view.content import Show, TrueView
from sjc_papr.networks.neighbours import typical_spacing

LAYERS = ("points", "paths", "cameras")
HELD_OUT, TRAINED = (214, 92, 30), (60, 90, 150)


class Nodes:
    """The nodes, and which of them are to be seen; without ``cameras`` there are none of these."""

    def __init__(self, scene: Any, show: Show, *, cameras: bool = True) -> None:
        scene.set_up_direction("+z")
        self._show, self._frame = show, 0
        # One node whose points change: viser fades in what becomes visible, which would flicker.
        self.cloud = scene.add_point_cloud(
            "/points",
            show.clouds[0].astype(np.float32),
            show.colours[0],
            point_size=1.2 * typical_spacing(torch.from_numpy(show.clouds[0]), sample=300),
            point_shape="circle",
            precision="float32",
        )
        self.paths = None
        if len(show.paths):
            self.paths = scene.add_line_segments(
                "/paths",
                show.paths.astype(np.float32),
                show.path_colours,
                thickness=0.003,
                visible=False,
            )
        self._views = show.views if cameras else []
        self.cameras = [self._frustum(scene, show, view) for view in self._views]

    def _frustum(self, scene: Any, show: Show, view: TrueView) -> Any:
        seen = from_ours(view.camera)
        return scene.add_camera_frustum(
            f"/cameras/{view.name}",
            fov=seen.fov,
            aspect=seen.aspect,
            scale=0.12,
            thickness=0.004,
            color=HELD_OUT if view.split == "test" else TRAINED,
            image=show.truth(0, view),
            wxyz=tuple(seen.wxyz),
            position=tuple(seen.position),
            visible=False,
        )

    def set_visible(
        self, frame: int, layers: tuple[str, ...], without: TrueView | None = None
    ) -> None:
        """Show one frame, and of LAYERS those named; `without` is a camera that would be in the way
        of somebody who stands in it."""
        if frame != self._frame:
            show, before = self._show, self._frame
            self.cloud.points = show.clouds[frame].astype(np.float32)
            if show.colours[frame] is not show.colours[before]:
                self.cloud.colors = show.colours[frame]
            self._frame = frame
        _set(self.cloud, "points" in layers)
        if self.paths is not None:
            _set(self.paths, "paths" in layers)
        for camera, view in zip(self.cameras, self._views, strict=True):
            _set(camera, "cameras" in layers and view is not without)


def _set(node: Any, visible: bool) -> None:
    if node.visible != visible:  # each assignment is a message to every browser
        node.visible = visible

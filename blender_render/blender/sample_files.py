"""Where the pictures of an asset go, and the files that describe them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from blender_render.blender.clips import AnimationClip
from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import SIXVIEW_RIGS
from blender_render.imaging.depth import depth_scale_for
from blender_render.rendering.config import RenderConfig, effective
from blender_render.rendering.frames import playback_fps
from blender_render.rendering.rigs import RigCamera


class SampleFiles:
    """The files of one asset's sample: a dataset of frame folders, or a six-view video.

    Args:
        work: the folder to fill.
        config: what is rendered.
        views: the cameras, the same in every frame.
    """

    def __init__(self, work: Path, config: RenderConfig, views: tuple[RigCamera, ...]) -> None:
        self.work, self.config, self.views = work, config, views
        # The farthest a point of the unit cube can be from a camera.
        reach = max(float(np.linalg.norm(v.camera.position)) for v in views) + np.sqrt(3.0) / 2.0
        self.depth_scale = depth_scale_for(float(reach))

    def pictures(self, index: int) -> list[Path]:
        """Where the pictures of a frame go, by view or, in a six-view video, by frame."""
        if self.config.rig.kind == "sixview":
            name = f"{fmt.image_name(index)}.png"
            return [self.work / view.group / name for view in self.views]
        counts: dict[str, int] = {}
        paths = []
        for view in self.views:
            number = counts[view.group] = counts.get(view.group, -1) + 1
            folder = self.work / fmt.frame_name(index) / view.group
            paths.append(folder / f"{fmt.image_name(number)}.png")
        return paths

    def write_cameras(self, index: int) -> None:
        """The cameras of a frame folder; a six-view video has its own in ``describe``."""
        if self.config.rig.kind == "sixview":
            return
        folder, paths = self.work / fmt.frame_name(index), self.pictures(index)
        for split in fmt.SPLITS:
            mine = [(v, p) for v, p in zip(self.views, paths, strict=True) if v.group == split]
            names = [f"{split}/{p.stem}" for _, p in mine]
            deep = mine[0][0].depth
            fmt.write_transforms(
                folder,
                split,
                [v.camera for v, _ in mine],
                names,
                [f"{name}_depth.png" for name in names] if deep else None,
                self.depth_scale if deep else None,
            )

    def describe(
        self,
        source: dict[str, Any],
        source_fps: float,
        clip: AnimationClip,
        times: list[float],
        loop: bool,
        world_to_asset: dict[str, Any],
        device: str,
    ) -> None:
        """Write the sample's record.

        Args:
            source: ``asset`` and ``asset_sha256``.
            source_fps: frames a second of the asset.
            clip: the action; ``times``: its frames that were rendered; ``loop``: whether it closes.
            world_to_asset: what ``normalise`` returned.
            device: what rendered it.
        """
        rig = self.config.rig
        info = {
            **source,
            "action": clip.name,
            "fps": playback_fps(times, source_fps),
            "source_fps": source_fps,
            "frames": times,
            "loop": loop,
            "resolution": [rig.resolution, rig.resolution],
            "camera_distance": float(np.linalg.norm(self.views[0].camera.position)),
            "fov_deg": float(np.degrees(rig.fov_rad)),
            "world": "right-handed, +Z up, centred, longest side of the box over all frames is 1",
            "world_to_asset": world_to_asset,
            "camera": "camera-to-world, OpenGL axes: +X right, +Y up, looks along -Z",
            "color_management": "sRGB, view transform Standard; 8-bit RGBA, straight alpha",
            "device": device,
            "config": effective(self.config),
            "software": {"blender": bpy.app.version_string, "numpy": np.__version__},
        }
        if rig.kind == "multiview":
            fmt.write_dataset_info(self.work, {**info, "rig": rig.kind})
        else:
            six = self._six_views(len(times))
            fmt.write_sample_info(self.work, {**info, **six, "rig": rig.version})

    def _six_views(self, frames: int) -> dict[str, Any]:
        rig = SIXVIEW_RIGS[self.config.rig.version]
        angles = zip(rig.azimuths_deg, rig.elevations_deg, strict=True)
        depth = {"depth_scale": self.depth_scale} if self.views[0].depth else {}
        return {
            **depth,
            "num_frames": frames,
            "input": {
                "elevation_deg": self.config.rig.input_elevation_deg,
                "camera": fmt.camera_dict(self.views[0].camera),
            },
            "views": [
                {"azimuth_deg": a, "elevation_deg": e, "camera": fmt.camera_dict(v.camera)}
                for (a, e), v in zip(angles, self.views[1:], strict=True)
            ],
        }

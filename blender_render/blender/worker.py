"""The child process: one asset, from import to the last image, into the folder it is given.

It is started by ``blender_render.rendering.jobs`` with a job file and the number of an open pipe,
into which it writes what happens as JSON lines. What Blender itself prints goes to stdout, which is
the log.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from blender_render.blender import compat, importing
from blender_render.blender.clips import STILL_TOLERANCE, AnimationClip, ClipPlayer, is_loop, motion
from blender_render.blender.geometry import (
    bounding_boxes,
    go_to,
    normalise,
    remove_cameras_and_lights,
    show_what_renders,
    travel_of,
)
from blender_render.blender.instances import separate_instanced_collections
from blender_render.blender.scene_renderer import NoDevice, SceneRenderer
from blender_render.blender.surface_tracks import write_surface_tracks
from blender_render.dataset import format as fmt
from blender_render.geometry.cameras import SIXVIEW_RIGS
from blender_render.imaging.depth import depth_scale_for, encode_depth
from blender_render.imaging.images import encode_png
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.config import RenderConfig, effective
from blender_render.rendering.frames import playback_fps, sample_times
from blender_render.rendering.jobs import DONE_FOLDER
from blender_render.rendering.rigs import (
    RigCamera,
    clipped_views,
    fitting_distance,
    rig_cameras,
    why_small,
)
from training_core.config import config_from_mapping

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


class Events:
    """The pipe to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", buffering=1)

    def send(self, event: str, **details: Any) -> None:
        """One line; the parent acts on it at once."""
        self._stream.write(json.dumps({"event": event, **details}) + "\n")


class AssetRun:
    """One asset on its way to a dataset."""

    def __init__(self, job: dict[str, Any], events: Events) -> None:
        self.job = job
        self.config: RenderConfig = config_from_mapping(RenderConfig, job["config"])
        self.work = Path(job["work"])
        self.events = events

    def run(self) -> None:
        """Import, plan, render what is not yet there, describe it."""
        importing.load(self.job["asset"])
        scene = bpy.context.scene
        self.source_fps = scene.render.fps / scene.render.fps_base
        separate_instanced_collections()
        remove_cameras_and_lights()
        rendered = show_what_renders()
        clip, times, loop = self._plan_frames(rendered)
        boxes = bounding_boxes(times, rendered)
        importing.require_textures(rendered)
        self._require_motion(clip, rendered)
        follow = self.config.normalise.follow == "root"
        travel = travel_of(times, rendered) if follow else None
        world_to_asset, points = normalise(times, rendered, boxes, travel)
        views = self._plan_views(boxes if travel is None else boxes - travel[:, None], points)
        times = times[: self.config.frames.first or None]
        if travel is not None:
            world_to_asset["travel"] = travel[: len(times)].tolist()
        renderer = SceneRenderer(
            self.config.engine, self.config.light, self.job["threads"], self.work / ".shot"
        )
        (self.work / DONE_FOLDER).mkdir(parents=True, exist_ok=True)
        done = {int(p.name) for p in (self.work / DONE_FOLDER).iterdir()}
        self.events.send(
            "plan", frames=len(times), views=len(views), done=len(done), device=renderer.device
        )
        for index, time in enumerate(times):
            if index not in done:
                self._render_frame(renderer, index, time, views)
        eyes = np.stack([view.camera.position for view in views])
        write_surface_tracks(self.work, times, rendered, eyes, self.config.tracks)
        self._describe(clip, times, loop, world_to_asset, views, renderer)

    def _plan_frames(self, rendered: set[str]) -> tuple[AnimationClip, list[float], bool]:
        config = self.config.frames
        clip = ClipPlayer().choose(self.config.action, rendered)
        start = clip.start if config.start is None else config.start
        end = clip.end if config.end is None else config.end
        if end < start:
            raise AssetFailure(
                "no_motion",
                f"no frames from {start:g} to {end:g}; frames.start and frames.end choose others",
            )
        clip = replace(clip, start=start, end=end)
        loop = is_loop(start, end, rendered) if config.loop == "auto" else config.loop == "yes"
        times = sample_times(start, end, every=config.every, count=config.count, loop=loop)
        logger.info("action %r, loop %s, frames %s", clip.name, loop, times)
        return clip, times, loop

    def _require_motion(self, clip: AnimationClip, rendered: set[str]) -> None:
        # One frame is a picture of a pose, whether or not the asset could move.
        if self.config.require_motion and self.config.frames.count != 1:
            moved = motion(clip.start, clip.end, rendered)
            if moved < STILL_TOLERANCE:
                where = f"{clip.name!r} from frame {clip.start:g} to {clip.end:g}"
                raise AssetFailure(
                    "no_motion",
                    f"{where} moves {moved:.2g} of the object's size; frames.count=1 renders it "
                    "as it stands, require_motion=false as a video in which nothing moves",
                )

    def _plan_views(self, boxes: np.ndarray, points: np.ndarray) -> tuple[RigCamera, ...]:
        rig = self.config.rig
        distance = rig.distance
        if not distance:
            distance = fitting_distance(rig_cameras(self.config, 1.0), points, rig.margin)
        views = rig_cameras(self.config, distance)
        clipped = clipped_views(views, points)
        if clipped:
            message = f"distance {distance:g} clips the object in {', '.join(clipped)}"
            self.events.send("warning", text=message)
        small = why_small(views, points, boxes)
        if small:
            self.events.send("warning", text=small)
        return views

    def _render_frame(
        self, renderer: SceneRenderer, index: int, time: float, views: tuple[RigCamera, ...]
    ) -> None:
        go_to(time)
        paths = self._paths(index, views)
        brightest = 0
        last = len(views) - 1
        deep = [i for i, view in enumerate(views) if view.depth]
        for i, (view, path) in enumerate(zip(views, paths, strict=True)):
            pixels = renderer.image(view.camera, last=i == last and not deep)
            if not pixels[..., 3].any():
                raise AssetFailure("blank_picture", f"frame {time:g}: {path.name} in {view.group}")
            brightest = max(brightest, int(pixels[..., :3][pixels[..., 3] > 0].max()))
            # Blender's own file holds the time it took, so no two would have the same bytes.
            _write(path, encode_png(pixels))
            self.events.send("picture")
        if not brightest:
            raise AssetFailure("blank_picture", f"frame {time:g} is black in every view")
        for i in deep:
            depth = renderer.depth(views[i].camera, last=i == deep[-1])
            target = paths[i].with_name(f"{paths[i].stem}_depth.png")
            _write(target, encode_depth(depth, self._depth_scale(views)))
        self._write_frame_files(index, views, paths)
        (self.work / DONE_FOLDER / str(index)).touch()

    def _paths(self, index: int, views: tuple[RigCamera, ...]) -> list[Path]:
        """Where the images of a frame go; numbered by view, or by frame in a six-view video."""
        if self.config.rig.kind == "sixview":
            name = f"{fmt.image_name(index)}.png"
            return [self.work / view.group / name for view in views]
        counts: dict[str, int] = {}
        paths = []
        for view in views:
            number = counts[view.group] = counts.get(view.group, -1) + 1
            folder = self.work / fmt.frame_name(index) / view.group
            paths.append(folder / f"{fmt.image_name(number)}.png")
        return paths

    def _depth_scale(self, views: tuple[RigCamera, ...]) -> float:
        # The farthest a point of the unit cube can be from a camera.
        reach = max(float(np.linalg.norm(v.camera.position)) for v in views) + np.sqrt(3.0) / 2.0
        return depth_scale_for(float(reach))

    def _write_frame_files(
        self, index: int, views: tuple[RigCamera, ...], paths: list[Path]
    ) -> None:
        if self.config.rig.kind == "sixview":
            return
        folder = self.work / fmt.frame_name(index)
        for split in fmt.SPLITS:
            mine = [(v, p) for v, p in zip(views, paths, strict=True) if v.group == split]
            names = [f"{split}/{p.stem}" for _, p in mine]
            deep = mine[0][0].depth
            fmt.write_transforms(
                folder,
                split,
                [v.camera for v, _ in mine],
                names,
                [f"{name}_depth.png" for name in names] if deep else None,
                self._depth_scale(views) if deep else None,
            )

    def _describe(
        self,
        clip: AnimationClip,
        times: list[float],
        loop: bool,
        world_to_asset: dict[str, Any],
        views: tuple[RigCamera, ...],
        renderer: SceneRenderer,
    ) -> None:
        rig = self.config.rig
        info = {
            "asset": self.job["asset_label"],
            "asset_sha256": self.job["asset_sha256"],
            "action": clip.name,
            "fps": playback_fps(times, self.source_fps),
            "source_fps": self.source_fps,
            "frames": times,
            "loop": loop,
            "resolution": [rig.resolution, rig.resolution],
            "camera_distance": float(np.linalg.norm(views[0].camera.position)),
            "fov_deg": float(np.degrees(rig.fov_rad)),
            "world": "right-handed, +Z up, centred, longest side of the box over all frames is 1",
            "world_to_asset": world_to_asset,
            "camera": "camera-to-world, OpenGL axes: +X right, +Y up, looks along -Z",
            "color_management": "sRGB, view transform Standard; 8-bit RGBA, straight alpha",
            "device": renderer.device,
            "config": effective(self.config),
            "software": {"blender": bpy.app.version_string, "numpy": np.__version__},
        }
        if rig.kind == "multiview":
            fmt.write_dataset_info(self.work, {**info, "rig": rig.kind})
        else:
            fmt.write_sample_info(
                self.work, {**info, **self._six_views(views, len(times)), "rig": rig.version}
            )

    def _six_views(self, views: tuple[RigCamera, ...], frames: int) -> dict[str, Any]:
        rig = SIXVIEW_RIGS[self.config.rig.version]
        angles = zip(rig.azimuths_deg, rig.elevations_deg, strict=True)
        depth = {"depth_scale": self._depth_scale(views)} if views[0].depth else {}
        return {
            **depth,
            "num_frames": frames,
            "input": {
                "elevation_deg": self.config.rig.input_elevation_deg,
                "camera": fmt.camera_dict(views[0].camera),
            },
            "views": [
                {"azimuth_deg": a, "elevation_deg": e, "camera": fmt.camera_dict(v.camera)}
                for (a, e), v in zip(angles, views[1:], strict=True)
            ],
        }


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def main() -> int:
    """``python -m blender_render.blender.worker JOB.json EVENT_FD``"""
    if sys.platform == "linux":
        # A parent killed with -9 must not leave a renderer behind that writes into its folder.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    events = Events(int(sys.argv[2]))
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    logger.info("Blender %s", ".".join(map(str, compat.VERSION)))
    try:
        AssetRun(job, events).run()
    except AssetFailure as failure:
        events.send("failed", reason=failure.reason, detail=failure.detail)
    except NoDevice as error:  # this and a full disk concern every asset
        events.send("fatal", detail=str(error))
    except OSError as error:
        events.send("fatal", detail=f"{error.filename}: {error.strerror}")
    else:
        events.send("done")
    sys.stdout.flush()
    # Blender's own shutdown can crash after everything is written; there is nothing left to do.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

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
from blender_render.blender.sample_files import SampleFiles
from blender_render.blender.scene_renderer import NoDevice, SceneRenderer
from blender_render.blender.surface_tracks import write_surface_tracks
from blender_render.imaging.depth import encode_depth
from blender_render.imaging.images import encode_png
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.config import RenderConfig
from blender_render.rendering.frames import sample_times
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
        files = SampleFiles(self.work, self.config, views)
        (self.work / DONE_FOLDER).mkdir(parents=True, exist_ok=True)
        done = {int(p.name) for p in (self.work / DONE_FOLDER).iterdir()}
        self.events.send(
            "plan", frames=len(times), views=len(views), done=len(done), device=renderer.device
        )
        for index, time in enumerate(times):
            if index not in done:
                self._render_frame(renderer, files, index, time)
        eyes = np.stack([view.camera.position for view in views])
        write_surface_tracks(self.work, times, rendered, eyes, self.config.tracks)
        source = {"asset": self.job["asset_label"], "asset_sha256": self.job["asset_sha256"]}
        files.describe(source, self.source_fps, clip, times, loop, world_to_asset, renderer.device)

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
        self, renderer: SceneRenderer, files: SampleFiles, index: int, time: float
    ) -> None:
        go_to(time)
        views, paths = files.views, files.pictures(index)
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
            _write(target, encode_depth(depth, files.depth_scale))
        files.write_cameras(index)
        (self.work / DONE_FOLDER / str(index)).touch()


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

"""Everything around the asset: engine, device, light, camera, and taking the images."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix
from PIL import Image

from blender_render.blender import compat
from blender_render.geometry.cameras import Camera
from blender_render.imaging.exr import read_channel
from blender_render.rendering.config import EngineConfig, LightConfig

logger = logging.getLogger(__name__)

NO_SURFACE = 1e9  # Cycles writes 1e10 where a ray hits nothing
GPU_BACKENDS = {"auto": ("OPTIX", "CUDA"), "cuda": ("CUDA",), "optix": ("OPTIX",), "cpu": ()}
AREA_HEIGHT = 2.0
AREA_SIZE = 2.0
AREA_WATTS = 60.0
AREA_SURROUNDINGS = 0.05  # Blender's factory world; keeps the underside from being pure black


class NoDevice(Exception):  # noqa: N818 (a finding, not a fault of the code)
    """The device asked for is not there."""


class SceneRenderer:
    """Renders the current scene from cameras of one lens, at whatever frame it stands."""

    def __init__(
        self, engine: EngineConfig, light: LightConfig, threads: int, scratch: Path
    ) -> None:
        self._scene = bpy.context.scene
        self._engine = engine
        self._scratch = scratch
        self._film(threads)
        lens = bpy.data.cameras.new("videopapr_camera")
        self._camera = self._scene.camera = bpy.data.objects.new("videopapr_camera", lens)
        self._scene.collection.objects.link(self._camera)
        _add_light(self._scene, light)
        self.device = "CPU"
        if engine.name == "eevee":
            self._scene.render.engine = compat.eevee_engine()
            self._scene.eevee.taa_render_samples = engine.samples
            self.device = "GPU (OpenGL)"
        else:
            self._set_up_cycles()
            self.device = _choose_device(self._scene, engine.device)
        logger.info("engine %s on %s, %d threads", engine.name, self.device, threads)

    def _film(self, threads: int) -> None:
        render = self._scene.render
        render.film_transparent = True
        render.resolution_percentage = 100
        render.pixel_aspect_x = render.pixel_aspect_y = 1.0
        render.dither_intensity = 0.0
        render.threads_mode, render.threads = "FIXED", threads
        render.use_compositing = render.use_sequencer = render.use_simplify = False
        render.use_file_extension = False
        compat.clear_color_management(self._scene)

    def _set_up_cycles(self) -> None:
        self._scene.render.engine = "CYCLES"
        cycles = self._scene.cycles
        cycles.seed, cycles.use_animated_seed = self._engine.seed, False
        cycles.use_adaptive_sampling = self._engine.adaptive_threshold > 0
        cycles.adaptive_threshold = self._engine.adaptive_threshold
        cycles.max_bounces = self._engine.max_bounces
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        # ACCURATE takes 0.5 s more for a 128 px image (0.2 s) without a visible gain.
        cycles.denoising_prefilter = "FAST"

    def image(self, camera: Camera, *, last: bool) -> npt.NDArray[np.uint8]:
        """8-bit RGBA [H, W, 4] with straight alpha.

        ``last`` gives back what Blender keeps between images, so that the next one does not
        depend on whether this one was made by the same process.
        """
        self._place(camera, last)
        if self._engine.name == "cycles":
            cycles = self._scene.cycles
            cycles.samples, cycles.use_denoising = self._engine.samples, self._engine.denoise
            cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
        bpy.context.view_layer.use_pass_z = False
        settings = self._scene.render.image_settings
        compat.set_format(settings, "PNG")
        settings.color_mode, settings.color_depth, settings.compression = "RGBA", "8", 0
        data = self._render()
        with _reading(self._scratch):
            return np.asarray(Image.open(io.BytesIO(data)))

    def depth(self, camera: Camera, *, last: bool) -> npt.NDArray[np.float32]:
        """Planar depth [H, W] through the pixel centres, in scene units; 0 = no surface.

        An image's own depth pass would belong to some random place within each pixel, so this
        is a render of its own: one sample, through a filter of no width.
        """
        self._place(camera, last)
        if self._engine.name == "cycles":
            cycles = self._scene.cycles
            cycles.samples, cycles.use_denoising = 1, False
            cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
        bpy.context.view_layer.use_pass_z = True
        settings = self._scene.render.image_settings
        compat.set_format(settings, "OPEN_EXR_MULTILAYER")
        settings.color_depth, settings.exr_codec = "32", "NONE"
        data = self._render()
        with _reading(self._scratch):
            depth = read_channel(data, "Depth.Z")
        return np.where(depth < NO_SURFACE, depth, np.float32(0.0))

    def _place(self, camera: Camera, last: bool) -> None:
        self._scene.render.use_persistent_data = not last
        render, data = self._scene.render, self._camera.data
        render.resolution_x, render.resolution_y = camera.width, camera.height
        data.sensor_fit, data.angle_x = "HORIZONTAL", camera.camera_angle_x
        distance = float(np.linalg.norm(camera.position))
        data.clip_start, data.clip_end = 1e-3 * distance, 4.0 * distance + 10.0
        self._camera.matrix_world = Matrix(camera.cam_to_world.tolist())

    def _render(self) -> bytes:
        self._scene.render.filepath = str(self._scratch)
        try:
            with _silent():
                bpy.ops.render.render(write_still=True)
        except RuntimeError as error:
            if "save" not in str(error):
                raise
            raise OSError(errno.EIO, "the picture cannot be written", str(self._scratch)) from error
        data = self._scratch.read_bytes()
        self._scratch.unlink()
        return data


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Blender does not complain about a full disk: what it wrote is then cut short."""
    try:
        yield
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise OSError(errno.EIO, f"damaged ({error}); is the disk full?", str(path)) from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Blender's dozens of status lines per image out of the log; errors go to stderr."""
    sys.stdout.flush()
    log = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(log, 1)
        os.close(log)


def _add_light(scene: Any, light: LightConfig) -> None:
    uniform = light.preset == "uniform"
    world = bpy.data.worlds.new("videopapr_world")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    background.inputs["Strength"].default_value = (
        light.strength if uniform else AREA_SURROUNDINGS * light.strength
    )
    scene.world = world
    if not uniform:
        lamp = bpy.data.lights.new("videopapr_area", "AREA")
        lamp.size, lamp.energy = AREA_SIZE, AREA_WATTS * light.strength
        holder = bpy.data.objects.new("videopapr_area", lamp)
        holder.location = (0.0, 0.0, AREA_HEIGHT)  # area lamps shine along their −Z
        scene.collection.objects.link(holder)


def _choose_device(scene: Any, wanted: str) -> str:
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for backend in GPU_BACKENDS[wanted]:
        try:
            preferences.compute_device_type = backend
        except TypeError:  # this build of Blender does not know the backend
            continue
        devices = preferences.get_devices_for_type(backend)
        found = [device for device in devices if device.type == backend]
        if found:
            for device in devices:
                device.use = device.type == backend
            scene.cycles.device = "GPU"
            return f"{backend} ({', '.join(device.name for device in found)})"
    if wanted not in ("auto", "cpu"):
        raise NoDevice(f"engine.device={wanted}, but Cycles finds no such device here")
    scene.cycles.device = "CPU"
    return "CPU"

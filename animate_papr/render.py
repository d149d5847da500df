"""`python -m animate_papr.render`: a video of a trained animation along any camera path.

Moments between two frames come from moving each point in a straight line, which works because
point i is the same point in every frame.
"""

import itertools
import logging
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from animate_papr.camera_paths import PathConfig, path_cameras
from animate_papr.run_files import completed_path
from animate_papr.sequence import Sequence, load_sequence
from blender_render.geometry.cameras import Camera
from blender_render.imaging.images import write_png
from blender_render.imaging.video import write_gif, write_video, write_webp
from sjc_papr.networks.config import precision_option
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from training_core.cli import run_command
from training_core.config import MISSING, ConfigError, option, section
from training_core.devices import pick_device, prepare_cpu
from training_core.metrics_log import progress_bar

logger = logging.getLogger(__name__)

TURNTABLE_VIEWS = 60
SUFFIXES = ("", ".mp4", ".gif", ".webp")


@dataclass
class RenderConfig:
    """Which run, which moments, from where, to which file."""

    run: str = option(MISSING, "run folder of animate_papr.train")
    frames: list[str] = option([], "frames in playing order, by name or number; [] = all")
    between: int = option(0, "moments added between every two of these frames")
    fps: float = option(12.0, "pictures per second")
    path: PathConfig = section(PathConfig, "where the camera is")
    output: str = option(
        "", ".mp4, .gif or .webp file, or a folder for PNG; empty = videos/KIND.mp4 in the run"
    )
    also: list[str] = option([], "write the same pictures as mp4, gif, webp beside it as well")
    device: str = option("auto", "auto, cpu or cuda", ("auto", "cpu", "cuda"))
    precision: str = precision_option()
    max_rays: int = option(16384, "rays attended to at once; bounds the memory")

    def validate(self) -> None:
        """Raises ValueError on numbers that make no video and on unknown kinds of file."""
        if self.between < 0 or self.fps <= 0 or self.max_rays < 1:
            raise ValueError("between must not be negative; fps and max_rays must be positive")
        if Path(self.output).suffix.lower() not in SUFFIXES:
            raise ValueError(f"output: {self.output!r} is neither .mp4, .gif, .webp nor a folder")
        unknown = [kind for kind in self.also if f".{kind}" not in SUFFIXES[1:]]
        if unknown:
            raise ValueError(f"also: {unknown[0]!r} is none of mp4, gif, webp")


def frame_indices(wanted: Items[str], names: Items[str]) -> list[int]:
    """Indices into `names` of frames given by name or by number. Raises ConfigError on others."""
    indices = []
    for frame in wanted or [str(i) for i in range(len(names))]:
        if frame in names:
            indices.append(names.index(frame))
        elif frame.isdigit() and int(frame) < len(names):
            indices.append(int(frame))
        else:
            raise ConfigError(
                f"frames: there is no frame {frame!r}; the run has {len(names)}: {', '.join(names)}"
            )
    return indices


def frame_times(indices: Items[int], between: int) -> list[float]:
    """Playing order as positions among the frames: 1.5 lies half way from frame 1 to frame 2."""
    times = [float(indices[0])]
    for start, end in itertools.pairwise(indices):
        times += np.linspace(start, end, between + 2)[1:].tolist()
    return times


def shots(path: PathConfig, times: Items[float]) -> list[tuple[Camera, float]]:
    """A camera and a moment for every image.

    A turntable shows the first moment from `path.views` sides. Every other path plays the moments
    once, or, where `path.views` is given, in a circle until it has that many images.
    """
    if path.kind == "turntable":
        cameras = path_cameras(path, path.views or TURNTABLE_VIEWS)
        return [(camera, times[0]) for camera in cameras]
    cameras = path_cameras(path, path.views or len(times))
    return [(camera, times[k % len(times)]) for k, camera in enumerate(cameras)]


@torch.inference_mode()
def render_shots(
    sequence: Sequence,
    shots: Items[tuple[Camera, float]],
    *,
    device: torch.device,
    precision: str = "auto",
    max_rays: int = 16384,
) -> np.ndarray:
    """Images [N, H, W, 3] float32 in [0, 1] over the sequence's background."""
    images = []
    model, moment = None, None
    counts = set()
    with progress_bar(len(shots), description="rendering", unit="picture") as bar:
        for camera, time in shots:
            if model is None or time != moment:
                model, moment = sequence.model(time).to(device), time
                counts.add(len(model.points))
            output = render(
                model,
                camera_rays(camera).to(device),
                background=sequence.background,
                precision=precision,
                max_rays=max_rays,
            )
            images.append(output.rgb[0].clamp(0, 1).float().cpu().numpy())
            bar.update()
    if len(counts) > 1 and any(time % 1 for _, time in shots):
        logger.warning(
            "the number of points changes between frames: there the nearer frame is shown"
        )
    return np.stack(images)


def prepare(config: RenderConfig) -> tuple[Sequence, list[tuple[Camera, float]], Path]:
    """The sequence, the images to make, and where they go; checks all inputs."""
    run = Path(config.run)
    sequence = load_sequence(run)
    times = frame_times(frame_indices(config.frames, sequence.frames), config.between)
    path = completed_path(config.path, run)
    output = Path(config.output or run / "videos" / f"{path.kind}.mp4")
    return sequence, shots(path, times), output


def make_video(config: RenderConfig) -> None:
    """Render and write the video or the images."""
    prepare_cpu()
    sequence, images_wanted, output = prepare(config)
    images = render_shots(
        sequence,
        images_wanted,
        device=pick_device(config.device),
        precision=config.precision,
        max_rays=config.max_rays,
    )
    beside = [output.with_suffix(f".{kind}") for kind in config.also]
    for path in dict.fromkeys([output, *beside]):
        write_images(path, images, config.fps, sequence.background)
        logger.info("wrote %d pictures to %s", len(images), path)


def write_images(path: Path, images: np.ndarray, fps: float, background: float) -> None:
    """Images [N, H, W, 3] in the form that the path's suffix names; without one, a folder of PNG.

    Of odd sizes MP4 alone cannot have: there the background fills one more row or column.
    """
    suffix = path.suffix.lower()
    if suffix == ".mp4":
        colour = np.broadcast_to(np.asarray(background, np.float32), 3).tolist()
        write_video(path, images, fps, background=colour)
    elif suffix == ".gif":
        write_gif(path, images, fps)
    elif suffix == ".webp":
        write_webp(path, images, fps)
    else:
        path.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            write_png(path / f"{index:04d}.png", image)


def plan(config: RenderConfig) -> str:
    """What `make_video` would do, after looking at its inputs."""
    _, wanted, output = prepare(config)
    camera, seconds = wanted[0][0], len(wanted) / config.fps
    return (
        f"{len(wanted)} pictures of {camera.width}x{camera.height}, {len({t for _, t in wanted})} "
        f"different moments, {seconds:.1f} s at {config.fps:g} pictures per second\nto {output}"
    )


def main(argv: Items[str] | None = None) -> int:
    return run_command(
        RenderConfig, run=make_video, plan=plan, description=__doc__ or "", argv=argv
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""What there is to see of a run: points, their paths, cameras, pictures, and renders on demand."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from animate_papr.report.data import read_run
from animate_papr.report.images import heat
from animate_papr.run_files import dataset_of, usual_view
from animate_papr.sequence import Sequence, load_sequence
from blender_render.dataset.readers import Views, composite
from blender_render.geometry.cameras import Camera
from blender_render.imaging.images import to_uint8
from blender_render.imaging.metrics import psnr
from sjc_papr.data.loading import load_views
from sjc_papr.networks.model import Papr
from sjc_papr.networks.rays import camera_rays
from sjc_papr.networks.renderer import render
from training_core.config import InputError

PATHS = 300  # of this many points; more hide each other
IMAGES = ("render", "depth")


@dataclass(frozen=True)
class TrueView:
    """A picture of the dataset: name, camera, and where its frames' pictures are."""

    name: str
    split: str
    index: int
    camera: Camera


class Pictures:
    """The dataset's pictures with cameras in the run's world, read when they are asked for."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        # Both splits of the frame looked at; more would be gigabytes.
        self._read: dict[tuple[int, str], Views] = {}

    def of(self, frame: int, split: str) -> Views:
        """Those of a split as they were trained on.

        Raises:
            InputError: they are not there, or cannot be read.
        """
        if (frame, split) not in self._read:
            sequence = self._sequence
            dataset = dataset_of(sequence.run)
            if dataset is None:
                raise InputError(f"{sequence.run}: its dataset is not on this machine")
            folder = dataset / sequence.frames[frame]
            found = load_views(sequence.config.data, folder, split, with_depth=False)
            while len(self._read) > 1:
                del self._read[next(iter(self._read))]
            self._read[frame, split] = sequence.world.views(found)
        return self._read[frame, split]

    def views(self) -> list[TrueView]:
        """Cameras of the first frame: a dataset's cameras are the same in every frame."""
        found = []
        for split in ("test", "train"):
            try:
                views = self.of(0, split)
            except InputError:
                continue
            rows = zip(views.names, views.cameras, strict=True)
            found += [TrueView(name, split, i, camera) for i, (name, camera) in enumerate(rows)]
        return found


@dataclass
class Show:
    """A run, read once.

    Attributes:
        clouds: for each frame its points [P, 3] in the run's world.
        colours: for each frame uint8 [P, 3]; as exported, else by place in the first frame.
        views: cameras of the dataset, those that were held out first; [] where it has gone.
        pictures: of these cameras.
        distance: of a usual camera, world units. fov: its vertical field of view, radians.
    """

    sequence: Sequence
    clouds: list[np.ndarray]
    colours: list[np.ndarray]
    fps: float
    loop: bool
    views: list[TrueView]
    pictures: Pictures
    distance: float
    fov: float
    device: torch.device
    precision: str
    _models: dict[int, Papr] = field(default_factory=dict)
    # One image at a time: two would only take turns on the same cores.
    _busy: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def paths(self) -> np.ndarray:
        """Line segments [N, 2, 3] along the way of some points; none where they are not tracked."""
        if len({len(cloud) for cloud in self.clouds}) > 1 or len(self.clouds) < 2:
            return np.zeros((0, 2, 3))
        every = max(1, len(self.clouds[0]) // PATHS)
        tracks = np.stack([cloud[::every] for cloud in self.clouds], 1)
        return np.stack([tracks[:, :-1], tracks[:, 1:]], 2).reshape(-1, 2, 3)

    @cached_property
    def path_colours(self) -> np.ndarray:
        """uint8 [N, 2, 3] of their ends: by the place in the first frame."""
        every = max(1, len(self.clouds[0]) // PATHS)
        one = place_colours(self.clouds[0])[::every]
        parts = len(self.clouds) - 1
        return np.repeat(np.repeat(one, parts, 0)[:, None], 2, 1)

    @torch.inference_mode()
    def image(self, frame: int, camera: Camera, kind: str = "render") -> np.ndarray:
        """What the model shows: uint8 [H, W, 3], the colours or (near is bright) the depth."""
        with self._busy:
            if frame not in self._models:
                self._models[frame] = self.sequence.model(frame).to(self.device)
            output = render(
                self._models[frame],
                camera_rays(camera).to(self.device),
                background=self.sequence.background,
                precision=self.precision,
                max_rays=4096,
            )
        if kind == "render":
            return to_uint8(output.rgb[0].clamp(0, 1).float().cpu().numpy())
        alpha = output.alpha[0].clamp(0, 1).float().cpu().numpy()[..., None]
        # The object lies around the origin and is one unit long.
        far = float(np.linalg.norm(camera.position))
        near = 0.5 - (output.depth[0].float().cpu().numpy() - far) / 1.2
        return to_uint8(heat(near) * alpha + (1 - alpha))

    def compare(self, frame: int, view: TrueView) -> tuple[np.ndarray, float]:
        """Truth and render side by side, uint8 [H, 2 W, 3], and the render's PSNR in dB."""
        truth = self.truth(frame, view)
        made = self.image(frame, view.camera)
        quality = psnr(torch.from_numpy(made) / 255.0, torch.from_numpy(truth) / 255.0)
        return np.concatenate([truth, made], 1), float(quality)

    def truth(self, frame: int, view: TrueView) -> np.ndarray:
        """The dataset's picture, uint8 [H, W, 3], over the run's background."""
        image = self.pictures.of(frame, view.split).images[view.index]
        rgb = composite(image, self.sequence.background)
        return to_uint8(rgb.numpy())


def place_colours(cloud: np.ndarray) -> np.ndarray:
    """uint8 [P, 3]: red, green and blue grow along x, y and z."""
    low, high = cloud.min(0), cloud.max(0)
    share = (cloud - low) / np.maximum(high - low, 1e-9)
    return np.asarray(np.rint(40 + 200 * share).astype(np.uint8))


def read_show(run: Path, device: torch.device, precision: str) -> Show:
    """Read a run folder. Raises InputError where nothing of it is finished."""
    sequence = load_sequence(run)
    found = read_run(run)
    frames = {frame.name: frame for frame in found.frames}
    clouds = []
    for name in sequence.frames:
        positions = frames[name or "frame"].positions
        if positions is None:
            raise InputError(f"{run}: frame {name} has no points.safetensors")
        clouds.append(positions)
    rgb = found.rgb
    if rgb is None or any(len(cloud) != rgb.shape[-2] for cloud in clouds):
        same = len({len(cloud) for cloud in clouds}) == 1
        first = place_colours(clouds[0])
        colours = [first if same else place_colours(cloud) for cloud in clouds]
    else:
        colours = [rgb[i] if rgb.ndim == 3 else rgb for i in range(len(clouds))]
    pictures = Pictures(sequence)
    distance, fov = _usual(run)
    return Show(
        sequence=sequence,
        clouds=clouds,
        colours=colours,
        fps=float(np.clip(float(found.dataset_info.get("fps") or 8.0), 1.0, 30.0)),
        loop=bool(found.dataset_info.get("loop", False)),
        views=pictures.views(),
        pictures=pictures,
        distance=distance,
        fov=fov,
        device=device,
        precision=precision,
    )


def _usual(run: Path) -> tuple[float, float]:
    """Distance and vertical field of view in radians of the dataset's cameras, or some that fit."""
    try:
        usual = usual_view(run)
    except InputError:
        return 2.0, np.radians(40.0).item()
    return usual.radius, np.radians(usual.fov_deg).item() * usual.height / usual.width

"""Everything the report shows, read from a run folder. What is missing is noted, never fatal."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from animate_papr.run_files import dataset_of, read_json_or_none, run_config
from blender_render.dataset.readers import found_info
from training_core.config import InputError
from training_core.files.json_files import parse_json
from training_core.files.natural_order import natural_key

# Figures of a frame that are numbers, or null where they were not measured.
FIGURES = (
    *("psnr", "ssim", "lpips", "depth_mae", "num_points", "steps"),
    *("track_mean", "track_p90", "track_motion"),
    *("seconds", "cpu_seconds", "peak_memory_bytes"),
)


@dataclass(frozen=True)
class FrameData:
    """One frame of the run.

    Attributes:
        figures: psnr, ssim, lpips (None where it could not be measured), num_points, ...; {} where
            the frame is not finished.
        losses: (step, loss) as logged.
        views: stems of its images, such as "test_000", for which truth and prediction are there.
        positions: [P, 3] float32 in the run's world, or None.
    """

    name: str
    folder: Path
    figures: dict[str, Any]
    losses: list[tuple[float, float]]
    views: list[str]
    positions: np.ndarray | None

    def image(self, view: str, kind: str) -> Path:
        """Path of an image: kind is truth, prediction or depth."""
        return self.folder / "images" / f"{view}_{kind}.png"


@dataclass
class RunData:
    """One run; `notes` says in plain words what could not be read."""

    path: Path
    config: dict[str, Any]
    config_text: str
    command: str
    environment: dict[str, Any]
    summary: dict[str, Any]
    dataset: Path | None
    dataset_info: dict[str, Any]
    frames: list[FrameData]
    videos: list[Path]
    rgb: np.ndarray | None
    notes: list[str] = field(default_factory=list)

    @property
    def judged_on(self) -> str:
        """Which views the figures are of, in words."""
        return str(self.dataset_info.get("test_views", "views that training never saw"))

    @property
    def held_out(self) -> bool:
        """Whether training saw none of these."""
        return self.dataset_info.get("test") != "train"


def read_run(run: Path) -> RunData:
    """Read a run folder. Raises InputError where it is no run at all."""
    notes: list[str] = []
    config = run_config(run)
    summary = read_json_or_none(run / "metrics.json")
    if summary is None:
        notes.append("The run has no final figures (metrics.json): it is not finished.")
    dataset = dataset_of(run)
    frames = _frames(run, summary or {}, notes)
    if not frames and "optimize" in config:
        raise InputError(f"{run}: a run of another phase, without frames")
    videos = sorted((run / "videos").glob("*.mp4"))
    if not videos:
        notes.append("There are no videos in this run folder.")
    return RunData(
        path=run,
        config=config,
        config_text=_text(run / "config.yaml"),
        command=_text(run / "command.txt"),
        environment=read_json_or_none(run / "environment.json") or {},
        summary=summary or {},
        dataset=dataset,
        dataset_info=_dataset_info(dataset, notes),
        frames=frames,
        videos=videos,
        rgb=_exported_colours(run, frames, notes),
        notes=notes,
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _dataset_info(dataset: Path | None, notes: list[str]) -> dict[str, Any]:
    if dataset is None:
        notes.append("The dataset is not on this machine, so its facts are not shown.")
        return {}
    try:
        return found_info(dataset)
    except InputError as error:
        notes.append(f"The dataset's description could not be read ({error}).")
        return {}


def _frames(run: Path, summary: dict[str, Any], notes: list[str]) -> list[FrameData]:
    # A dataset that is one folder has a single frame without a name.
    listed = (read_json_or_none(run / "frames.json") or {}).get("frames")
    planned = [name or "frame" for name in _items(listed) if isinstance(name, str)]
    figures = {
        figure["frame"] or "frame": figure
        for figure in _items(summary.get("frames"))
        if isinstance(figure, dict) and isinstance(figure.get("frame"), str)
    }
    folders = {path.name: path for path in (run / "frames").glob("*") if path.is_dir()}
    frames, unfinished = [], []
    for name in sorted({*planned, *figures, *folders}, key=natural_key):
        folder = folders.get(name, run / "frames" / name)
        found = figures.get(name) or read_json_or_none(folder / "metrics.json") or {}
        found = _numbers(found, name, notes)
        if "psnr" not in found:
            unfinished.append(name)
        images = folder / "images"
        views = [
            p.name.removesuffix("_truth.png")
            for p in sorted(images.glob("*_truth.png"), key=lambda p: natural_key(p.name))
            if (images / p.name.replace("_truth.png", "_prediction.png")).is_file()
        ]
        points = read_tensor(folder / "points.safetensors", "positions")
        frames.append(FrameData(name, folder, found, read_losses(folder), views, points))
    if not frames:
        notes.append("No frame has been trained yet.")
    if unfinished:
        notes.append(f"Not finished: {', '.join(unfinished)}.")
    without = [f.name for f in frames if f.name not in unfinished and not f.views]
    if without:
        notes.append(f"No pictures of held-out views: {', '.join(without)}.")
    return frames


def _items(value: Any) -> list[Any]:
    """The items of a list; of anything else none."""
    return value if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(found: dict[str, Any], name: str, notes: list[str]) -> dict[str, Any]:
    """Figures of a frame without those that are no numbers; a figure may be null."""
    bad = [key for key in FIGURES if found.get(key) is not None and not _is_number(found[key])]
    if bad:
        notes.append(f"{name}: not a number in its figures: {', '.join(bad)}.")
    return {key: value for key, value in found.items() if key not in bad}


def read_losses(folder: Path) -> list[tuple[float, float]]:
    """(step, total loss) of each line of metrics.jsonl that has both; damaged lines are skipped."""
    path = folder / "metrics.jsonl"
    losses = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            record = parse_json(line)
            losses.append((float(record["step"]), float(record["loss/total"])))
        except (ValueError, KeyError, TypeError):
            continue
    return losses


def read_tensor(path: Path, name: str) -> np.ndarray | None:
    """A tensor of a safetensors file, None where the file or the tensor is absent or broken."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _exported_colours(run: Path, frames: list[FrameData], notes: list[str]) -> np.ndarray | None:
    """uint8 [P, 3] or [T, P, 3] from the export, if it fits the points of this run."""
    rgb = read_tensor(run / "export" / "trajectories.safetensors", "rgb")
    clouds = [f.positions for f in frames if f.positions is not None]
    if not clouds:
        notes.append("There are no point clouds in this run folder.")
        return None
    fits = rgb is not None and all(len(c) == rgb.shape[-2] for c in clouds)
    if not fits or (rgb is not None and rgb.ndim == 3 and len(rgb) != len(clouds)):
        notes.append("The point cloud has no colours: `python -m animate_papr.export` makes them.")
        return None
    return rgb

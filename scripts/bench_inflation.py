"""What an inflated silhouette is worth against the truth: six-view renders of assets are needed.

    python -m blender_render.render assets=[FOLDER] output=data/inflation_val rig.kind=sixview \
        rig.version=v1.2 rig.resolution=64 depth=none frames.count=12 frames.first=4 archive=zip
    python scripts/bench_inflation.py paths=[data/inflation_val] pictures=inflation.png

prints PSNR, PSNR in the box around the true object and SSIM over grey, means of the datasets' own
means over their pictures, of the inflated bodies of each frame's input view, of plain grey and of
the copied input view. In the picture: of each dataset, the truth above, the body below.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from blender_render.dataset.paths import dataset_paths
from blender_render.dataset.readers import read_sixview
from blender_render.imaging.images import encode_png
from blender_render.imaging.metrics import psnr, ssim
from mnvs.encoders.vae_scaling import GREY, on_grey
from mnvs.inference.inflated_views import InflateConfig, inflate_footage
from mnvs.training.metrics import boxes_around, psnr_inside
from training_core.checks import at_least, positive
from training_core.cli import run_command
from training_core.config import THREADS, ConfigError, option
from training_core.devices import prepare_cpu
from training_core.files import atomic

ANSWERS = ("inflated", "grey", "copied input")
FIGURES = ("psnr", "psnr_box", "ssim")


@dataclass
class BenchConfig:
    paths: list[str] = option([], "six-view datasets: folders, .zip files, folders of such, @FILE")
    frames: int = option(4, "frames of each, from the first")
    thickness: float = option(0.7, "as generate.inflate.thickness of the pipeline")
    threads: int = option(0, "CPU threads; 0 = leave to PyTorch", bounds=THREADS)
    pictures: str = option("", "PNG file for the first frames; empty = none")
    output: str = option("", "JSON file for the figures by dataset; empty = print only")

    def validate(self) -> None:
        """Raises ValueError on numbers out of range."""
        at_least(1, frames=self.frames)
        at_least(0, threads=self.threads)
        positive(thickness=self.thickness)


class Compared(NamedTuple):
    """Six views of a clip, RGB over grey in [0, 1], [T, 6, 3, h, w]; ``box`` [T, 6, h, w]."""

    truth: Tensor
    box: Tensor
    answers: dict[str, Tensor]


def compare(path: Path, config: BenchConfig) -> Compared:
    """The truth of a dataset, and every answer to its input view."""
    clip = read_sixview(path)
    count = min(config.frames, len(clip))
    shown = clip.input[:count].movedim(-1, 1).float() / 255.0
    true = clip.views[:, :count].transpose(0, 1).float() / 255.0
    size = true.shape[2]
    inflate = InflateConfig(thickness=config.thickness, around=0)
    made = inflate_footage(shown, count, size, inflate, framed=True)
    truth = on_grey(true)
    copied = on_grey(clip.resized_input(size)[:count])[:, None].expand_as(truth)
    answers = (on_grey(made.views.movedim(2, -1)), torch.full_like(truth, GREY), copied)
    named = dict(zip(ANSWERS, answers, strict=True))
    return Compared(truth, boxes_around(true[..., 3]), named)


def scores(answer: Tensor, truth: Tensor, box: Tensor) -> dict[str, float]:
    """Means over the pictures [T, 6, 3, h, w] of what is said of each by itself; what no picture
    says, as one without an object of its box, is missing."""
    pairs = list(zip(answer.flatten(0, 1), truth.flatten(0, 1), box.flatten(0, 1), strict=True))
    figures = {
        "psnr": [float(psnr(a, t, double=True)) for a, t, _ in pairs],
        "psnr_box": [psnr_inside(a, t, b) for a, t, b in pairs if bool(b.any())],
        "ssim": [float(ssim(answer, truth, channel_axis=-3))],
    }
    return {name: sum(values) / len(values) for name, values in figures.items() if values}


def sheet(pairs: list[Compared]) -> Tensor:
    """RGB [H, W, 3]: six views a row, truth and body of each clip's first frame, all of the size
    of the first clip's."""
    size = pairs[0].truth.shape[-2:]
    rows = [
        torch.cat(list(interpolate(views[0], size, mode="area")), dim=-1)
        for one in pairs
        for views in (one.truth, one.answers["inflated"])
    ]
    return torch.cat(rows, dim=-2).movedim(0, -1)


def table(by_dataset: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    """Lines: means over the datasets."""
    yield f"{'answer':14}{'PSNR':>10}{'in the box':>12}{'SSIM':>8}"
    for name in ANSWERS:
        rows = [figures[name] for figures in by_dataset.values()]
        told = {key: [row[key] for row in rows if key in row] for key in FIGURES}
        mean = {key: sum(values) / len(values) if values else nan for key, values in told.items()}
        yield f"{name:14}{mean['psnr']:7.2f} dB{mean['psnr_box']:9.2f} dB{mean['ssim']:8.3f}"


def run(config: BenchConfig) -> None:
    """Compare, print and write."""
    prepare_cpu(config.threads)
    by_dataset, shown = {}, []
    for path in _datasets(config):
        one = compare(path, config)
        shown.append(one)
        by_dataset[str(path)] = {
            name: scores(answer, one.truth, one.box) for name, answer in one.answers.items()
        }
    sys.stdout.write("\n".join(table(by_dataset)) + "\n")
    if config.output:
        atomic.write_json(Path(config.output), by_dataset)
    if config.pictures:
        atomic.write_bytes(Path(config.pictures), encode_png(sheet(shown)))


def _datasets(config: BenchConfig) -> list[Path]:
    if not config.paths:
        raise ConfigError("paths is missing: which six-view datasets?")
    found = dataset_paths(config.paths, "paths")
    if not found:
        raise ConfigError("paths names no six-view datasets")
    return found


def plan(config: BenchConfig) -> str:
    """What ``--dry-run`` prints."""
    names = [path.stem for path in _datasets(config)]
    return json.dumps({"datasets": names, "frames": config.frames})


def main() -> int:
    return run_command(BenchConfig, run=run, plan=plan, description=__doc__ or "")


if __name__ == "__main__":
    raise SystemExit(main())

r"""Curves of several runs in one picture, from their metrics.jsonl.

    python scripts/plot_runs.py runs='[runs/sjc_papr/a,runs/sjc_papr/b]' \
        values='[loss/mse,val/psnr]' output=docs/curves.png
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import MISSING, ConfigError, option
from training_core.files import atomic
from training_core.files.json_files import parse_json


@dataclass
class PlotConfig:
    runs: list[str] = option(MISSING, "run folders")
    values: list[str] = option(["loss/total", "val/psnr"], "what to draw, one panel each")
    labels: list[str] = option([], "names of the runs; empty = their folders'")
    logarithmic: list[str] = option(["loss/total", "loss/mse"], "values drawn on a log scale")
    smooth: int = option(1, "logged steps averaged for each point of a curve")
    output: str = option("curves.png", "picture to write")

    def validate(self) -> None:
        """Raises ValueError on labels that do not match."""
        at_least(1, smooth=self.smooth)
        if self.labels and len(self.labels) != len(self.runs):
            raise ValueError("labels must be as many as runs")


def read_curve(folder: Path, value: str, smooth: int) -> tuple[list[int], list[float]]:
    """Steps and values that a run has logged; a null (not finite) leaves a gap.

    Raises:
        ConfigError: the folder has no metrics.jsonl.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"{folder}: no metrics.jsonl: not a run folder")
    found = []
    for text in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged line, or another one
            line = parse_json(text)
            number = line[value]
            found.append((int(line["step"]), float("nan") if number is None else float(number)))
    numbers = [number for _, number in found]
    means = [
        sum(numbers[max(0, i + 1 - smooth) : i + 1]) / min(i + 1, smooth)
        for i in range(len(numbers))
    ]
    return [step for step, _ in found], means


def run(config: PlotConfig) -> None:
    """Draw and write."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folders = [Path(name) for name in config.runs]
    labels = config.labels or [folder.name for folder in folders]
    width = 4.5 * len(config.values)
    figure, axes = pyplot.subplots(1, len(config.values), figsize=(width, 3.4), squeeze=False)
    for axis, value in zip(axes[0], config.values, strict=True):
        for folder, label in zip(folders, labels, strict=True):
            axis.plot(*read_curve(folder, value, config.smooth), label=label, linewidth=1.2)
        axis.set(title=value, xlabel="step")
        if value in config.logarithmic:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    with atomic.replacing(Path(config.output)) as part:
        figure.savefig(part, format="png", dpi=110)


def plan(config: PlotConfig) -> str:
    return f"{len(config.runs)} runs, {len(config.values)} panels to {config.output}"


if __name__ == "__main__":
    raise SystemExit(run_command(PlotConfig, run=run, plan=plan, description=__doc__ or ""))

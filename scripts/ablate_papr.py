r"""What each choice is worth: the same run again and again with one thing changed.

    python scripts/ablate_papr.py --config configs/ablations/papr.yaml \
        data='[data/butterfly/frame_000, data/Fox/frame_000]' name=choices

trains every variant on every frame folder with ``sjc_papr.train``, the same seed and the same
number of steps, and writes a table of PSNR on held-out views to runs/ablations/NAME/table.md (and
.json). A second start continues, and skips what is done.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config_variants import parse, slug

from animate_papr.run_files import read_json_or_none
from sjc_papr import train
from sjc_papr.config import TrainConfig
from training_core.cli import run_command
from training_core.config import MISSING, ConfigError, load_config, option, to_yaml
from training_core.files import atomic


@dataclass
class AblationConfig:
    base: str = option(MISSING, "config file of sjc_papr.train that every variant starts from")
    common: list[str] = option([], "key=value overrides of every variant")
    variants: list[str] = option(
        MISSING, "'NAME: key=value key=value ...', one a line; the first is the baseline"
    )
    data: list[str] = option(
        MISSING, "frame folders, each with overrides of its own behind it: 'FOLDER key=value ...'"
    )
    name: str = option("papr", "name of the folder of results")
    output_root: str = option("runs/ablations", "where that folder is made")

    def validate(self) -> None:
        """Raises ValueError on variants that cannot be read or told apart."""
        names = [parse(variant)[0] for variant in self.variants]
        if len({slug(name) for name in names}) < len(names):
            raise ValueError("variants must have different names")
        if not all(entry.split() for entry in self.data):
            raise ValueError("data has an empty entry")
        if len({slug(label(entry)) for entry in self.data}) < len(self.data):
            raise ValueError("the last two folders of each entry of data must tell it from others")


def configs(config: AblationConfig) -> dict[tuple[str, str], TrainConfig]:
    """The run of every variant and frame folder.

    Raises:
        ConfigError: a variant's overrides are wrong, or a folder is missing.
    """
    runs = {}
    root = Path(config.output_root) / config.name
    for variant in config.variants:
        name, overrides = parse(variant)
        for data in config.data:
            folder, *own = data.split()
            if not Path(folder).is_dir():
                raise ConfigError(f"data: no folder {folder}")
            place = [f"data.path={folder}", f"output_root={root}"]
            place.append(f"name={slug(name)}-{slug(label(data))}")
            keys = [*config.common, *own, *overrides, *place]
            try:
                runs[name, data] = load_config(TrainConfig, Path(config.base), keys)
            except ConfigError as error:
                raise ConfigError(f"variant {name!r}: {error}") from error
    return runs


def run(config: AblationConfig) -> None:
    """Train what is not there yet and write the table."""
    results: dict[str, dict[str, Any]] = {}
    root = Path(config.output_root) / config.name
    for (name, data), training in configs(config).items():
        folder = Path(training.output_root) / "sjc_papr" / training.name
        if read_json_or_none(folder / "metrics.json") is None:
            train.run(training)
        elif (folder / "config.yaml").read_text() != to_yaml(training):
            raise ConfigError(f"{folder} was made with another configuration; choose another name")
        results.setdefault(name, {})[data] = read_json_or_none(folder / "metrics.json")
        atomic.write_json(root / "table.json", results)
        atomic.write_text(root / "table.md", markdown(results, config.data))
    sys.stdout.write((root / "table.md").read_text())


def label(data: str) -> str:
    """The last two folders of an entry of ``data``."""
    return "/".join(Path(data.split()[0]).parts[-2:])


def markdown(results: dict[str, dict[str, Any]], data: list[str]) -> str:
    """A row a variant: PSNR by folder, their mean, what that is below the first's, mean SSIM and
    depth error (world units; "-" without true depth), holes (see
    ``sjc_papr.evaluation.view_metrics.ViewMetrics``), CPU seconds of all folders.
    """
    shown = " | ".join(label(entry) for entry in data)
    lines = [
        f"| variant | {shown} | mean | to the first | SSIM | depth error | holes | CPU s |",
        "|---" * (len(data) + 7) + "|",
    ]
    first: float | None = None
    for name, by_folder in results.items():
        if len(by_folder) < len(data):
            continue  # not finished
        quality, ssim, depth, holes, seconds = (
            [by_folder[folder].get(key) for folder in data]
            for key in ("psnr", "ssim", "depth_mae", "holes", "cpu_seconds")
        )
        mean = sum(quality) / len(quality)
        first = mean if first is None else first
        cells = [*(f"{value:.2f}" for value in quality), f"{mean:.2f}", f"{mean - first:+.2f}"]
        cells.append(f"{sum(ssim) / len(ssim):.3f}")
        cells.append("-" if None in depth else f"{sum(depth) / len(depth):.4f}")
        cells.append("-" if None in holes else f"{100.0 * sum(holes) / len(holes):.2f} %")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {sum(seconds):.0f} |")
    return "\n".join(lines) + "\n"


def plan(config: AblationConfig) -> str:
    runs = configs(config)
    steps = sum(training.optimize.steps for training in runs.values())
    return "\n".join([*(t.name for t in runs.values()), f"{len(runs)} runs, {steps} steps in all"])


if __name__ == "__main__":
    raise SystemExit(run_command(AblationConfig, run=run, plan=plan, description=__doc__ or ""))

"""What the report tried by hand: LoRA modes x objectives x optimizers, same start, same seeds.

    python scripts/study_mnvs.py --config configs/mnvs/study.yaml \
        base.data=[data/robot,...] finetune.data=data/fox

trains one small network on the base datasets, then fine-tunes it on another one with every mode and
objective (further optimizers: with every mode and the first objective), and writes study.json,
study.md and study.png to runs/study_mnvs/NAME. A second start skips what is done and continues what
was stopped. All runs of one seed draw the same noise, so that their errors of v compare.
"""

import itertools
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnvs import train
from mnvs.config import TrainConfig
from mnvs.diffusion.objectives import OBJECTIVES
from mnvs.lora.modes import MODES
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, load_config, option, section
from training_core.files import atomic

OPTIMIZERS = ("adam", "adamw")
# The last steps over which errors are averaged: noise levels differ from step to step.
_LAST = 20


@dataclass
class BaseConfig:
    data: list[str] = option([], "six-view datasets that the start is trained on")
    options: list[str] = option([], "key=value of mnvs.train for it")


@dataclass
class FinetuneConfig:
    data: str = option("", "six-view dataset that it is fine-tuned on")
    options: list[str] = option([], "key=value of mnvs.train for every combination")


@dataclass
class StudyConfig:
    """Which combinations, and of what."""

    name: str = option("study", "name of the folder and of the runs in it")
    output_root: str = option("runs", "where run folders are made")
    config: str = option("configs/mnvs/tiny.yaml", "what all runs have in common")
    modes: list[str] = option(list(MODES), "LoRA modes", choices=tuple(MODES))
    objectives: list[str] = option(["v", "x0", "min_snr"], "objectives", choices=OBJECTIVES)
    optimizers: list[str] = option(
        ["adamw", "adam"],
        "optimizers; those after the first are tried with the first objective only",
        choices=OPTIMIZERS,
    )
    seeds: int = option(3, "repetitions of the first combination, to see what chance does")
    base: BaseConfig = section(BaseConfig, "the start")
    finetune: FinetuneConfig = section(FinetuneConfig, "the fine-tuning")

    def validate(self) -> None:
        """Raises ValueError on a study of nothing."""
        at_least(1, seeds=self.seeds)
        if not (self.modes and self.objectives and self.optimizers):
            raise ValueError("modes, objectives and optimizers must not be empty")


@dataclass(frozen=True)
class Combination:
    """One run of the study."""

    mode: str
    objective: str
    optimizer: str
    seed: int = 0

    @property
    def name(self) -> str:
        parts = (self.mode, self.objective, self.optimizer)
        return "-".join(parts) + (f"-seed{self.seed}" if self.seed else "")

    def overrides(self) -> list[str]:
        return [
            "train.parameters=lora",
            f"train.lora.mode={self.mode}",
            f"train.objective.target={self.objective}",
            f"train.optimizer.kind={self.optimizer}",
            f"seed={self.seed}",
        ]


def combinations(config: StudyConfig) -> list[Combination]:
    """All of them, and the first one again with other seeds."""
    usual, *others = config.optimizers
    product = [
        *itertools.product(config.modes, config.objectives, [usual]),
        *itertools.product(config.modes, config.objectives[:1], others),
    ]
    found = [Combination(*values) for values in product]
    first = found[0]
    again = [
        Combination(first.mode, first.objective, first.optimizer, seed)
        for seed in range(1, config.seeds)
    ]
    return found + again


def folder_of(config: StudyConfig) -> Path:
    """Everything of this study."""
    return Path(config.output_root) / "study_mnvs" / config.name


def base_overrides(config: StudyConfig) -> list[str]:
    """The start is validated on the dataset that it is not trained on."""
    return [
        *config.base.options,
        f"data.paths=[{','.join(config.base.data)}]",
        f"validation.paths=[{config.finetune.data}]",
        "name=base",
        f"output_root={folder_of(config)}",
    ]


def finetune_overrides(config: StudyConfig, combination: Combination) -> list[str]:
    """From the finished start, on the one dataset."""
    start = folder_of(config) / "mnvs" / "base" / train.PIPELINE_FOLDER
    return [
        'model.zero123plus=""',
        'model.temporal_source=""',
        "model.temporal_start=gated",
        f"model.pipeline={start}",
        *config.finetune.options,
        f"data.paths=[{config.finetune.data}]",
        *combination.overrides(),
        f"name={combination.name}",
        f"output_root={folder_of(config)}",
    ]


def train_once(config: StudyConfig, name: str, overrides: list[str]) -> Path:
    """Run ``mnvs.train`` unless it has finished before; the run's folder."""
    folder = folder_of(config) / "mnvs" / name
    if not (folder / "metrics.json").is_file():
        train.run(load_config(TrainConfig, Path(config.config), overrides))
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """What a finished run came to: figures, time, and the curve of its error of v."""
    figures = json.loads((folder / "metrics.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    steps = [line for line in lines if "loss/v" in line]
    last = [line["loss/v"] for line in steps[-_LAST:]]
    wanted = ("psnr", "ssim", "motion_ratio", "motion_correlation", "psnr_still")
    return {
        **{name: math.nan if figures[name] is None else figures[name] for name in wanted},
        "v_error": sum(last) / len(last),
        "seconds_per_step": sum(line["seconds_per_step"] for line in steps) / len(steps),
        "curve": [[line["step"], line["loss/v"]] for line in steps],
        "before": next((line["val/psnr"] for line in lines if "val/psnr" in line), None),
    }


def run(config: StudyConfig) -> None:
    """Train what is not trained yet, then write table and curves."""
    if not config.base.data or not config.finetune.data:
        raise ConfigError("base.data and finetune.data are missing: which datasets?")
    base = outcome(train_once(config, "base", base_overrides(config)))
    results = []
    for combination in combinations(config):
        overrides = finetune_overrides(config, combination)
        folder = train_once(config, combination.name, overrides)
        results.append({**vars(combination), "name": combination.name, **outcome(folder)})
    folder = folder_of(config)
    atomic.write_json(folder / "study.json", {"base": base, "results": results})
    atomic.write_text(folder / "study.md", table(base, results))
    draw_curves(results, folder / "study.png")
    print(table(base, results))


def table(base: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """Markdown, best picture first."""
    head = "| mode | objective | optimizer | seed | PSNR dB | SSIM | motion corr. | error of v |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    best_first = sorted(results, key=lambda r: -r["psnr"])
    rows = [("before fine-tuning", "", "", "", base, "")]
    rows += [
        (r["mode"], r["objective"], r["optimizer"], r["seed"], r, f"{r['v_error']:.4f}")
        for r in best_first
    ]
    for *names, r, error in rows:
        numbers = f"{r['psnr']:.2f} | {r['ssim']:.3f} | {r['motion_correlation']:.2f} | {error}"
        lines.append(f"| {' | '.join(str(n) for n in names)} | {numbers} |")
    return "\n".join(lines) + "\n"


def draw_curves(results: list[dict[str, Any]], path: Path) -> None:
    """Error of v over steps: by mode (first objective), and by objective (first mode)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    first = results[0]
    same = [r for r in results if r["seed"] == 0 and r["optimizer"] == first["optimizer"]]
    panels = (("LoRA modes", "mode", "objective"), ("objectives", "objective", "mode"))
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for axis, (title, key, fixed) in zip(axes, panels, strict=True):
        for result in (r for r in same if r[fixed] == first[fixed]):
            steps, errors = zip(*result["curve"], strict=True)
            axis.plot(steps, smoothed(errors), label=f"{result[key]} ({result['psnr']:.1f} dB)")
        axis.set(title=f"{title}, {fixed} {first[fixed]}", xlabel="step", yscale="log")
        axis.legend(fontsize=8)
    axes[0].set_ylabel(f"error of v, mean of {_LAST} steps")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def smoothed(values: tuple[float, ...]) -> list[float]:
    """Mean of each value and those before it, ``_LAST`` at most."""
    parts = [values[max(0, i + 1 - _LAST) : i + 1] for i in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def plan(config: StudyConfig) -> str:
    """What ``--dry-run`` prints: the runs, and what one of them takes."""
    for path in [config.config, *config.base.data, config.finetune.data]:
        if path and not Path(path).exists():
            raise InputError(f"{path}: no such file or folder")
    todo = combinations(config)
    base = load_config(TrainConfig, Path(config.config), base_overrides(config))
    one = load_config(TrainConfig, Path(config.config), finetune_overrides(config, todo[0]))
    return (
        f"1 start of {base.train.steps} steps, then {len(todo)} runs of {one.train.steps} steps: "
        f"{', '.join(c.name for c in todo)}"
    )


if __name__ == "__main__":
    sys.exit(run_command(StudyConfig, run=run, plan=plan, description=__doc__ or ""))

"""How later frames should learn: several settings from one and the same first frame.

    python scripts/compare_presets.py --config configs/animate_papr/demo.yaml data.path=data/fox \
        name=fox_presets
    python scripts/compare_presets.py --config ... name=stiffness \
        'variants=["loose: next.motion.smooth=0.1", "stiff: next.motion.smooth=1"]'

trains the first frame once, then the later ones with each variant, and writes a table of PSNR on
held-out views to runs/compare_presets/NAME/table.md (and .json). A second start skips what is done;
variants may be added then.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config_variants import parse, slug

from animate_papr.config import AnimateConfig
from animate_papr.following.tracking import tracking_figures
from animate_papr.frame_data import FrameTask, training_views
from animate_papr.frame_training import train_frame
from animate_papr.novel_terms import NovelTerms
from animate_papr.run_files import read_json_or_none
from animate_papr.train import frame_names
from sjc_papr.data.world import World, world_of_run
from training_core.cli import run_command
from training_core.config import config_from_mapping, load_config, option, to_plain, to_yaml
from training_core.devices import prepare_cpu
from training_core.files import atomic
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

VARIANTS = [
    "pictures: next.align.to=pictures",
    "outline: next.align.to=outline",
    "outline, points first: next.align.to=outline next.preset=motion",
    "not smooth: next.motion.smooth=0",
    "rigid 0.1: next.motion.smooth=0 next.motion.rigid=0.1",
]


@dataclass
class CompareConfig(AnimateConfig):
    variants: list[str] = option(
        VARIANTS, "'NAME: key=value ...': a row of the table, with keys of next or novel.next"
    )

    def validate(self) -> None:
        """Raises ValueError on variants that cannot be read, told apart, or share a first frame."""
        rows = [parse(variant) for variant in self.variants]
        if not rows or len({slug(name) for name, _ in rows}) < len(rows):
            raise ValueError("variants must have different names")
        wrong = [k for _, keys in rows for k in keys if not re.match(r"(novel\.)?next\.", k)]
        if wrong:
            raise ValueError(f"variants: {wrong[0]!r} is no key of next or novel.next")


def changed(config: CompareConfig, overrides: list[str], folder: Path) -> AnimateConfig:
    """The configuration of a variant. Raises ConfigError where its overrides are wrong."""
    values = {key: value for key, value in to_plain(config).items() if key != "variants"}
    written = folder / "base.yaml"
    atomic.write_text(written, to_yaml(config_from_mapping(AnimateConfig, values)))
    return load_config(AnimateConfig, written, overrides)


def train_variant(
    config: AnimateConfig, folder: RunFolder, names: list[str], world: World, stop: StopSignals
) -> list[dict[str, Any]]:
    """Figures of every later frame, each trained from the one before it."""
    found, terms = [], NovelTerms(config)
    earlier = [folder.path.parent / names[0]]
    for index, name in enumerate(names[1:], start=1):
        part = folder.sub(name)
        figures = read_json_or_none(part.path / "metrics.json")
        if figures is None:
            task = FrameTask.read(config, index, name, part, world)
            figures = train_frame(config, task, earlier, stop, terms)
        found.append(figures)
        earlier.append(part.path)
    return found


def find_folder(config: CompareConfig, find: Callable[..., RunFolder]) -> RunFolder:
    """Let ``find``, RunFolder's ``open`` or ``look_up``, say where the comparison is."""
    root, free = Path(config.output_root), (*config.may_change, "variants")
    return find(root, "compare_presets", config.name, config, config.resume, may_change=free)


def run(config: CompareConfig) -> None:
    """Train all variants and write the table."""
    prepare_cpu(config.threads)
    names = frame_names(config)
    folder = find_folder(config, RunFolder.open)
    variants = {
        name: changed(config, overrides, folder.path)
        for name, overrides in map(parse, config.variants)
    }
    first = folder.sub(names[0])
    views = training_views(config, Path(config.data.path) / names[0])
    world = world_of_run(folder.path, views, config.data)
    rows = {}
    with StopSignals() as stop:
        if not (first.path / "metrics.json").exists():
            task = FrameTask.read(config, 0, names[0], first, world)
            train_frame(config, task, [], stop, NovelTerms(config))
        base = json.loads((first.path / "metrics.json").read_text())
        for name, variant in variants.items():
            rows[name] = train_variant(variant, folder.sub(slug(name)), names, world, stop)
    frames = [folder.path / names[0]]
    for name, later in rows.items():
        parts = [*frames, *(folder.path / slug(name) / frame for frame in names[1:])]
        tracked = tracking_figures(parts, Path(config.data.path), names, world)
        for figures, errors in zip(later, tracked[1:], strict=False):
            figures |= errors
    atomic.write_json(folder.path / "table.json", {"first": base, "later": rows})
    table = markdown(names, base, rows)
    atomic.write_text(folder.path / "table.md", table)
    sys.stdout.write(table)


def markdown(names: list[str], base: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> str:
    """The table, one row a variant: PSNR in dB of every frame, mean and least of the later ones,
    the error of tracking in the last (mean and 90th percentile, % of the object's length), and the
    CPU time of the later ones.
    """
    lines = [
        "| later frames | " + " | ".join(names) + " | mean of later | least | tracking | CPU s |",
        "|---" * (len(names) + 5) + "|",
    ]
    for name, later in rows.items():
        quality = [frame["psnr"] for frame in later]
        cells = [f"{value:.2f}" for value in (base["psnr"], *quality)]
        mean, least = sum(quality) / len(quality), min(quality)
        seconds = sum(frame["cpu_seconds"] for frame in later)
        errors = [later[-1].get(f"track_{key}") for key in ("mean", "p90")] if later else []
        tracking = ", ".join(f"{100.0 * e:.2f}" for e in errors if e is not None) or "-"
        figures = f"{mean:.2f} | {least:.2f} | {tracking} | {seconds:.0f}"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {figures} |")
    return "\n".join(lines) + "\n"


def plan(config: CompareConfig) -> str:
    later = len(frame_names(config)) - 1
    made = f"first frame once, then {len(config.variants)} variants of {later} frames each"
    return f"{made}\nto {find_folder(config, RunFolder.look_up).describe()}"


def main(argv: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    return run_command(CompareConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

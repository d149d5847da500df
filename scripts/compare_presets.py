"""How later frames should learn: several settings of ``next`` from one and the same first frame.

    python scripts/compare_presets.py --config configs/animate_papr/demo.yaml data.path=data/fox \
        name=fox_presets

trains the first frame once, then the later ones with each variant below, and writes a table of
PSNR on held-out views to runs/compare_presets/NAME/table.md (and .json). A second start skips what
is done.
"""

import copy
import json
import sys
from pathlib import Path

from animate_papr.config import AnimateConfig
from animate_papr.run_files import read_json_or_none
from animate_papr.train import FrameTask, frame_names, train_frame
from training_core.cli import run_command
from training_core.devices import prepare_cpu
from training_core.files import atomic
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

# Name of a row of the table: preset, weights of the motion terms "smooth" and "rigid".
VARIANTS = {
    "report": ("report", 0.0, 0.0),
    "motion": ("motion", 0.0, 0.0),
    "motion, smooth 0.1": ("motion", 0.1, 0.0),
    "motion, rigid 0.1": ("motion", 0.0, 0.1),
}


def train_variant(
    config: AnimateConfig, folder: RunFolder, base: Path, names: list[str], stop: StopSignals
) -> list[float]:
    """PSNR of every later frame, each trained from the one before it."""
    quality, before = [], base
    for index, name in enumerate(names[1:], start=1):
        part = folder.sub(name)
        figures = read_json_or_none(part.path / "metrics.json")
        if figures is None:
            task = FrameTask.read(config, index, name, part)
            figures = train_frame(config, task, before, stop)
        quality.append(figures["psnr"])
        before = part.path
    return quality


def run(config: AnimateConfig) -> None:
    """Train all variants and write the table."""
    prepare_cpu(config.threads)
    names = frame_names(config)
    folder = RunFolder.open(
        Path(config.output_root), "compare_presets", config.name, config, config.resume
    )
    first = folder.sub(names[0])
    rows = {}
    with StopSignals() as stop:
        if not (first.path / "metrics.json").exists():
            train_frame(config, FrameTask.read(config, 0, names[0], first), None, stop)
        base = json.loads((first.path / "metrics.json").read_text())["psnr"]
        for name, (preset, smooth, rigid) in VARIANTS.items():
            changed = copy.deepcopy(config)
            changed.next.preset = preset
            changed.next.motion.smooth, changed.next.motion.rigid = smooth, rigid
            part = folder.sub(name.replace(", ", "_").replace(" ", "_"))
            rows[name] = train_variant(changed, part, first.path, names, stop)
    atomic.write_json(folder.path / "table.json", {"first": base, "later": rows})
    table = markdown(names, base, rows)
    atomic.write_text(folder.path / "table.md", table)
    sys.stdout.write(table)


def markdown(names: list[str], base: float, rows: dict[str, list[float]]) -> str:
    """The table, one row a variant: PSNR in dB of every frame, mean and least of the later ones."""
    lines = [
        "| later frames | " + " | ".join(names) + " | mean of later | least |",
        "|---" * (len(names) + 3) + "|",
    ]
    for name, quality in rows.items():
        cells = [f"{value:.2f}" for value in (base, *quality)]
        mean, least = sum(quality) / len(quality), min(quality)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {mean:.2f} | {least:.2f} |")
    return "\n".join(lines) + "\n"


def plan(config: AnimateConfig) -> str:
    later = len(frame_names(config)) - 1
    return f"first frame once, then {len(VARIANTS)} variants of {later} frames each"


if __name__ == "__main__":
    raise SystemExit(run_command(AnimateConfig, run=run, plan=plan, description=__doc__ or ""))

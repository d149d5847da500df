r"""Many scenes times many settings, as one list of runs, and one table of what came out.

    python scripts/sweep.py name=width 'scenes=[data/Fox/frame_000,data/Robot/frame_000]' \
        config=configs/sjc_papr/cpu_small.yaml 'grid=["model.attention.width=32,64"]'

freezes the list in OUTPUT_ROOT/sweeps/NAME/runs.txt, says how to train it (as an array on a
cluster, or here with run_here=true), and writes table.csv and table.html of all runs, done or not.
The same line again goes on, and brings the table up to date. A sweep of other settings wants
another name.
"""

import csv
import glob
import html
import io
import itertools
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_core.cli import EXIT_STOPPED, run_command
from training_core.config import MISSING, ConfigError, InputError, option
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.stopping import Stopped

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
TRAININGS = ("sjc_papr.train", "animate_papr.train", "mnvs.train")
# What sets apart the runs of a table is written in its first columns, figures behind.
FIRST_COLUMNS = ("run", "scene", "setting", "state", "step")


@dataclass
class SweepConfig:
    name: str = option(MISSING, "of the sweep, in front of the names of its runs")
    command: str = option("sjc_papr.train", "what trains each run", choices=TRAININGS)
    scenes: list[str] = option(MISSING, "datasets, or patterns such as data/*/frame_000")
    config: str = option("", "YAML file of every run")
    settings: list[str] = option([], "each 'LABEL: key=value key=value'")
    grid: list[str] = option([], "each 'key=value,value'; every combination is a setting")
    output_root: str = option("runs", "as of the runs themselves; on a cluster that of the jobs")
    shards: int = option(1, "array tasks in the line for the cluster")
    run_here: bool = option(False, "train here, one run after the other")

    def validate(self) -> None:
        """Raises ValueError on settings that name no keys."""
        for setting in self.settings:
            label, colon, words = setting.partition(":")
            if not (colon and label.strip() and all("=" in word for word in shlex.split(words))):
                raise ValueError(f"settings: {setting!r} is not 'LABEL: key=value ...'")
        for entry in self.grid:
            if "=" not in entry:
                raise ValueError(f"grid: {entry!r} is not 'key=value,value'")


@dataclass(frozen=True)
class Run:
    """One run of the sweep: its name, where it comes from, and the arguments of its command."""

    name: str
    scene: str
    setting: str
    arguments: tuple[str, ...]


def settings_of(config: SweepConfig) -> list[tuple[str, list[str]]]:
    """Label and overrides of every setting: those that are written out, times the grid."""
    written: list[tuple[str, list[str]]] = [
        (label.strip(), shlex.split(words))
        for label, _, words in (setting.partition(":") for setting in config.settings)
    ]
    axes = []
    for entry in config.grid:
        key, _, values = entry.partition("=")
        last = key.rpartition(".")[2]
        axes.append([(f"{last}{value}", f"{key}={value}") for value in values.split(",")])
    found = []
    for label, overrides in written or [("", [])]:
        for point in itertools.product(*axes):
            labels = [label, *(name for name, _ in point)]
            found.append(
                ("_".join(filter(None, labels)), [*overrides, *(text for _, text in point)])
            )
    return found


def runs_of(config: SweepConfig) -> list[Run]:
    """Every scene with every setting.

    Raises:
        InputError: a scene is not there. ConfigError: two runs of one name.
    """
    scenes: list[str] = []
    for pattern in config.scenes:
        found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
        if not found or not all(Path(path).exists() for path in found):
            raise InputError(f"scenes: {pattern}: does not exist")
        scenes += [str(Path(path).absolute()) for path in found]
    runs = []
    for scene, (label, overrides) in itertools.product(scenes, settings_of(config)):
        path = Path(scene)
        short = f"{path.parent.name}_{path.name}" if path.name.startswith("frame_") else path.stem
        name = "-".join(filter(None, (config.name, short, label)))
        several = config.command == "mnvs.train"
        data = f"data.paths=[{scene}]" if several else f"data.path={scene}"
        base = ["--config", config.config] if config.config else []
        runs.append(Run(name, short, label, (*base, f"name={name}", data, *overrides)))
    names = [run.name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two runs would be called {twice}; give settings other labels")
    return runs


def freeze(config: SweepConfig, runs: list[Run]) -> Path:
    """Write the list of runs, or check that it is the one that is there."""
    folder = Path(config.output_root) / "sweeps" / config.name
    path = folder / "runs.txt"
    text = "".join(f"{shlex.join(run.arguments)}\n" for run in runs)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{path}: a sweep of this name has other runs; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)
    return path


def read_row(config: SweepConfig, run: Run) -> dict[str, Any]:
    """State and figures of a run, as one row of the table."""
    folder = Path(config.output_root) / config.command.partition(".")[0] / run.name
    final = folder / "metrics.json"
    figures = read_json(final) if final.is_file() else None
    row: dict[str, Any] = {"run": run.name, "scene": run.scene, "setting": run.setting}
    row["state"] = "done" if figures else "begun" if folder.is_dir() else "to do"
    row["step"] = last_step(folder)
    for key, value in (figures or {}).items():
        if isinstance(value, int | float):
            row[key] = value
    return row


def last_step(folder: Path) -> int | None:
    """The last step that a run has logged."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError):  # a line that is being written
            continue
    return None


def write_tables(folder: Path, rows: list[dict[str, Any]]) -> None:
    """table.csv and table.html: one row a run."""
    columns = [*FIRST_COLUMNS, *dict.fromkeys(k for row in rows for k in row)]
    columns = list(dict.fromkeys(columns))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(folder / "table.csv", text.getvalue())
    cells = [[_shown(row.get(column)) for column in columns] for row in rows]
    lines = ["<tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in columns) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in cells
    ]
    style = "body{font-family:sans-serif}table{border-collapse:collapse}"
    style += "td,th{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:left}"
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(folder.name)}</title>"
    page += f"<style>{style}</style><h1>{html.escape(folder.name)}</h1><table>"
    atomic.write_text(folder / "table.html", page + "\n".join(lines) + "</table>\n")


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def train_here(config: SweepConfig, runs: list[Run]) -> Iterator[str]:
    """Train what is not done; the names of runs that failed. Raises Stopped by a signal."""
    for run in runs:
        if read_row(config, run)["state"] == "done":
            continue
        logger.info("%s", run.name)
        words = [*run.arguments, f"output_root={config.output_root}"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", config.command, *words], env=os.environ | {"PYTHONPATH": path}
        )
        if done.returncode == EXIT_STOPPED:
            raise Stopped(f"{run.name} was stopped")
        if done.returncode:
            yield run.name


def plan(config: SweepConfig) -> str:
    """The runs, a line each."""
    runs = runs_of(config)
    lines = [f"{len(runs)} runs of {config.command}"]
    return "\n".join(lines + [f"  {shlex.join(run.arguments)}" for run in runs])


def run(config: SweepConfig) -> int | None:
    """Freeze the list, train here if asked to, write the table; 1 if a run failed here."""
    runs = runs_of(config)
    listed = freeze(config, runs)
    failed = list(train_here(config, runs)) if config.run_here else []
    rows = [read_row(config, each) for each in runs]
    write_tables(listed.parent, rows)
    done = sum(row["state"] == "done" for row in rows)
    logger.info("%d of %d runs are done: %s", done, len(rows), listed.parent / "table.html")
    if failed:
        logger.error("%d failed: %s", len(failed), ", ".join(failed))
        return 1
    if done < len(rows) and not config.run_here:
        line = f"python scripts/submit.py runs {shlex.quote(str(listed))} --shards {config.shards}"
        logger.info("on a cluster: %s --command %s --time 3:00:00", line, config.command)
    return None


if __name__ == "__main__":
    raise SystemExit(run_command(SweepConfig, run=run, plan=plan, description=__doc__ or ""))

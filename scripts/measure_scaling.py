r"""What an object costs in each phase, in one process and in two beside each other.

    python scripts/measure_scaling.py output=outputs/scaling
    python scripts/measure_scaling.py parts=[render] objects=4 processes=[1] output=outputs/quick
    python scripts/measure_scaling.py parts=[array] processes=[2] output=outputs/array  # by sbatch

Runs the real commands on the built-in character and writes measured.json and measured.md:
rendering (bytes, files, CPU seconds) of ``objects`` copies in small, and of a few pictures of the
two published recipes at their own size; PAPR, a scene for each process; MNVS, a clip, data-parallel
at the same global batch. ``array`` renders the same objects through slurm/render_array.sbatch with
as many tasks, and needs a Slurm. docs/scaling.md carries the figures to many objects.
"""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scaling_costs import report

from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import ConfigError, InputError, option
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.run_folder import describe_environment

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("render", "recipes", "array", "papr", "mnvs")
SMALL = ["--config", "configs/blender_render/smoke.yaml", "archive=zip", "depth=none"]
# Of the published recipes: size and samples as they are, few views and frames.
FEW_VIEWS = ("rig.train=2", "rig.val=1", "rig.test=1")
RECIPES = {
    "report": ["--config", "configs/blender_render/report.yaml", "frames.every=20", *FEW_VIEWS],
    "sixview_v12": ["--config", "configs/blender_render/sixview_v12.yaml", "frames.count=2"],
}
# A scene for PAPR, and a clip for MNVS.
SCENE = [*SMALL, "archive=none", "frames.count=1", "rig.train=16", "rig.resolution=128"]
CLIP = [*RECIPES["sixview_v12"], "archive=none", "frames.count=8", "rig.resolution=64"]


@dataclass
class ScalingConfig:
    parts: list[str] = option(
        ["render", "recipes", "papr", "mnvs"], f"what is measured: {', '.join(PARTS)}"
    )
    processes: list[int] = option([1, 2], "how many processes run beside each other, one after one")
    objects: int = option(50, "objects rendered in small")
    views: int = option(6, "views of each of their frames, three or more")
    frames: int = option(2, "frames of each of them")
    resolution: int = option(64, "side of their pictures, pixels")
    papr_steps: int = option(200, "training steps of PAPR")
    mnvs_steps: int = option(20, "training steps of MNVS")
    output: str = option(
        "outputs/scaling", "folder; a part that stands there is not measured again"
    )

    def validate(self) -> None:
        """Raises ValueError on parts that are unknown and on numbers that are too small."""
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise ValueError(f"parts: {unknown[0]!r} is none of {', '.join(PARTS)}")
        at_least(1, objects=self.objects, frames=self.frames)
        at_least(1, papr_steps=self.papr_steps, mnvs_steps=self.mnvs_steps)
        at_least(3, views=self.views)
        at_least(8, resolution=self.resolution)
        if not self.processes or min(self.processes) < 1:
            raise ValueError("processes: each is 1 or more")


@dataclass(frozen=True)
class Spent:
    """What commands took: seconds on the clock, and CPU seconds of all their processes."""

    seconds: float
    cpu_seconds: float


def together(commands: Sequence[Sequence[str]], logs: Path) -> Spent:
    """Run commands beside each other, one thread each.

    Raises:
        InputError: one of them failed; its log is named.
    """
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    running = []
    for i, command in enumerate(commands):
        with (logs / f"{i}.log").open("w") as log:
            running.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            )
    codes = [process.wait() for process in running]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for i, code in enumerate(codes):
        if code:
            raise InputError(f"a command ended with code {code}: see {logs / f'{i}.log'}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - begin, cpu)


def python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]


def datasets_in(folder: Path) -> dict[str, int]:
    """Datasets packed in a folder, and their files, pictures and bytes, packed and unpacked."""
    found = {"objects": 0, "files": 0, "pictures": 0, "packed_bytes": 0, "bytes": 0}
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        names = [m.filename for m in members]
        found["objects"] += 1
        found["files"] += len(members)
        found["pictures"] += sum(
            name.endswith(".png") and not name.endswith("_depth.png") for name in names
        )
        found["packed_bytes"] += path.stat().st_size
        found["bytes"] += sum(member.file_size for member in members)
    return found


def object_words(config: ScalingConfig) -> list[str]:
    """Arguments of the renderer for the small objects."""
    rest = config.views - 2
    return [
        *SMALL,
        *(f"rig.train={rest}", "rig.val=1", "rig.test=1"),
        *(f"frames.count={config.frames}", f"rig.resolution={config.resolution}"),
    ]


def manifest(config: ScalingConfig, folder: Path) -> Path:
    """A list of the built-in character under as many names."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "objects.txt"
    lines = [f"character_{i:03d}=builtin:demo\n" for i in range(config.objects)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def measure_render(config: ScalingConfig, processes: int, folder: Path) -> dict[str, Any]:
    """All objects, shared as an array's tasks share them."""
    source = manifest(config, folder)
    words = [*object_words(config), f'assets=["@{source}"]', f"output={folder / 'data'}"]
    words += ["workers=1", "engine.threads=1", f"shards={processes}"]
    commands = [python("blender_render.render", *words, f"shard={i}") for i in range(processes)]
    spent = together(commands, folder)
    return {**asdict(spent), **datasets_in(folder / "data")}


def measure_array(config: ScalingConfig, processes: int, folder: Path) -> dict[str, Any]:
    """The same through Slurm; it does not tell CPU seconds without its accounting."""
    if shutil.which("sbatch") is None:
        raise ConfigError("parts: array needs Slurm's sbatch")
    variables = {
        "MANIFEST": str(manifest(config, folder)),
        "SHARDS": str(processes),
        "DATASETS": str(folder),
        "NAME": "data",
        "SCRATCH": str(folder),
        "VIDEOPAPR_ROOT": str(ROOT),
    }
    command = ["sbatch", "--wait", f"--array=0-{processes - 1}", "--cpus-per-task=1"]
    command += [f"--output={folder}/%a.log", "slurm/render_array.sbatch", *object_words(config)]
    begin = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(f"the array failed: {done.stderr.strip() or folder}")
    return {"seconds": time.monotonic() - begin, **datasets_in(folder / "data")}


def measure_recipes(config: ScalingConfig, processes: int, folder: Path) -> dict[str, Any]:
    """A few pictures of each published recipe, at its own size."""
    found: dict[str, Any] = {}
    for name, words in RECIPES.items():
        output = [f"output={folder / name}", "workers=1", "engine.threads=1"]
        assets = [['assets=["' + f"{name}_{i}=builtin:demo" + '"]'] for i in range(processes)]
        commands = [python("blender_render.render", *words, *output, *one) for one in assets]
        spent = together(commands, folder / f"{name}_logs")
        found[name] = {**asdict(spent), **datasets_in(folder / name)}
    return found


def _rendered(words: Sequence[str], folder: Path) -> Path:
    """The built-in character as training data; kept for the next call."""
    if not (folder / "demo").is_dir():
        assets = ['assets=["builtin:demo"]', f"output={folder}", "workers=1"]
        together([python("blender_render.render", *words, *assets)], folder / "logs")
    return folder / "demo"


def measure_papr(config: ScalingConfig, processes: int, folder: Path) -> dict[str, Any]:
    """A scene for each process, as an array trains them; the means of a scene."""
    frame = _rendered(SCENE, folder.parent / "scene") / "frame_000"
    words = ["--config", "configs/sjc_papr/cpu_small.yaml", f"data.path={frame}"]
    words += [f"output_root={folder}", f"optimize.steps={config.papr_steps}"]
    commands = [python("sjc_papr.train", *words, f"name=scene_{i}") for i in range(processes)]
    spent = together(commands, folder / "logs")
    figures = [read_json(folder / f"sjc_papr/scene_{i}/metrics.json") for i in range(processes)]
    return {**asdict(spent), "steps": config.papr_steps, "scenes": processes, **_means(figures)}


def measure_mnvs(config: ScalingConfig, processes: int, folder: Path) -> dict[str, Any]:
    """One clip with the toy network, two videos a step, which processes share."""
    clip = _rendered(CLIP, folder.parent / "clip")
    network = folder.parent / "tiny"
    if not network.is_dir():
        together([python("mnvs.tiny", f"folder={network}")], folder)
    words = ["--config", "configs/mnvs/tiny.yaml", f"data.paths=[{clip}]", "validation.every=0"]
    words += [f"model.zero123plus={network}/zero123plus", f"model.temporal_source={network}/svd"]
    words += [f"train.steps={config.mnvs_steps}", "train.batch=2", "name=clip", "log.every=10"]
    words += [f"train.accumulate={max(1, 2 // processes)}", f"output_root={folder}"]
    launch = ["--standalone", f"--nproc-per-node={processes}", "-m", "mnvs.train"]
    command = python("torch.distributed.run", *launch, *words)
    spent = together([command], folder / "logs")
    figures = [read_json(folder / "mnvs/clip/metrics.json")]
    return {**asdict(spent), "steps": config.mnvs_steps, "videos": 2, **_means(figures)}


def _means(figures: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of training alone, without starting and without the last evaluation."""
    return {
        f"training_{name}": sum(one[name] for one in figures) / len(figures)
        for name in ("seconds", "cpu_seconds")
    }


MEASURES = {
    "render": measure_render,
    "recipes": measure_recipes,
    "array": measure_array,
    "papr": measure_papr,
    "mnvs": measure_mnvs,
}


def run(config: ScalingConfig) -> None:
    """Measure what is not there yet; write after every part."""
    output = Path(config.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    path = output / "measured.json"
    measured = read_json(path) if path.exists() else {"parts": {}}
    measured |= {"environment": describe_environment(), "cores": len(os.sched_getaffinity(0))}
    for part in config.parts:
        runs = measured["parts"].setdefault(part, {})
        for processes in config.processes:
            if str(processes) in runs:
                continue
            logger.info("%s, %d process(es)", part, processes)
            folder = output / f"{part}_{processes}"
            shutil.rmtree(folder, ignore_errors=True)  # a measurement that was interrupted
            runs[str(processes)] = MEASURES[part](config, processes, folder)
            atomic.write_text(path, json.dumps(measured, indent=2) + "\n")
    text = report(measured["parts"])
    atomic.write_text(output / "measured.md", text)
    print(text)


def plan(config: ScalingConfig) -> str:
    each = " and ".join(map(str, config.processes))
    return f"{', '.join(config.parts)}, each with {each} process(es), to {config.output}"


if __name__ == "__main__":
    raise SystemExit(run_command(ScalingConfig, run=run, plan=plan, description=__doc__ or ""))

"""Make the fixtures of this folder: datasets, models and half-finished runs of an older commit.

    git worktree add ../older 46b0658
    PYTHONPATH=../older .venv/bin/python tests/compatibility/make_fixtures.py

Only commands and saved files are used, whose names do not change. Every training is stopped by
SIGTERM in the middle, packed, and then finished by the same code, so that the packed run can be
finished by later code and compared. All networks are tiny.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent / "fixtures"
# What says when and where a run was made, or is for people to look at.
LEFT_OUT = ("environment.json", "command.txt", ".lock", "tensorboard", "images", "videos", "logs")
STOPPED = 75  # exit status of a command that SIGTERM ended
COMMON = ["device=cpu", "threads=1", "log.every=1", "log.keep_last=1"]
PAPR = [
    *COMMON,
    "precision=float32",
    "model.attention.width=8",
    "model.attention.score_width=8",
    "model.attention.value_width=8",
    "model.attention.frequencies=2",
    "model.point_features=4",
    "model.unet_base=4",
    "model.neighbours=5",
    "points.count=60",
    "points.hull_resolution=16",
]
GROWTH = ["prune_events=3", "prune_until=0.9", "prune_below=0.995"]
GROWTH += ["grow_events=3", "grow_until=0.9", "grow_count=5"]
RENDER = ["output=data", "engine.device=cpu", "engine.samples=2", "workers=1"]
DATASETS = {
    "demo": [
        "assets=[demo=builtin:demo]",
        *RENDER,
        "frames.count=2",
        "rig.train=8",
        "rig.val=2",
        "rig.test=2",
        "rig.resolution=20",
        "depth=test",
    ],
    "six": [
        "assets=[six=builtin:demo]",
        *RENDER,
        "frames.count=4",
        "rig.kind=sixview",
        "rig.version=v1.2",
        "rig.resolution=16",
        "depth=none",
        "archive=zip",
    ],
}
# Each: the command, its arguments, the run's folder, the folder of checkpoints and the step of the
# stop within that part of the run.
RUNS: dict[str, dict[str, Any]] = {
    "prior": {
        "module": "sjc_papr.train_prior",
        "arguments": [
            *COMMON,
            "name=prior",
            "precision=float32",
            "data.paths=[data/demo]",
            "data.skip_frames=[1]",
            "network.size=16",
            "network.patch=4",
            "network.width=8",
            "network.multipliers=[1,1]",
            "network.heads=1",
            "optimize.steps=8",
            "optimize.batch=3",
            "log.validate_every=5",
        ],
        "run": "runs/train_prior/prior",
        "stop": 5,
    },
    "papr": {
        "module": "sjc_papr.train",
        "arguments": [
            *PAPR,
            "name=papr",
            "data.path=data/demo/frame_000",
            "optimize.steps=20",
            "optimize.patches.size=10",
            *(f"optimize.density.{change}" for change in GROWTH),
            "log.validate_every=6",
        ],
        "run": "runs/sjc_papr/papr",
        "stop": 9,
    },
    "novel": {
        "module": "sjc_papr.train",
        "arguments": [
            *PAPR,
            "name=novel",
            "data.path=data/demo/frame_000",
            "optimize.steps=10",
            "optimize.patches.size=10",
            "log.validate_every=0",
            "novel.resolutions=[12,16]",
            "novel.sjc.weight=0.5",
            "novel.sjc.score.prior=models/prior",
            "novel.sjc.score.precision=float32",
            "novel.near.weight=1",
            "novel.smooth.weight=0.1",
            "novel.smooth.alpha_threshold=0",
            "novel.balance.kind=gradient_norm",
            "novel.watch.restarts=2",
        ],
        "run": "runs/sjc_papr/novel",
        "stop": 5,
    },
    "vae": {
        "module": "mnvs.train_vae",
        "arguments": [
            *COMMON,
            "name=vae",
            "data.paths=[data/six.zip]",
            "data.view_size=16",
            "vae.channels=[4,8]",
            "optimize.steps=8",
            "optimize.batch=2",
            "optimize.crop=16",
            "optimize.warmup=2",
            "log.validate_every=4",
        ],
        "run": "runs/mnvs/vae",
        "stop": 5,
    },
    "lora": {
        "module": "mnvs.train",
        "arguments": [
            *COMMON,
            "name=lora",
            "precision=fp32",
            "model.pipeline=models/pipeline",
            "data.paths=[data/six.zip]",
            "data.cache=cache",
            "data.frames=2",
            "data.view_size=16",
            "data.condition_size=16",
            "train.steps=6",
            "train.batch=2",
            "train.ema=0.5",
            "train.lora.rank=1",
            "train.optimizer.warmup=2",
            "validation.every=3",
            "validation.steps=2",
        ],
        "run": "runs/mnvs/lora",
        "stop": 4,
    },
    "animation": {
        "module": "animate_papr.train",
        "arguments": [
            *PAPR,
            "name=animation",
            "data.path=data/demo",
            "first.steps=12",
            "first.patches.size=10",
            "next.steps=12",
            "next.patches.size=10",
            "next.align.steps=10",
            "next.align.surface_points=40",
            "next.motion.smooth=0.1",
        ],
        "run": "runs/animate_papr/animation",
        "part": "frames/frame_001",
        "stop": 7,
    },
}


def command(module: str, *arguments: str, part: str = "", stop: int = 0) -> int:
    """Run ``python -m module`` in a process of its own; its exit status.

    Args:
        stop: SIGTERM comes when this step is logged in the folder ``part``; 0 = never.
    """
    main = importlib.import_module(module).main  # in this process, so that it is imported once

    def run() -> None:
        if stop:
            stop_inside(part, stop)
        sys.exit(main(list(arguments)))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def stop_inside(part: str, step: int) -> None:
    """Make this process send itself SIGTERM when ``step`` is logged in a run folder ``part``."""
    from training_core.metrics_log import MetricsLog

    plain = MetricsLog.log

    def log(self: MetricsLog, at: int, values: dict[str, float]) -> None:
        plain(self, at, values)
        training = any(name.startswith("loss/") for name in values)
        if at == step and training and self._path.parent.match(part):
            os.kill(os.getpid(), signal.SIGTERM)

    MetricsLog.log = log


def coarsen(folder: Path) -> None:
    """Leave two values in each random tensor, so that the files pack small."""
    for file in folder.rglob("*.safetensors"):
        weights = load_file(file)
        save_file({n: w.sign() * w.abs().mean() for n, w in weights.items()}, file)


def make_models() -> None:
    """The pipeline that ``lora`` starts from."""
    from mnvs.pipeline import MNVSPipeline

    sizes = ["unet_channels=[32,32]", "heads=[2,2]", "width=16", "view_size=16"]
    assert command("mnvs.tiny", "folder=tiny", "vae_channels=[4,8]", *sizes) == 0
    coarsen(Path("tiny"))
    pipeline = MNVSPipeline.from_sources("tiny/zero123plus", "tiny/svd", kind="svd")
    pipeline.save_pretrained("models/pipeline")


def pack(name: str, *folders: str) -> None:
    """Write ``fixtures/NAME.zip`` with what the folders hold."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted(p for folder in folders for p in Path(folder).rglob("*")):
            if path.is_file() and not set(path.parts) & set(LEFT_OUT):
                entry = zipfile.ZipInfo(path.as_posix())
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_LZMA)


def final_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    """What the newest checkpoint holds, without the states of random generators."""
    newest = run / "checkpoints" / (run / "checkpoints" / "latest").read_text().strip()
    tensors = load_file(newest / "tensors.safetensors")
    return {n: t for n, t in sorted(tensors.items()) if not n.startswith("rng.")}


def half_then_whole(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """Stop a run in the middle, pack it, finish it; what it ends with."""
    run = Path(case["run"]) / case.get("part", "")
    arguments = [case["module"], *case["arguments"]]
    assert command(*arguments, part=str(run), stop=case["stop"]) == STOPPED, name
    pack(name, case["run"])
    assert command(*arguments) == 0, name
    tensors = final_checkpoint(run)
    everything = b"".join(t.numpy().tobytes() for t in tensors.values())
    weights = {n: t for n, t in tensors.items() if not n.startswith("optimizer")}
    save_file(weights, FOLDER / f"{name}.safetensors")
    figures = json.loads((run / "metrics.json").read_text())
    return case | {
        "psnr": figures.get("psnr"),
        "digest": hashlib.sha256(everything).hexdigest(),
    }


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for arguments in DATASETS.values():
            assert command("blender_render.render", *arguments) == 0
        make_models()
        runs = {"prior": half_then_whole("prior", RUNS["prior"])}
        shutil.copytree("runs/train_prior/prior/prior", "models/prior")
        runs |= {n: half_then_whole(n, case) for n, case in RUNS.items() if n != "prior"}
        shutil.copytree("runs/mnvs/lora/lora", "models/lora")
        pack("datasets", "data")
        pack("models", "models")
        pack("cache", "cache")
    made = {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "datasets": DATASETS,
        "runs": runs,
    }
    (FOLDER / "made.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()

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
from older_commands import DATASETS, RUNS
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent / "fixtures"
# What says when and where a run was made, or is for people to look at.
LEFT_OUT = ("environment.json", "command.txt", ".lock", "tensorboard", "images", "videos", "logs")
STOPPED = 75  # exit status of a command that SIGTERM ended


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

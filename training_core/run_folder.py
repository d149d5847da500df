"""Run folders: one place per run that says what was run and holds what came out."""

import dataclasses
import datetime
import importlib.metadata
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from training_core.config import ConfigError, InputError, to_yaml
from training_core.config.saved import CONFIG_FILE, refuse_changes
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.files.locks import acquire

logger = logging.getLogger(__name__)

_LONGEST_NAME = 200  # file systems take 255; a number may follow
_PACKAGES = [
    "videopapr",
    "torch",
    "numpy",
    "omegaconf",
    "safetensors",
    "tensorboard",
    "torchmetrics",
    "imageio",
    "imageio-ffmpeg",
    "pillow",
    "matplotlib",
    "tqdm",
    "bpy",
    "torchvision",
    "lpips",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
]
_locks: dict[Path, int] = {}


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Folder of one run. `resumed` says whether it had been started before."""

    path: Path
    resumed: bool

    @property
    def checkpoints(self) -> Path:
        """Where `CheckpointStore` keeps its checkpoints."""
        return self.path / "checkpoints"

    @property
    def images(self) -> Path:
        """Pictures made on the way."""
        return self.path / "images"

    @property
    def videos(self) -> Path:
        """Videos made at the end."""
        return self.path / "videos"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.path / "tensorboard"

    def describe(self, result: str = "") -> str:
        """Where the run, or its ``result``, is, and whether it goes on: for ``--dry-run``."""
        begun = ", which has begun and is continued" if self.resumed else ""
        return f"{self.path / result}{begun}"

    @classmethod
    def open(
        cls,
        root: Path,
        phase: str,
        name: str,
        config: Any,
        resume: str = "auto",
        may_change: Collection[str] = (),
        subfolders: bool = True,
    ) -> "RunFolder":
        """Create `<root>/<phase>/<name>` or continue in it.

        Args:
            config: the resolved config dataclass, kept as `config.yaml`.
            resume: "auto" continues an existing folder; "never" starts `<name>_001`, `_002`, ...
                beside it.
            may_change: dotted keys, or sections of keys, that may differ from the first start.
            subfolders: make those for checkpoints, images, videos and TensorBoard.

        Raises:
            ConfigError: the folder was started with another configuration, holds something
                else, or is in use by another process.
        """
        path = _place(root, phase, name, resume)
        if resume == "never":
            path = _first_free(path)
        path.mkdir(parents=True, exist_ok=True)
        _lock(path)
        run = cls._found(path, config, may_change)
        for leftover in path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if subfolders:
            run._make_folders()
        _record_start(path)
        # Last, because its presence means that the folder is complete.
        atomic.write_text(path / CONFIG_FILE, to_yaml(config))
        return run

    @classmethod
    def look_up(
        cls,
        root: Path,
        phase: str,
        name: str,
        config: Any,
        resume: str = "auto",
        may_change: Collection[str] = (),
    ) -> "RunFolder":
        """What `open` would return, without making or locking anything: for a dry run.

        Raises:
            ConfigError: the folder was started with another configuration, or holds something else.
        """
        path = _place(root, phase, name, resume)
        if resume == "never":
            free = next((p for p in _candidates(path) if not p.exists()), None)
            if free is None:
                raise _no_free_name(path)
            return cls(free, False)
        return cls._found(path, config, may_change)

    @classmethod
    def _found(cls, path: Path, config: Any, may_change: Collection[str]) -> "RunFolder":
        """The folder as it is now, refused where this run cannot be in it."""
        config_file = path / CONFIG_FILE
        run = cls(path, config_file.exists())
        if run.resumed:
            refuse_changes(config_file, config, may_change)
        elif any(run.checkpoints.glob("*")) or any(path.glob("frames/*/checkpoints/*")):
            raise ConfigError(f"{path} has checkpoints but no config.yaml; choose another name")
        return run

    def sub(self, name: str) -> "RunFolder":
        """Folder of one part of the run (a frame), with its own checkpoints, images and so on."""
        path = self.path / name
        part = RunFolder(path, path.is_dir())
        part._make_folders()
        return part

    def _make_folders(self) -> None:
        for folder in (self.checkpoints, self.images, self.videos, self.tensorboard):
            folder.mkdir(parents=True, exist_ok=True)


def check_name(name: str) -> None:
    """Raise ConfigError where a name is not that of one folder, such as `../other`."""
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise ConfigError(f"name: {name!r} is not the name of one folder")
    if len(name.encode()) > _LONGEST_NAME:
        raise ConfigError(f"name: longer than {_LONGEST_NAME} bytes, {name[:20]}…")


def describe_environment() -> dict[str, Any]:
    """Versions, device, threads, git state and Slurm job of this process, as JSON values."""
    import torch

    from training_core.devices import cpu_fact

    cpu = cpu_fact("model name") or platform.processor() or platform.machine()
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        **_git_state(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "folder": os.getcwd(),
    }


def given_path(run: Path, path: str | Path) -> Path:
    """A path that a run was told, which may be relative to where the run was last started: as it is
    where it exists, else from there.
    """
    if Path(path).exists() or Path(path).is_absolute():
        return Path(path)
    try:
        started = read_json(run / "environment.json").get("folder")
    except InputError:
        started = None
    there = Path(started or "", path)
    return there if there.exists() else Path(path)


def _place(root: Path, phase: str, name: str, resume: str) -> Path:
    if resume not in ("auto", "never"):
        raise ConfigError(f"resume: {resume!r} is not one of: auto, never")
    check_name(name)
    return Path(root) / phase / name


def _candidates(path: Path) -> list[Path]:
    """Where a run may start that continues no other."""
    return [path, *(path.with_name(f"{path.name}_{i:03d}") for i in range(1, 1000))]


def _first_free(path: Path) -> Path:
    for candidate in _candidates(path):
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            continue
    raise _no_free_name(path)


def _no_free_name(path: Path) -> ConfigError:
    return ConfigError(f"no free name beside {path}")


def _lock(path: Path) -> None:
    """Refuse a second process in one run folder; the system drops the lock when we end."""
    if path.resolve() in _locks:
        return
    try:
        _locks[path.resolve()] = acquire(path / ".lock")
    except InputError:
        raise ConfigError(f"{path} is in use by another process") from None


def _record_start(path: Path) -> None:
    environment = describe_environment()
    atomic.write_json(path / "environment.json", environment)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    commit = (environment["git_commit"] or "no-commit")[:12]
    with atomic.naming(path / "command.txt"), open(path / "command.txt", "a") as file:
        file.write(f"{now} {commit} {shlex.join(sys.orig_argv)}\n")


def _git_state() -> dict[str, Any]:
    """Commit of the checkout that this code runs from; None outside one."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changes = git("status", "--porcelain", "--untracked-files=no")
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}

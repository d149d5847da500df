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
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf

from training_core.config import (
    ConfigError,
    InputError,
    former_values,
    load_config,
    read_yaml_values,
    to_yaml,
)
from training_core.files import atomic
from training_core.files.locks import acquire

logger = logging.getLogger(__name__)

_LONGEST_NAME = 200  # file systems take 255; a number may follow
CONFIG_FILE = "config.yaml"
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

T = TypeVar("T")


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
        if resume not in ("auto", "never"):
            raise ConfigError(f"resume: {resume!r} is not one of: auto, never")
        check_name(name)
        path = Path(root) / phase / name
        if resume == "never":
            path = _first_free(path)
        path.mkdir(parents=True, exist_ok=True)
        _lock(path)
        config_file = path / CONFIG_FILE
        run = cls(path, config_file.exists())
        if run.resumed:
            _compare(config_file, config, may_change)
        elif any(run.checkpoints.glob("*")) or any(path.glob("frames/*/checkpoints/*")):
            raise ConfigError(f"{path} has checkpoints but no config.yaml; choose another name")
        for leftover in path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        if subfolders:
            run._make_folders()
        _record_start(path)
        # Last, because its presence means that the folder is complete.
        atomic.write_text(config_file, to_yaml(config))
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
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name(),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        **_git_state(),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def _first_free(path: Path) -> Path:
    candidates = [path, *(path.with_name(f"{path.name}_{i:03d}") for i in range(1, 1000))]
    for candidate in candidates:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            continue
    raise ConfigError(f"no free name beside {path}")


def _lock(path: Path) -> None:
    """Refuse a second process in one run folder; the system drops the lock when we end."""
    if path.resolve() in _locks:
        return
    try:
        _locks[path.resolve()] = acquire(path / ".lock")
    except InputError:
        raise ConfigError(f"{path} is in use by another process") from None


def load_run_config(schema: type[T], folder: Path) -> T:
    """The configuration that a run was started with.

    Raises:
        ConfigError: there is none, it cannot be read, is empty, or does not belong to `schema`.
    """
    read_saved_values(folder)  # load_config would take an empty file for the defaults
    try:
        return load_config(schema, folder / CONFIG_FILE, [])
    except ConfigError as error:
        if "unknown key" not in str(error):
            raise
        raise ConfigError(f"{error} (is {folder} a run of another command?)") from None


def differences(config_file: Path, config: Any) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ: dotted key, value in the file, value now ("absent" without).

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    old = dict(_flatten(_saved_values(config_file), ""))
    new = _flat(config)
    # A key that came after the run began is no difference as long as it says what was done then.
    defaults = _flat(type(config)()) | former_values(config)
    old = {key: value for key, value in defaults.items() if key in new} | old
    return [
        (key, old.get(key, "absent"), new.get(key, "absent"))
        for key in [*new, *(key for key in old if key not in new)]
        if key not in old or key not in new or old[key] != new[key]
    ]


def read_saved_values(folder: Path) -> dict[Any, Any]:
    """The plain values in the `config.yaml` of a run. Raises ConfigError: see `load_run_config`."""
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(f"{folder}: no {CONFIG_FILE}: not a run folder")
    return _saved_values(folder / CONFIG_FILE)


def _saved_values(config_file: Path) -> dict[Any, Any]:
    values = read_yaml_values(config_file)
    if not isinstance(values, dict) or not values:
        raise ConfigError(
            f"{config_file} is damaged: it holds no keys; put a copy back, or choose another name"
        )
    return values


def _compare(config_file: Path, config: Any, may_change: Collection[str]) -> None:
    for key, before, now in differences(config_file, config):
        if not any(key == k or key.startswith(f"{k}.") for k in may_change):
            longer = key.rpartition(".")[2] == "steps" and hasattr(config, "extend")
            more = f"to train longer, use another name and extend={config_file.parent}, "
            raise ConfigError(
                f"{config_file.parent} was started with {key}={before}, now {key}={now}; "
                f"{more if longer else ''}keep the value, choose another name, or start anew with "
                "resume=never"
            )


def _flat(config: Any) -> dict[str, Any]:
    """Values by their dotted keys, as they would be read back from a file."""
    return dict(_flatten(OmegaConf.to_container(OmegaConf.create(to_yaml(config))), ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _flatten(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _record_start(path: Path) -> None:
    environment = describe_environment()
    atomic.write_json(path / "environment.json", environment)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    commit = (environment["git_commit"] or "no-commit")[:12]
    with atomic.naming(path / "command.txt"), open(path / "command.txt", "a") as file:
        file.write(f"{now} {commit} {shlex.join(sys.orig_argv)}\n")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


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

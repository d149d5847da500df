"""One asset, seen from the parent: a Blender process with a time limit, and what it leaves.

The process writes into ``.NAME.partial`` beside the dataset-to-be. Frames it has finished stay
there when it is killed, and the next start with the same config, asset and Blender keeps them. Only
when all is done is the completion marker written and the folder renamed (or packed and renamed).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import pack
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.asset_files import files_of
from blender_render.rendering.config import RenderConfig, effective
from blender_render.rendering.worker_pool import Listener, WorkerPool, run_worker
from training_core.config import InputError
from training_core.files.atomic import publish_directory, replacing, write_json
from training_core.files.json_files import read_json
from training_core.files.locks import acquire

BUILTIN = "builtin:"
BUILTIN_SOURCES = tuple(
    Path(__file__).parents[1] / "blender" / name
    for name in ("demo_character.py", "demo_paint.py", "solids.py")
)
# A killed start may hold its lock for a moment longer.
LOCK_PATIENCE_S = 10.0
_BLOCK = 1 << 22  # bytes of a file that are read at a time
JOB_FILE = "job.json"
DONE_FOLDER = ".done"


@dataclass(frozen=True)
class Asset:
    """An input: ``source`` is a path or builtin:NAME, ``name`` that of its dataset, ``action`` the
    animation to play, where it is not the config's.
    """

    name: str
    source: str
    action: str = ""

    def sha256(self, *, alone: bool = False) -> str:
        """Hash of the file and of those it names (of the scripts that build it, for a built-in
        asset).

        Args:
            alone: of the file alone, as older datasets have it.

        Raises:
            AssetFailure: import_error, a file cannot be read.
        """
        builtin = self.source.startswith(BUILTIN)
        own = [Path(self.source)]
        digest = hashlib.sha256()
        for path in BUILTIN_SOURCES if builtin else own if alone else files_of(own[0]):
            try:
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise AssetFailure("import_error", f"{path}: {error.strerror}") from error
        return digest.hexdigest()


def own_config(config: RenderConfig, asset: Asset) -> RenderConfig:
    """The config with the asset's own action in it."""
    return replace(config, action=asset.action, actions=[]) if asset.action else config


def target_of(config: RenderConfig, asset: Asset) -> Path:
    """Where the dataset of an asset goes."""
    suffix = ".zip" if config.archive == "zip" else ""
    return Path(config.output) / f"{asset.name}{suffix}"


def is_rendered(config: RenderConfig, asset: Asset, sha256: str) -> bool:
    """Whether the dataset is there, made with these settings (``own_config``) from this asset.

    Args:
        sha256: of the asset.

    Raises:
        AssetFailure: import_error, a file cannot be read.
    """
    target = target_of(config, asset)
    if fmt.is_complete(target, dataset_hash(config, sha256)):
        return True
    if not target.exists():
        return False
    return fmt.is_complete(target, dataset_hash(config, asset.sha256(alone=True)))


def what_is_in_the_way(config: RenderConfig, target: Path) -> str:
    """Why a dataset cannot go to ``target``; empty where nothing or what may be replaced is."""
    if not target.exists() or (config.replace and fmt.is_complete(target)):
        return ""
    if not fmt.is_complete(target):
        return f"{target} is not a complete dataset of ours"
    return (
        f"{target} was made with other settings or from another asset; replace=true replaces it, "
        "NAME=FILE or another output keeps it"
    )


def dataset_hash(config: RenderConfig, asset_sha256: str) -> str:
    """What a dataset was made from, in one string; equal strings need no second rendering."""
    return fmt.config_hash({"config": effective(config), "asset": asset_sha256})


def render_asset(
    config: RenderConfig, asset: Asset, threads: int, listener: Listener, worker_pool: WorkerPool
) -> bool:
    """Render one asset unless it is complete; returns whether anything had to be done.

    Raises:
        AssetFailure: this asset cannot be rendered, or not now (busy).
        InputError: nothing can be rendered (no device, no room).
        Stopped: ``worker_pool.stop`` was called.
    """
    config = own_config(config, asset)
    output, target = Path(config.output), target_of(config, asset)
    sha256 = asset.sha256()
    wanted = dataset_hash(config, sha256)
    with _alone(output / f".{asset.name}.lock"):
        if is_rendered(config, asset, sha256):
            return False
        if in_the_way := what_is_in_the_way(config, target):
            raise AssetFailure("in_the_way", in_the_way)
        work = output / f".{asset.name}.partial"
        if fmt.is_complete(work, wanted):  # an earlier start was ended while it published
            _publish(work, target, wanted)
            return True
        job = {
            "asset": asset.source,
            "asset_label": Path(asset.source).name,
            "asset_sha256": sha256,
            "threads": threads,
            "hash": wanted,
            "blender": _blender_version(),
            "work": str(work),
            "config": asdict(config),
        }
        _prepare(work, job)
        log = output / "logs" / f"{asset.name}.log"
        run_worker(work / JOB_FILE, log, config.timeout_s, listener, worker_pool)
        _publish(work, target, wanted)
        return True


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold an asset's lock. Raises AssetFailure: another process still has it."""
    try:
        descriptor = acquire(lock, LOCK_PATIENCE_S)
    except InputError as error:
        raise AssetFailure("busy", str(error)) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _prepare(work: Path, job: dict[str, Any]) -> None:
    """Keep what an earlier start left if it was making the same thing, else begin anew."""
    try:
        earlier = read_json(work / JOB_FILE)
    except InputError:
        earlier = {}
    if any(earlier.get(key) != job[key] for key in ("hash", "blender")) and work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / JOB_FILE, job)


def _publish(work: Path, target: Path, wanted: str) -> None:
    fmt.mark_complete(work, wanted)  # first: from here on a kill loses nothing
    (work / JOB_FILE).unlink(missing_ok=True)
    shutil.rmtree(work / DONE_FOLDER, ignore_errors=True)
    if target.is_dir():  # an older dataset, made from another config or asset
        shutil.rmtree(target)
    if target.suffix == ".zip":
        with replacing(target, temporary=work.with_suffix(".zip")) as packed:
            pack(work, packed)
        shutil.rmtree(work)
    else:
        publish_directory(work, target)


def _blender_version() -> str:
    try:
        return importlib.metadata.version("bpy")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "rendering needs Blender as a module: scripts/setup_env.sh .venv render "
            "(or pip install bpy) installs it"
        ) from None

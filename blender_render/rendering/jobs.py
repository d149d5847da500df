"""One asset, seen from the parent: a Blender process with a time limit, and what it leaves.

The process writes into ``.NAME.partial`` beside the dataset-to-be. Frames it has finished stay
there when it is killed, and the next start with the same config, asset and Blender keeps them. Only
when all is done is the completion marker written and the folder renamed (or packed and renamed).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import pack
from blender_render.rendering.asset_failures import AssetFailure
from blender_render.rendering.asset_files import files_of
from blender_render.rendering.config import RenderConfig, effective
from training_core.config import InputError
from training_core.files.atomic import publish_directory, replacing, write_json
from training_core.files.json_files import read_json
from training_core.files.locks import acquire
from training_core.stopping import STOP_SIGNALS, Stopped

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

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Asset:
    """An input: ``source`` is a path or builtin:NAME, ``name`` that of its dataset, ``action`` the
    animation to play, where it is not the config's.
    """

    name: str
    source: str
    action: str = ""

    def sha256(self) -> str:
        """Hash of the file and of those it names (of the scripts that build it, for a built-in
        asset).

        Raises:
            AssetFailure: import_error, a file cannot be read.
        """
        builtin = self.source.startswith(BUILTIN)
        digest = hashlib.sha256()
        for path in BUILTIN_SOURCES if builtin else files_of(Path(self.source)):
            try:
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except OSError as error:
                raise AssetFailure("import_error", f"{path}: {error.strerror}") from error
        return digest.hexdigest()


class WorkerPool:
    """The Blender processes of this start, so that all of them can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def start(self, *args: Any, **options: Any) -> subprocess.Popen[str]:
        """``subprocess.Popen`` in a process group of its own. Raises Stopped after ``stop``.

        The process is deaf to signals that ask to stop: a scheduler sends them to every process of
        a job, but here only ``stop`` decides.
        """
        with self._lock:
            if self.stopped:
                raise Stopped("stopped")
            # Of this thread alone, and inherited by the process.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            try:
                process = subprocess.Popen(*args, start_new_session=True, text=True, **options)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._processes.add(process)
            return process

    def end(self, process: subprocess.Popen[str]) -> None:
        """Kill a process and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        """Kill all; what they have finished is kept for the next start."""
        with self._lock:
            self.stopped = True
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def own_config(config: RenderConfig, asset: Asset) -> RenderConfig:
    """The config with the asset's own action in it."""
    return replace(config, action=asset.action, actions=[]) if asset.action else config


def target_of(config: RenderConfig, asset: Asset) -> Path:
    """Where the dataset of an asset goes."""
    suffix = ".zip" if config.archive == "zip" else ""
    return Path(config.output) / f"{asset.name}{suffix}"


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
        if fmt.is_complete(target, wanted):
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
        _run_worker(work, log, config.timeout_s, listener, worker_pool)
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


def _run_worker(
    work: Path, log: Path, timeout_s: float, listener: Listener, worker_pool: WorkerPool
) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "blender_render.blender.worker"]
    path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with log.open("w", encoding="utf-8") as out, os.fdopen(read_end, encoding="utf-8") as events:
        try:
            process = worker_pool.start(
                [*command, str(work / JOB_FILE), str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=[write_end],
                env=environment,
            )
        finally:
            os.close(write_end)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            worker_pool.end(process)

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            ending = _listen(events, listener)
            code = process.wait()
        finally:
            timer.cancel()
            worker_pool.end(process)
    if ending.get("event") == "failed":
        raise AssetFailure(ending["reason"], ending["detail"])
    if ending.get("event") == "fatal":
        raise InputError(ending["detail"])
    if ending.get("event") != "done":
        if worker_pool.stopped:
            raise Stopped("stopped")
        if late.is_set():
            raise AssetFailure("timeout", f"not finished after {timeout_s:g} s")
        raise AssetFailure("crashed", f"exit code {code}; last words: {_last_words(log)}")


def _listen(events: Any, listener: Listener) -> dict[str, Any]:
    """Hand every event on; returns the one that ended the work, {} if none did."""
    for line in events:
        event = json.loads(line)
        if event["event"] in ("done", "failed", "fatal"):
            return event
        listener(event)
    return {}


def _last_words(log: Path) -> str:
    lines = [x.strip() for x in log.read_text(errors="replace").splitlines() if x.strip()]
    return lines[-1] if lines else "none"


def _blender_version() -> str:
    try:
        return importlib.metadata.version("bpy")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "rendering needs Blender as a module: scripts/setup_env.sh .venv render "
            "(or pip install bpy) installs it"
        ) from None

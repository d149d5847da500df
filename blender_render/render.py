"""Animated assets to datasets: ``python -m blender_render.render --config FILE key=value ...``.

Exit codes: 0 all assets are rendered, 2 wrong config or a place that cannot be used, 4 some assets
failed (each has one line with a reason code in ``failures.jsonl`` in the output folder), 75 stopped
by a signal; the same command then continues, as it does after a kill.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from blender_render.dataset.paths import listed
from blender_render.rendering.actions import chosen_actions, dataset_names
from blender_render.rendering.asset_failures import (
    FAILURES_FILE,
    AssetFailure,
    read_failures,
    record_outcome,
)
from blender_render.rendering.config import RenderConfig
from blender_render.rendering.jobs import (
    BUILTIN,
    Asset,
    is_rendered,
    own_config,
    render_asset,
    target_of,
    what_is_in_the_way,
)
from blender_render.rendering.worker_pool import Listener, WorkerPool
from training_core.cli import run_command
from training_core.config import ConfigError, InputError
from training_core.files.natural_order import natural_key
from training_core.files.places import refuse_unusable
from training_core.metrics_log import Progress, progress_bar
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

EXIT_SOME_FAILED = 4
SUFFIXES = (".glb", ".gltf", ".fbx", ".obj", ".blend")


def find_assets(config: RenderConfig) -> list[Asset]:
    """The assets of this start: files and folders resolved, names settled, the shard chosen.

    A file that does not exist is kept: it becomes a recorded failure of its own.

    Raises:
        ConfigError: nothing to render, an unknown built-in, or two assets of one name.
    """
    found: list[Asset] = []
    for entry in config.assets:
        found += [each for asset in _expand(entry) for each in _with_actions(config, asset)]
    if not found:
        raise ConfigError("assets: nothing to render; give files, folders or builtin:demo")
    unique: dict[str, Asset] = {}
    for asset in found:
        other = unique.setdefault(asset.name, asset)
        if other != asset:
            raise ConfigError(
                f"assets: {other.source} and {asset.source} would both become {asset.name!r}; "
                "rename one with NAME=FILE"
            )
    return list(unique.values())[config.shard :: config.shards]


def _with_actions(config: RenderConfig, asset: Asset) -> list[Asset]:
    """One for each of ``actions``; the asset as it is where none are asked for."""
    if not config.actions or asset.source.startswith(BUILTIN):
        return [asset]
    try:
        chosen = chosen_actions(asset.source, config.actions, config.actions_at_most)
    except AssetFailure:  # it comes again when the asset is rendered, and is recorded then
        return [asset]
    if not chosen:  # no animation in it
        return [asset]
    names = dataset_names(asset.name, chosen)
    return [Asset(name, asset.source, a) for name, a in zip(names, chosen, strict=True)]


def _expand(entry: str, lists: tuple[str, ...] = ()) -> list[Asset]:
    """The assets that an entry names; ``lists`` are the files of entries in which it stands."""
    if entry.startswith("@"):
        if entry in lists:
            raise ConfigError(f"assets: {entry[1:]} names itself")
        lines = listed(Path(entry[1:]), "assets")
        return [each for line in lines for each in _expand(line, (*lists, entry))]
    if entry.startswith(BUILTIN):
        return [Asset(_known_builtin(entry).removeprefix(BUILTIN), entry)]
    name, _, named = entry.partition("=")
    if named and not Path(entry).exists():
        if not name or Path(name).name != name or name.startswith("."):
            raise ConfigError(f"assets: {name!r} cannot name a dataset")
        builtin = named.startswith(BUILTIN)
        return [Asset(name, _known_builtin(named) if builtin else os.path.abspath(named))]
    path = Path(entry)
    if path.is_dir():
        files = (p for p in path.iterdir() if not p.name.startswith("."))
        paths = [p for p in files if p.suffix.lower() in SUFFIXES]
        paths.sort(key=lambda p: natural_key(p.name))
    elif not path.exists() and glob.has_magic(entry):
        paths = [Path(p) for p in sorted(glob.glob(entry, recursive=True), key=natural_key)]
    else:
        paths = [path]
    return [Asset(p.stem, str(p.absolute())) for p in paths]


def _known_builtin(source: str) -> str:
    """``source`` where it is the built-in asset. Raises ConfigError."""
    if source != f"{BUILTIN}demo":
        raise ConfigError(f"assets: {source!r} is unknown; the built-in asset is builtin:demo")
    return source


def threads_per_worker(config: RenderConfig) -> int:
    """CPU threads for each Blender process: what is asked for, or an equal share of the cores.

    Blender's own count ignores CPU affinity, and so asks for a whole node's cores inside a job.
    """
    if config.engine.threads:
        return config.engine.threads
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    cores = int(given) if given.isdecimal() else len(os.sched_getaffinity(0))
    return max(1, cores // config.workers)


def plan(config: RenderConfig) -> str:
    """What a start would do, as text.

    Raises:
        ConfigError: an asset cannot be read, which the start itself would only say in the end.
    """
    assets = find_assets(config)
    refuse_unusable(config.output, "output")
    rig, frames = config.rig, config.frames
    lines = [
        f"{len(assets)} asset(s), {config.workers} at a time, "
        f"{threads_per_worker(config)} thread(s) each, into {config.output}"
    ]
    faults = []
    for asset in assets:
        state, broken = _state(config, asset)
        lines.append(f"  {asset.name}: {asset.source} [{state}]")
        faults += [state] if broken else []
    if faults:
        first = "; ".join(faults[:3]) + ("; ..." if len(faults) > 3 else "")
        raise ConfigError(f"assets: {len(faults)} of {len(assets)} cannot be rendered: {first}")
    deep = {"none": 0, "test": rig.test, "all": rig.views}[config.depth]
    per_frame = rig.views + deep + (3 if rig.kind == "multiview" else 0)
    lines.append(
        f"rig {rig.kind}: {rig.views} views of {rig.resolution}x{rig.resolution} per frame, "
        f"{deep} of them with depth; {config.engine.samples} samples, {config.light.preset} light"
    )
    if frames.count:
        count = min(frames.first or frames.count, frames.count)
        lines.append(
            f"{count} frame(s) per asset that moves: {count * rig.views} pictures and about "
            f"{count * per_frame + 2} files each"
        )
    else:
        lines.append(
            f"one frame in {frames.every:g} of the action, whose length is unknown until the asset "
            f"is imported: {rig.views} pictures and about {per_frame} files per frame"
        )
    return "\n".join(lines)


def _state(config: RenderConfig, asset: Asset) -> tuple[str, bool]:
    """In words, and whether the asset cannot be rendered."""
    target = target_of(config, asset)
    try:
        if is_rendered(own_config(config, asset), asset, asset.sha256()):
            return "complete, skipped", False
    except AssetFailure as failure:
        return failure.detail, True
    if in_the_way := what_is_in_the_way(config, target):
        return in_the_way, True
    return "to replace" if target.exists() else "to render", False


def _progress_listener(name: str, opened: contextlib.ExitStack) -> Listener:
    """Shows the events of the asset ``name`` as a progress bar, which ``opened`` closes."""
    bars: list[Progress] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "plan":
            frames, views, done = event["frames"], event["views"], event["done"]
            kept = f", {done} frames kept from an earlier start" if done else ""
            text = "%s: %d frames of %d views on %s%s"
            logger.info(text, name, frames, views, event["device"], kept)
            total, initial = frames * views, done * views
            bar = progress_bar(total, initial=initial, description=name, unit="picture")
            bars.append(opened.enter_context(bar))
        elif event["event"] == "picture":
            bars[0].update(1)
        elif event["event"] == "warning":
            logger.warning("%s: %s", name, event["text"])

    return listen


def render_all(config: RenderConfig) -> list[str]:
    """Render every asset; returns the names of those that failed.

    Raises:
        Stopped: by SIGTERM, SIGINT or SIGUSR1; finished frames are kept for the next start.
    """
    assets = find_assets(config)
    refuse_unusable(config.output, "output")
    Path(config.output).mkdir(parents=True, exist_ok=True)
    threads, worker_pool = threads_per_worker(config), WorkerPool()
    with StopSignals() as signals, ThreadPoolExecutor(config.workers) as executor:
        futures = [
            executor.submit(_render_one, config, asset, threads, worker_pool) for asset in assets
        ]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                if signals.requested:
                    break
                for future in done:
                    future.result()  # an error that concerns every asset ends the start at once
        finally:
            if waiting:
                worker_pool.stop()
                executor.shutdown(cancel_futures=True)
        signals.raise_if_requested()
    failed = [future.result() for future in futures]
    return [asset.name for asset, bad in zip(assets, failed, strict=True) if bad]


def render_or_refuse(config: RenderConfig) -> None:
    """Render every asset, for a command that needs them all.

    Raises:
        InputError: an asset cannot be rendered, with the reason. Stopped: as ``render_all``.
    """
    if render_all(config):
        failure = read_failures(Path(config.output))[-1]
        raise InputError(f"{failure['source']}: {failure['reason']}: {failure['detail']}")


def _render_one(config: RenderConfig, asset: Asset, threads: int, worker_pool: WorkerPool) -> bool:
    """Render one asset and record the outcome; returns whether it failed."""
    output = Path(config.output)
    try:
        with contextlib.ExitStack() as opened:
            listener = _progress_listener(asset.name, opened)
            fresh = render_asset(config, asset, threads, listener, worker_pool)
    except AssetFailure as failure:
        logger.error("%s failed: %s", asset.name, failure)
        details = {"source": asset.source, "reason": failure.reason, "detail": failure.detail}
        record_outcome(output, asset.name, details)
        return True
    record_outcome(output, asset.name, None)
    said = "finished" if fresh else "already complete, skipped"
    logger.info("%s: %s, %s", asset.name, said, target_of(config, asset))
    return False


def run(config: RenderConfig) -> int | None:
    """Render every asset; exit code 4 if some failed."""
    failed = render_all(config)
    if not failed:
        return None
    record = Path(config.output) / FAILURES_FILE
    logger.error("%d asset(s) failed (%s), see %s", len(failed), ", ".join(failed), record)
    return EXIT_SOME_FAILED


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(
        RenderConfig,
        run=run,
        plan=plan,
        description="Render animated assets into datasets (rigs: multiview, sixview). "
        "Exit code 4: some assets failed, see failures.jsonl in the output folder.",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())

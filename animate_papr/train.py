"""Train an animation frame by frame.

``python -m animate_papr.train --config configs/animate_papr/demo.yaml data.path=data/NAME
name=NAME``

The first frame trains everything. Each later frame starts from the points and networks of the
frame before it, with the UNet frozen, and point i stays point i: its path over the frames is a
trajectory.
"""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from animate_papr.config import AnimateConfig
from animate_papr.finished_frames import (
    PHASE,
    frame_run_dir,
    frames_to_extend,
    is_whole,
    read_figures,
)
from animate_papr.following.tracking import tracking_figures
from animate_papr.frame_data import (
    FrameTask,
    PseudoFrames,
    check_frames,
    known_paths,
    training_views,
)
from animate_papr.frame_training import next_frame_rates, train_frame
from animate_papr.novel_terms import (
    NovelTerms,
    check_scores,
    check_terms,
    describe_terms,
)
from blender_render.dataset.readers import list_frames
from sjc_papr.data.config import SparseConfig
from sjc_papr.data.loading import load_views
from sjc_papr.data.same_pictures import refuse_other_pictures
from sjc_papr.data.world import World, find_world, read_world, world_of_run
from sjc_papr.pseudo_views.imagine import check_pseudo, describe_pseudo, keep_networks
from sjc_papr.training.flops import describe_step
from sjc_papr.training.losses import Losses
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import pick_device, prepare_cpu
from training_core.files import atomic
from training_core.metrics_log import write_final
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)


def run(config: AnimateConfig) -> None:
    """Train all frames in order, then write the figures of the whole run."""
    prepare_cpu(config.threads)
    pick_device(config.device, config.deterministic)
    Losses(config.first.losses), Losses(config.next.losses)
    check_scores(config.novel)
    names = frame_names(config)
    extended = frames_to_extend(config, names)
    dataset = Path(config.data.path)
    known_paths(config, World())  # refused before any work
    for name in names:
        load_views(config.data, dataset / name, "test")
    first = training_views(config, dataset / names[0])
    check_pseudo(config.pseudo, first)
    source = Path(config.extend) if extended else None
    if config.novel.on:
        world = read_world(source) if source else find_world(first, config.data)
        check_terms(config.novel, world.views(first))
    folder = config.open_run(PHASE)
    places = {name: dataset / name for name in names}
    refuse_other_pictures(folder.path, places, SparseConfig(), split_seed=config.data.split_seed)
    world = world_of_run(folder.path, first, config.data, source)
    keep_networks(config.pseudo, folder.path)
    atomic.write_json(folder.path / "frames.json", {"frames": names})
    earlier: list[Path] = []
    novel_terms, pseudo = NovelTerms(config), PseudoFrames(config.pseudo)
    with StopSignals() as stop:
        for index, name in enumerate(names):
            path = frame_run_dir(folder.path, name)
            if not is_whole(path):
                part = folder.sub(os.fspath(path.relative_to(folder.path)))
                task = FrameTask.read(config, index, name, part, world, pseudo)
                train_frame(config, task, earlier, stop, novel_terms, extended.get(name))
                stop.raise_if_requested()
            earlier.append(path)
    summary = summarise(folder, names, dataset, world)
    write_final(folder, summary)
    logger.info(
        "%d frames: mean PSNR %.2f dB, least %.2f dB: %s",
        len(names),
        summary["mean_psnr"],
        summary["min_psnr"],
        folder.path,
    )
    if "track_mean" in summary:
        logger.info(
            "tracking error of the later frames: mean %.2f %%, 90th percentile %.2f %% of the "
            "object's length",
            100.0 * summary["track_mean"],
            100.0 * summary["track_p90"],
        )


def summarise(
    folder: RunFolder, names: Sequence[str], dataset: Path, world: World
) -> dict[str, Any]:
    """Figures of all frames, their mean and least PSNR, and errors of tracking where the dataset
    has true paths: ``track_mean`` and ``track_p90`` of the later frames together.
    """
    folders = [frame_run_dir(folder.path, name) for name in names]
    frames = [read_figures(part) or {} for part in folders]
    tracked = tracking_figures(folders, dataset, names, world)
    for frame, errors in zip(frames, tracked, strict=False):
        frame |= errors
    later = {
        key: sum(errors[key] for errors in tracked[1:]) / len(tracked[1:])
        for key in (("track_mean", "track_p90") if tracked else ())
    }
    quality = [frame["psnr"] for frame in frames]
    return {
        "frames": frames,
        "mean_psnr": sum(quality) / len(quality),
        "min_psnr": min(quality),
        "first_psnr": quality[0],
        "last_psnr": quality[-1],
        "seconds": sum(frame["seconds"] for frame in frames),
        "cpu_seconds": sum(frame["cpu_seconds"] for frame in frames),
        **later,
        "dataset": str(dataset),
    }


def frame_names(config: AnimateConfig) -> list[str]:
    """The frames to train, in order of time.

    Raises:
        ConfigError: no dataset, or a frame is asked for that it does not have, or asked for twice.
    """
    if not config.data.path:
        raise ConfigError("data.path is missing: which dataset of frame folders?")
    found = list_frames(config.data.path)
    missing = [name for name in config.frames if name not in found]
    if missing:
        raise ConfigError(f"frames: {config.data.path} has no {missing[0]!r}; it has {found}")
    if twice := [name for name, times in Counter(config.frames).items() if times > 1]:
        raise ConfigError(f"frames: {twice[0]!r} is named more than once; each frame has its place")
    if found == [""]:
        path = Path(config.data.path)
        beside = len(list(path.parent.glob("frame_*"))) > 1
        hint = f"; the dataset with others is {path.parent}" if beside else ""
        logger.warning("%s is one moment, without frame folders: nothing moves%s", path, hint)
    return config.frames or found


def plan(config: AnimateConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    pick_device(config.device)
    Losses(config.first.losses), Losses(config.next.losses)
    check_scores(config.novel)
    names = frame_names(config)
    extended = frames_to_extend(config, names)
    check_pseudo(config.pseudo, training_views(config, Path(config.data.path) / names[0]))
    counts, world = check_frames(config, names)
    rates = next_frame_rates(config.next)
    stages = [f"{s.steps} steps of {', '.join(s.peaks)}" for s in rates.stages if s.steps]
    return "\n".join(
        [
            f"{config.name}: {len(names)} frames, {counts[0]} training and {counts[1]} test views",
            *([] if world.is_datasets_own else [world.describe()]),
            f"first frame: {config.first.steps} steps, {config.points.count} points, all groups",
            f"each later frame: {_describe_start(config)}{' then '.join(stages)}",
            describe_step(config.model, config.first.patches),
            *describe_pseudo(config.pseudo),
            *describe_terms(config.novel),
            *([f"goes on from {config.extend}: {', '.join(extended)}"] if extended else []),
            config.describe_run(PHASE),
        ]
    )


def _describe_start(config: AnimateConfig) -> str:
    align = config.next.align
    if config.next.freeze.positions or not (align.steps or align.to == "tracks"):
        return ""
    if align.to == "tracks":
        return "points along known paths, then "
    return f"{align.steps} steps of alignment to the {align.to}, then "


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(AnimateConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

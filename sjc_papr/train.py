"""Train PAPR on the images of one moment.

``python -m sjc_papr.train --config configs/sjc_papr/cpu_small.yaml data.path=data/NAME/frame_000
name=NAME``
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from blender_render.dataset.readers import Views
from sjc_papr.config import TrainConfig
from sjc_papr.data.input_checks import check_held_out, check_poses
from sjc_papr.data.loading import load_views
from sjc_papr.data.mending import mending_of_run, views_to_train
from sjc_papr.data.same_pictures import refuse_other_pictures
from sjc_papr.data.sparse_views import sparse_views
from sjc_papr.data.view_corrections import corrections_of
from sjc_papr.data.world import World, find_world, read_world, world_of_run
from sjc_papr.evaluation.validation import ViewValidation
from sjc_papr.evaluation.view_metrics import evaluate_views, mean_view_metrics
from sjc_papr.networks.model import Papr
from sjc_papr.novel_view.from_options import (
    check_novel,
    check_score_of,
    describe_novel,
    hull_test,
    make_novel,
    make_watch,
    score_of,
)
from sjc_papr.novel_view.images import NovelViewImages
from sjc_papr.novel_view.losses import NovelViews
from sjc_papr.pseudo_views.imagine import (
    check_pseudo,
    describe_pseudo,
    keep_networks,
    pseudo_views,
)
from sjc_papr.training.flops import describe_step
from sjc_papr.training.losses import Losses
from sjc_papr.training.lr_schedule import single_stage
from sjc_papr.training.patch_sampler import PatchSampler
from sjc_papr.training.point_init import initial_points
from sjc_papr.training.trainer import Trainer
from training_core.checkpoint import CheckpointStore, seed_everything
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import peak_memory_bytes, pick_device, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.loop import TrainingLoop, Validation
from training_core.metrics_log import write_final
from training_core.run_folder import RunFolder
from training_core.step.processes import (
    DistributedProcesses,
    OneProcess,
    done_by_main,
    join_processes,
)
from training_core.stopping import StopSignals, lost_processes_explained

logger = logging.getLogger(__name__)

PHASE = "sjc_papr"


def make_model(config: TrainConfig, views: Views) -> Papr:
    """A new model whose points start where these images allow."""
    seed_everything(config.seed)
    points = initial_points(views, config.points, config.model.point_features, config.seed)
    return Papr(config.model, points)


def make_trainer(
    config: TrainConfig,
    model: Papr,
    views: Views,
    folder: Path,
    novel: NovelViews | None,
    processes: OneProcess | DistributedProcesses | None = None,
    pseudo: Views | None = None,
) -> Trainer:
    """Everything a step needs, all groups training."""
    optimize, group = config.optimize, processes or OneProcess()
    return Trainer(
        model,
        PatchSampler(
            views,
            config.data.grey,
            optimize.patches,
            config.seed,
            model.points.positions.device,
            (group.rank, group.count),
            pseudo,
            config.pseudo.share,
        ),
        optimize,
        single_stage(optimize.rates, optimize.steps, config.corrections.rates()),
        background=config.data.grey,
        precision=config.precision,
        seed=config.seed,
        fault_folder=folder,
        auxiliary=novel,
        divergence=make_watch(config.novel, optimize.steps),
        inside_hull=hull_test(config.novel, views) if optimize.density.hull_events else None,
        corrections=corrections_of(config.corrections, len(views)),
        processes=group,
    )


def read_inputs(
    config: TrainConfig, source: Path | None = None
) -> tuple[Views, Views, Views | None]:
    """Training, test and validation images; the last are None without validation.

    Args:
        source: the run that this one goes on from.

    Raises:
        ConfigError: something a run needs is not there. InputError: images that cannot be read.
    """
    if not config.data.path:
        raise ConfigError("data.path is missing: which pictures?")
    Losses(config.optimize.losses)
    check_score_of(config.novel)
    data = Path(config.data.path)
    train, test = sparse_views(config.sparse, config.data), load_views(config.data, data, "test")
    check_poses(train, config.data, config.sparse.sixview or config.data.path)
    val = load_views(config.data, data, "val") if config.log.validate_every else None
    check_held_out(train, data, {"val": val, "test": test}, config.data)
    if config.novel.on:
        check_novel(config.novel, _new_world(config, train, source).views(train).cameras)
    check_pseudo(config.pseudo, train)
    return train, test, val


def run(config: TrainConfig) -> None:
    """Train, then evaluate on the test split and write the final figures."""
    prepare_cpu(config.threads)
    source = _extended(config)
    device = pick_device(config.device, config.deterministic)
    train, test, val = read_inputs(config, source)
    processes = join_processes(device)
    folder = done_by_main(processes, lambda: config.open_run(PHASE))
    splits = ("train", "test", "val")[: 3 if config.log.validate_every else 2]
    place, seed = {"": Path(config.data.path)}, config.data.split_seed
    done_by_main(
        processes, lambda: refuse_other_pictures(folder.path, place, config.sparse, splits, seed)
    )
    if source and processes.is_main:
        log_differences(source, config)
    world = done_by_main(processes, lambda: world_of_run(folder.path, train, config.data, source))
    train = world.views(train)
    mending = done_by_main(
        processes, lambda: mending_of_run(folder.path, train, config.corrections)
    )
    train = mending.apply(train)
    val = val and world.views(val)
    done_by_main(processes, lambda: keep_networks(config.pseudo, folder.path))
    model = make_model(config, train).to(device)
    novel = make_novel(
        config.novel,
        model,
        train,
        score_of(config.novel, device),
        background=config.data.grey,
        precision=config.precision,
        steps=config.optimize.steps,
        seed=config.seed,
    )
    found = done_by_main(processes, CheckpointStore(folder.checkpoints).newest_whole)
    finished = found is not None and found[1] == config.optimize.steps
    pseudo = None if finished else pseudo_views(config.pseudo, train)
    trainer = make_trainer(config, model, train, folder.path, novel, processes, pseudo)
    validate = ViewValidation.of(model, val, config.data.grey, config.precision)
    with StopSignals() as stop, lost_processes_explained(processes.count):
        elapsed = TrainingLoop(
            trainer,
            folder,
            config.log,
            stop,
            f"train {config.name}",
            validation=Validation(validate, config.log.validate_every),
            log_images=NovelViewImages(trainer, novel) if novel else None,
            recover=trainer.start_over if trainer.divergence else None,
            extend=source,
            processes=processes,
        ).fit()
    if not processes.is_main:
        return
    means = evaluate_run(config, model, world.views(test), world.scale, folder)
    more = {"num_points": len(model.points), "steps": config.optimize.steps}
    memory = {"peak_memory_bytes": peak_memory_bytes(device)}
    write_final(folder, means | more | elapsed._asdict() | memory)
    logger.info("PSNR %.2f dB over %d held-out views: %s", means["psnr"], len(test), folder.path)


def evaluate_run(
    config: TrainConfig, model: Papr, test: Views, scale: float, folder: RunFolder
) -> dict[str, float | None]:
    """Mean figures of the test views, whose pictures go to the run's folder.

    Args:
        scale: of the world trained in, to the dataset's own.
    """
    metrics = evaluate_views(
        model,
        test,
        background=config.data.grey,
        precision=config.precision,
        images=folder.images,
        scale=scale,
    )
    return mean_view_metrics(metrics)


def _new_world(config: TrainConfig, train: Views, source: Path | None) -> World:
    """The world that a new run would be trained in."""
    return read_world(source) if source else find_world(train, config.data)


def _extended(config: TrainConfig) -> Path | None:
    return extended_run(config, PHASE, config.optimize.steps, "optimize.steps")


def plan(config: TrainConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    source = _extended(config)
    device, (train, test, _) = pick_device(config.device), read_inputs(config, source)
    world = _new_world(config, train, source)
    # Whether there is a place for points, a visual hull first of all.
    placed = views_to_train(train, world, config.corrections)
    initial_points(placed, config.points, 1, config.seed)
    height, width = train.images.shape[1:3]
    optimize, points = config.optimize, config.points
    return "\n".join(
        [
            f"{config.name}: {len(train)} training and {len(test)} test views of {width}x{height}",
            *([] if world.is_datasets_own else [world.describe()]),
            f"{optimize.steps} steps on {device}, {points.count} points ({points.init})",
            describe_step(config.model, optimize.patches),
            *describe_pseudo(config.pseudo),
            *describe_novel(config.novel),
            *describe_extension(source),
            config.describe_run(PHASE),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

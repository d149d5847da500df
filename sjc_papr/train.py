"""Train PAPR on the pictures of one moment.

``python -m sjc_papr.train --config configs/sjc_papr/cpu_small.yaml data.path=data/NAME/frame_000
name=NAME``
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from blender_render.readers import Views
from sjc_papr.config import TrainConfig
from sjc_papr.cost import describe_step
from sjc_papr.evaluate import evaluate_views, mean_scores, read_split
from sjc_papr.fitting import fit
from sjc_papr.initialise import initial_points
from sjc_papr.losses import Losses
from sjc_papr.model import Papr
from sjc_papr.patches import PatchSampler
from sjc_papr.rates import single_stage
from sjc_papr.scores.load import check_score, load_score
from sjc_papr.sparse import sparse_views
from sjc_papr.terms.novel import NovelViews, check_novel, describe_novel
from sjc_papr.terms.pictures import NovelPictures
from sjc_papr.terms.silhouette import HullGrid
from sjc_papr.terms.watch import DivergenceWatch
from sjc_papr.trainer import Trainer
from sjc_papr.validation import Validation
from training_core.checkpoint import seed_everything
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import peak_memory_bytes, pick_device, prepare_cpu
from training_core.metrics_log import write_final
from training_core.run_folder import RunFolder
from training_core.stopping import StopSignals

logger = logging.getLogger(__name__)

# What may differ between the start of a run and its continuation. Another device or number of
# threads changes the last bits of the result, nothing else here does.
MAY_CHANGE = ("log", "threads", "device", "resume", "output_root", "model.search_pairs")


def make_model(config: TrainConfig, views: Views) -> Papr:
    """A new model whose points start where these pictures allow."""
    seed_everything(config.seed)
    points = initial_points(views, config.points, config.model.point_features, config.seed)
    return Papr(config.model, points)


def make_trainer(config: TrainConfig, model: Papr, views: Views, folder: Path) -> Trainer:
    """Everything a step needs, all groups training."""
    optimize, novel = config.optimize, None
    if config.novel.on:
        novel = NovelViews(
            model,
            config.novel,
            views,
            load_score(config.novel, model.points.positions.device),
            background=config.data.background,
            precision=config.precision,
            steps=optimize.steps,
            seed=config.seed,
        )
    watched = config.novel.watch.restarts > 0
    return Trainer(
        model,
        PatchSampler(views, config.data.background, optimize.patches, config.seed),
        optimize,
        single_stage(optimize.rates, optimize.steps),
        background=config.data.background,
        precision=config.precision,
        seed=config.seed,
        fault_folder=folder,
        novel=novel,
        watch=DivergenceWatch(config.novel.watch, optimize.steps) if watched else None,
        inside_hull=_hull_test(config, model, views) if optimize.density.hull_events else None,
    )


def _hull_test(config: TrainConfig, model: Papr, views: Views) -> Callable[[Tensor], Tensor]:
    """Which of some places the masks' visual hull holds."""
    silhouette, device = config.novel.silhouette, model.points.positions.device
    masks = views.images[..., 3]
    hull = HullGrid(masks, views.cameras, silhouette.resolution, config.novel.object_length)
    return lambda places: hull.holds(places.cpu()).to(device)


def read_inputs(config: TrainConfig) -> tuple[Views, Views, Views | None]:
    """Training, test and validation pictures; the last are None without validation.

    Raises:
        ConfigError: something a run needs is not there. InputError: pictures that cannot be read.
    """
    if not config.data.path:
        raise ConfigError("data.path is missing: which pictures?")
    Losses(config.optimize.losses)
    check_score(config.novel)
    data = Path(config.data.path)
    train, test = sparse_views(config.sparse, config.data), read_split(config.data, data, "test")
    check_novel(config.novel, train.cameras)
    return train, test, read_split(config.data, data, "val") if config.log.validate_every else None


def run(config: TrainConfig) -> None:
    """Train, then evaluate on the test split and write the final figures."""
    prepare_cpu(config.threads)
    device, (train, test, val) = pick_device(config.device), read_inputs(config)
    folder = RunFolder.open(
        Path(config.output_root), "sjc_papr", config.name, config, config.resume, MAY_CHANGE
    )
    model = make_model(config, train).to(device)
    trainer = make_trainer(config, model, train, folder.path)
    validation = Validation.of(model, val, config.data.background, config.precision)
    with StopSignals() as stop:
        elapsed = fit(
            trainer,
            folder,
            config.log,
            stop,
            description=f"train {config.name}",
            validate=validation,
            look=NovelPictures(trainer.novel) if trainer.novel else None,
        )
    scores = evaluate_views(
        model,
        test,
        background=config.data.background,
        precision=config.precision,
        pictures=folder.images,
    )
    means = mean_scores(scores)
    write_final(
        folder,
        means
        | {
            "num_points": len(model.points),
            "steps": config.optimize.steps,
            **elapsed._asdict(),
            "peak_memory_bytes": peak_memory_bytes(device),
        },
    )
    logger.info("PSNR %.2f dB over %d held-out views: %s", means["psnr"], len(test), folder.path)


def plan(config: TrainConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    device, (train, test, _) = pick_device(config.device), read_inputs(config)
    height, width = train.images.shape[1:3]
    optimize, points = config.optimize, config.points
    return "\n".join(
        [
            f"{config.name}: {len(train)} training and {len(test)} test views of {width}x{height}",
            f"{optimize.steps} steps on {device}, {points.count} points ({points.init})",
            describe_step(config.model, optimize.patches),
            *describe_novel(config.novel),
            f"to {Path(config.output_root) / 'sjc_papr' / config.name}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""Train the network that pictures six views' object from other sides.

``python -m sjc_papr.train_pseudo_views --config configs/sjc_papr/pseudo_views.yaml
data.paths=[data/pseudo_views/six] data.views=[data/pseudo_views/views] name=NAME``
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.pseudo_views.config import TrainPseudoViewsConfig, ViewDataConfig
from sjc_papr.pseudo_views.network import ViewNetwork
from sjc_papr.pseudo_views.network_files import VIEW_FILES
from sjc_papr.pseudo_views.samples import (
    Pair,
    ViewDrawer,
    ViewSample,
    pairs_of,
    read_samples,
)
from sjc_papr.pseudo_views.trainer import ViewQuality, ViewTrainer, view_quality
from training_core.averaged_trainer import count_parameters, fit
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import pick_device, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.metrics_log import write_final

logger = logging.getLogger(__name__)

PHASE = "train_pseudo_views"


def find_pairs(data: ViewDataConfig) -> tuple[list[Pair], list[Pair]]:
    """Datasets to learn from, and those to watch; the last are empty without ``val_paths``.

    Raises:
        ConfigError: something a run needs is not there, or an asset is in both.
        InputError: datasets that do not belong together.
    """
    if not data.paths or not data.views:
        raise ConfigError("data.paths and data.views are missing: which pictures?")
    if bool(data.val_paths) != bool(data.val_views):
        raise ConfigError("data.val_paths and data.val_views go together: give both, or neither")
    train, val = pairs_of(data.paths, data.views), []
    if data.val_paths:
        val = pairs_of(data.val_paths, data.val_views, ("data.val_paths", "data.val_views"))
    if common := {pair.asset for pair in train} & {pair.asset for pair in val}:
        name = next(pair.video for pair in train if pair.asset in common)
        raise ConfigError(f"data.val_paths: the asset of {name} is among those of data.paths")
    return train, val


def gather_samples(
    config: TrainPseudoViewsConfig, train: list[Pair], val: list[Pair]
) -> tuple[list[ViewSample], list[ViewSample]]:
    """What six views show of every new view, to learn from and to watch; takes about half a second
    a view, and a megabyte of memory.
    """
    data, size = config.data, config.network.size
    depth_network = DEPTH_FILES.read(data.depth_network)
    watched = read_samples(val, data.val_split, depth_network, size)
    learned = read_samples(
        train, data.split, depth_network, size, noise=data.depth_noise, seed=config.seed
    )
    return learned, watched


def run(config: TrainPseudoViewsConfig) -> None:
    """Train, then write the network to the run's folder ``network``."""
    prepare_cpu(config.threads)
    pick_device(config.device, config.deterministic)
    source = _extended(config)
    pairs = find_pairs(config.data)
    folder = config.open_run(PHASE)
    if source:
        log_differences(source, config)
    train, val = gather_samples(config, *pairs)
    drawer = ViewDrawer(train, config.data.augment, config.seed)
    trainer = ViewTrainer(config, drawer, folder.path)
    validate = ViewQuality(trainer, val) if val else None
    elapsed = fit(trainer, folder, config.log, f"pseudo-views {config.name}", validate, source)
    facts = {
        "assets": len(drawer.assets),
        "views": len(train),
        "steps": trainer.steps,
        "batch": config.optimize.batch,
        "parameters": count_parameters(trainer.network),
        **elapsed._asdict(),
    }
    network = folder.path / "network"
    VIEW_FILES.save(network, trainer.network, trainer.ema.averages, facts)
    # Of the weights as saved, in half precision.
    facts["val_psnr"] = view_quality(VIEW_FILES.read(network), val)
    VIEW_FILES.save(network, trainer.network, trainer.ema.averages, facts)
    write_final(folder, facts)
    logger.info("view network: %s", network)


def _extended(config: TrainPseudoViewsConfig) -> Path | None:
    return extended_run(config, PHASE, config.optimize.steps, "optimize.steps")


def plan(config: TrainPseudoViewsConfig) -> str:
    """What ``--dry-run`` prints, after looking at the datasets."""
    source = _extended(config)
    train, val = find_pairs(config.data)
    DEPTH_FILES.read(config.data.depth_network)
    parameters = count_parameters(ViewNetwork(config.network))
    return "\n".join(
        [
            f"{config.name}: {len(train)} videos of {len({pair.asset for pair in train})} assets "
            f"at {config.network.size} px, {len(val)} to watch",
            f"{parameters / 1e6:.2f} M parameters, {config.optimize.steps} steps of "
            f"{config.optimize.batch} views on {pick_device(config.device)}",
            *describe_extension(source),
            config.describe_run(PHASE, "network"),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(
        TrainPseudoViewsConfig, run=run, plan=plan, description=__doc__ or "", argv=argv
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""Train the network that guesses the depth of six views.

``python -m sjc_papr.train_depth --config configs/sjc_papr/depth.yaml data.paths=[data/six_depth]
data.val_paths=[data/few_views/six] name=NAME``
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from sjc_papr.feed_forward.config import TrainDepthConfig
from sjc_papr.feed_forward.network import DepthNetwork
from sjc_papr.feed_forward.network_files import DEPTH_FILES
from sjc_papr.feed_forward.samples import SampleDrawer, SixDepth, read_samples
from sjc_papr.feed_forward.trainer import DepthTrainer, DepthValidation, depth_errors
from training_core.averaged_trainer import count_parameters, fit
from training_core.cli import run_command
from training_core.config import ConfigError
from training_core.devices import pick_device, prepare_cpu
from training_core.extension import describe_extension, extended_run, log_differences
from training_core.metrics_log import write_final

logger = logging.getLogger(__name__)

PHASE = "train_depth"


def read_inputs(config: TrainDepthConfig) -> tuple[list[SixDepth], list[SixDepth]]:
    """Moments to learn from, and those to watch; the last are empty without ``val_paths``.

    Raises:
        ConfigError: something a run needs is not there, or an asset is in both.
        InputError: pictures that cannot be read.
    """
    if not config.data.paths:
        raise ConfigError("data.paths is missing: which six-view videos?")
    val = read_samples(config.data.val_paths, config.network) if config.data.val_paths else []
    train = read_samples(config.data.paths, config.network)
    if common := {s.sha256 for s in train} & {s.sha256 for s in val} - {""}:
        name = next(s.name for s in train if s.sha256 in common)
        raise ConfigError(f"data.val_paths: the asset of {name} is among those of data.paths")
    return train, val


def run(config: TrainDepthConfig) -> None:
    """Train, then write the network to the run's folder ``network``."""
    prepare_cpu(config.threads)
    pick_device(config.device, config.deterministic)
    source = _extended(config)
    train, val = read_inputs(config)
    drawer = SampleDrawer(train, config.data.augment, config.seed)
    folder = config.open_run(PHASE)
    if source:
        log_differences(source, config)
    trainer = DepthTrainer(config, drawer, folder.path)
    validate = DepthValidation(trainer, val) if val else None
    elapsed = fit(trainer, folder, config.log, f"depth {config.name}", validate, source)
    facts = {
        "assets": len(drawer.assets),
        "moments": len(train),
        "steps": trainer.steps,
        "batch": config.optimize.batch,
        "parameters": count_parameters(trainer.network),
        **elapsed._asdict(),
    }
    DEPTH_FILES.save(folder.path / "network", trainer.network, trainer.ema.averages, facts)
    # Of the weights as saved, in half precision.
    errors = depth_errors(DEPTH_FILES.read(folder.path / "network"), val)
    facts["val_errors"] = {name: {"network": e, "hull": h} for name, (e, h) in errors.items()}
    DEPTH_FILES.save(folder.path / "network", trainer.network, trainer.ema.averages, facts)
    write_final(folder, facts)
    logger.info("depth network: %s", folder.path / "network")


def _extended(config: TrainDepthConfig) -> Path | None:
    return extended_run(config, PHASE, config.optimize.steps, "optimize.steps")


def plan(config: TrainDepthConfig) -> str:
    """What ``--dry-run`` prints, after reading the data."""
    source = _extended(config)
    train, val = read_inputs(config)
    assets = len(SampleDrawer(train, config.data.augment, config.seed).assets)
    parameters = count_parameters(DepthNetwork(config.network))
    return "\n".join(
        [
            f"{config.name}: {len(train)} moments of {assets} assets at {config.network.size} px, "
            f"{len(val)} to watch",
            f"{parameters / 1e6:.2f} M parameters, {config.optimize.steps} steps of "
            f"{config.optimize.batch} moments on {pick_device(config.device)}",
            *describe_extension(source),
            config.describe_run(PHASE, "network"),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(TrainDepthConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

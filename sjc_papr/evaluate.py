"""How close renders come to held-out images.

``python -m sjc_papr.evaluate run=runs/sjc_papr/NAME`` measures a trained (or imported) model on a
whole split.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from blender_render.dataset.readers import Views
from sjc_papr.config import TrainConfig
from sjc_papr.data.loading import load_views
from sjc_papr.data.world import read_world
from sjc_papr.evaluation.view_metrics import evaluate_views, mean_view_metrics
from sjc_papr.networks.config import precision_option
from sjc_papr.networks.model import Papr
from sjc_papr.training.checkpoints import model_from
from training_core.checkpoint import Checkpoint, CheckpointStore
from training_core.cli import run_command
from training_core.config import MISSING, ConfigError, InputError, option
from training_core.config.saved import load_run_config
from training_core.devices import pick_device, prepare_cpu
from training_core.files import atomic
from training_core.run_folder import given_path

logger = logging.getLogger(__name__)


@dataclass
class EvaluateConfig:
    run: str = option(MISSING, "run folder of sjc_papr.train or sjc_papr.import_papr")
    data: str = option("", "frame folder to compare with; empty = the one it was trained on")
    split: str = option("test", "which split", choices=("train", "val", "test"))
    output: str = option(
        "",
        "where figures and pictures go; empty = evaluation/SPLIT in the run, or SPLIT_NAME of data",
    )
    pictures: bool = option(True, "write truth, prediction and depth of every view")
    device: str = option("auto", "auto, cpu or cuda", choices=("auto", "cpu", "cuda"))
    precision: str = precision_option()
    max_rays: int = option(16384, "rays attended to at once; bounds the memory")


def load_run(run: Path) -> tuple[TrainConfig, Papr, Checkpoint]:
    """Config, model and latest checkpoint of a run folder of ``sjc_papr.train``.

    Raises:
        InputError: the folder is no run or has no checkpoint yet.
    """
    try:
        config = load_run_config(TrainConfig, run)
    except ConfigError as error:
        raise InputError(f"{run} is not a run of sjc_papr: {error}") from error
    saved = CheckpointStore(run / "checkpoints").load()
    if saved is None:
        raise InputError(f"{run}: no checkpoint yet")
    return config, model_from(config.model, saved, run), saved


def run(config: EvaluateConfig) -> None:
    """Evaluate and write ``metrics.json`` and images."""
    folder = Path(config.run)
    train, model, saved = load_run(folder)
    prepare_cpu()
    device = pick_device(config.device)
    views = _views(config, train)
    output = Path(config.output) if config.output else _output(config, train)
    output.mkdir(parents=True, exist_ok=True)
    metrics = evaluate_views(
        model.to(device),
        views,
        background=train.data.grey,
        precision=config.precision,
        max_rays=config.max_rays,
        images=output if config.pictures else None,
        prefix=config.split,
        scale=read_world(folder).scale,
    )
    if saved.step < train.optimize.steps and not saved.state.get("imported"):
        logger.warning("unfinished: step %d of %d", saved.step, train.optimize.steps)
    means = mean_view_metrics(metrics)
    data = str(_path(config, train).absolute())
    figures = means | {"step": saved.step, "data": data, "views": [asdict(v) for v in metrics]}
    atomic.write_json(output / "metrics.json", figures)
    logger.info(
        "%d views: PSNR %.2f dB, SSIM %.4f; written to %s",
        len(metrics),
        means["psnr"],
        means["ssim"],
        output,
    )


def _views(config: EvaluateConfig, train: TrainConfig) -> Views:
    path = _path(config, train)
    return read_world(Path(config.run)).views(load_views(train.data, path, config.split))


def _path(config: EvaluateConfig, train: TrainConfig) -> Path:
    """The frame folder to compare with."""
    if config.data:
        return Path(config.data)
    if not train.data.path:
        raise ConfigError("this run was imported and names no pictures: give data=FRAME_FOLDER")
    return given_path(Path(config.run), train.data.path)


def _output(config: EvaluateConfig, train: TrainConfig) -> Path:
    """A folder in the run; other pictures than those trained on have one of their own."""
    folder, path = Path(config.run) / "evaluation", _path(config, train)
    own = train.data.path and given_path(Path(config.run), train.data.path)
    if not own or path.absolute() == own.absolute():
        return folder / config.split
    name = "_".join(path.absolute().parts[-2:])
    return folder / f"{config.split}_{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}"


def plan(config: EvaluateConfig) -> str:
    """What ``--dry-run`` prints."""
    train, model, saved = load_run(Path(config.run))
    views = _views(config, train)
    height, width = views.images.shape[1:3]
    return (
        f"{len(views)} {config.split} views of {width}x{height}, "
        f"{len(model.points)} points, step {saved.step}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(EvaluateConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""Official PAPR checkpoints (zvict/papr, ``model.pth`` = {step: state_dict}) into ours.

``python -m sjc_papr.import_papr checkpoint=model.pth name=lego`` writes a run folder that
``evaluate`` reads. What a state dict does not hold (activation, background score, coordinate
scale) comes from the YAML file that PAPR's training puts beside the checkpoint, and what that does
not say from PAPR's configs/default.yml, unless given.
"""

import itertools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sjc_papr.config import TrainConfig
from sjc_papr.networks.config import AttentionConfig, ModelConfig
from sjc_papr.networks.model import Papr
from sjc_papr.networks.point_cloud import PointRows
from sjc_papr.official_settings import DEFAULTS, OfficialSettings, find_settings
from sjc_papr.training.config import PointsConfig
from training_core.checkpoint import CheckpointStore
from training_core.checks import positive
from training_core.cli import run_command
from training_core.config import MISSING, InputError, option
from training_core.files.pickled_tensors import UNREADABLE, why_unreadable
from training_core.files.weight_file import refuse_not_finite
from training_core.run_folder import RunFolder

logger = logging.getLogger(__name__)

_LAYER = r"proximity_attn\.embed\.embed_{}\.mlp\.model\.(\d+)\.weight"
_NETWORKS = {"key": "k", "query": "q", "value": "v"}
_UNET = {
    "enter": "inc.double_conv.0",
    "down1": "down1.maxpool_conv.1.double_conv.0",
    "down2": "down2.maxpool_conv.1.double_conv.0",
    "raise1": "up1.up",
    "up1": "up1.conv.double_conv.0",
    "raise2": "up2.up",
    "up2": "up2.conv.double_conv.0",
    "leave": "outc.conv",
}


@dataclass
class ImportConfig:
    checkpoint: str = option(MISSING, "the official model.pth")
    name: str = option("imported_papr", "name of the run folder to write")
    output_root: str = option("runs", "where run folders are made")
    official_config: str = option(
        "", "the YAML it was trained with; empty = the only one beside the checkpoint, if any"
    )
    coordinate_scale: float | None = option(
        None, "dataset.coord_scale it was trained with; null = as the YAML says, else 10"
    )
    background_score: float | None = option(
        None, "geoms.background.constant it was trained with; null = as the YAML says, else 5"
    )
    activation: str | None = option(
        None,
        "ff_act it was trained with; null = as the YAML says, else relu",
        choices=("relu", "leaky_relu"),
    )

    def validate(self) -> None:
        """Raises ValueError on a scale that makes no world."""
        if self.coordinate_scale is not None:
            positive(coordinate_scale=self.coordinate_scale)


def read_official(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Step and state dict of an official checkpoint.

    Raises:
        InputError: the file is missing, is no checkpoint, or lacks the tensors of PAPR.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        # PyTorch's own message tells people to let the file run code.
        other = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds {other[1]}, no tensor" if other else why_unreadable(path)
        raise InputError(f"{path}: cannot be read as a PyTorch checkpoint ({reason})") from error
    if not isinstance(saved, dict) or len(saved) != 1:
        raise InputError(f"{path}: expected one {{step: state_dict}} entry, as PAPR saves it")
    ((step, tensors),) = saved.items()
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise InputError(f"{path}: holds no state dict: not a PAPR checkpoint")
    if not str(step).isdigit():
        raise InputError(f"{path}: its key is {step!r}, no step: not a PAPR checkpoint")
    if "points" not in tensors:
        raise InputError(f"{path}: no tensor named 'points': not a PAPR checkpoint")
    if not len(tensors["points"]):
        raise InputError(f"{path}: holds no points")
    # Half-precision checkpoints would lose position digits in the change of units.
    return int(step), {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}


def convert_official(
    tensors: dict[str, Tensor],
    *,
    coordinate_scale: float = 10.0,
    background_score: float = 5.0,
    activation: str = "relu",
) -> Papr:
    """A model that renders what the official one does; layer sizes are read off the tensors.

    Raises:
        KeyError: a tensor of the official network is missing.
        RuntimeError: shapes do not fit together.
    """
    neighbours = int(tensors["select_k"])
    if not 1 <= neighbours <= len(tensors["points"]):
        raise RuntimeError(f"select_k is {neighbours}, of {len(tensors['points'])} points")
    layers = {name: _linear_layers(tensors, letter) for name, letter in _NETWORKS.items()}
    widths = {name: [tensors[f"{key}.weight"] for key in keys] for name, keys in layers.items()}
    geometry_width = widths["query"][0].shape[1]
    value_inputs, point_features = widths["value"][0].shape[1], tensors["pc_feats"].shape[1]
    if value_inputs != 2 * geometry_width + point_features:
        raise RuntimeError("this checkpoint feeds point features to other places than the value")
    attention = AttentionConfig(
        width=widths["key"][0].shape[0],
        score_width=tensors["proximity_attn.attention_layer.w_k.weight"].shape[0],
        value_width=widths["value"][-1].shape[0],
        key_layers=len(layers["key"]),
        query_layers=len(layers["query"]),
        value_layers=len(layers["value"]),
        value_skips=_skips(widths["value"]),
        normalise=True,
        activation=activation,
        score_activation="relu",
        frequencies=(geometry_width // 3 - 1) // 2,
        coordinate_scale=coordinate_scale,
        offsets="official",
        geometry_epsilon=1e-6,
        background_score=background_score,
        proximity=False,
    )
    config = ModelConfig(
        attention=attention,
        point_features=point_features,
        unet_base=tensors["renderer.inc.double_conv.0.weight"].shape[0],
        neighbours=neighbours,
        distance_to="line",
    )
    points = PointRows(
        tensors["points"] / coordinate_scale,
        tensors["points_influ_scores"][:, 0],
        tensors["pc_feats"],
    )
    model = Papr(config, points)
    model.load_state_dict(_renamed(tensors, layers) | model.points.state_dict(prefix="points."))
    return model


def _linear_layers(tensors: dict[str, Tensor], letter: str) -> list[str]:
    pattern = re.compile(_LAYER.format(letter))
    numbers = sorted(int(match[1]) for name in tensors if (match := pattern.fullmatch(name)))
    if not numbers:
        raise KeyError(f"proximity_attn.embed.embed_{letter}.mlp")
    return [f"proximity_attn.embed.embed_{letter}.mlp.model.{number}" for number in numbers]


def _skips(weights: Sequence[Tensor]) -> list[int]:
    """Layers wider than the output of the one before them also receive the input."""
    pairs = enumerate(itertools.pairwise(weights))
    return [i + 1 for i, (before, after) in pairs if after.shape[1] != before.shape[0]]


def _renamed(tensors: dict[str, Tensor], layers: dict[str, list[str]]) -> dict[str, Tensor]:
    """Network tensors under our names; the points are not among them."""
    modules = {f"unet.{ours}": f"renderer.{theirs}" for ours, theirs in _UNET.items()}
    for short, ours in (("k", "project_key"), ("q", "project_query")):
        modules[f"attention.{ours}"] = f"proximity_attn.attention_layer.w_{short}"
    for name, keys in layers.items():
        modules |= {f"attention.{name}.layers.{i}": key for i, key in enumerate(keys)}
    # Our value network ends before its last linear layer, which follows the sum over the K points.
    modules["attention.fuse"] = modules.pop(f"attention.value.layers.{len(layers['value']) - 1}")
    renamed = {
        f"{ours}.{kind}": tensors[f"{theirs}.{kind}"]
        for ours, theirs in modules.items()
        for kind in ("weight", "bias")
    }
    for name in ("key", "query"):
        for ours, theirs in (("input_norm", "innorm"), ("output_norm", "outnorm")):
            prefix = f"proximity_attn.embed.embed_{_NETWORKS[name]}.{theirs}"
            renamed[f"attention.{name}.{ours}.weight"] = tensors[f"{prefix}.a_2"]
            renamed[f"attention.{name}.{ours}.bias"] = tensors[f"{prefix}.b_2"]
    return renamed


def _settings(config: ImportConfig) -> OfficialSettings:
    given = {name: getattr(config, name) for name in DEFAULTS}
    return find_settings(Path(config.checkpoint), config.official_config, given)


def run(config: ImportConfig) -> None:
    """Convert and write the run folder."""
    path = Path(config.checkpoint)
    step, tensors = read_official(path)
    refuse_not_finite(tensors, path)
    settings = _settings(config)
    logger.info("%s", settings.describe())
    try:
        model = convert_official(tensors, **settings.values)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not a PAPR network this reader knows: {error}") from error
    train = TrainConfig(
        name=config.name,
        output_root=config.output_root,
        model=model.config,
        points=PointsConfig(init="cube", count=len(model.points)),
    )
    folder = RunFolder.open(Path(config.output_root), "sjc_papr", config.name, train, "never")
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    CheckpointStore(folder.checkpoints).save(step, weights, {"imported": True})
    logger.info("%s: step %d, %d points: %s", path, step, len(model.points), folder.path)


def plan(config: ImportConfig) -> str:
    """What ``--dry-run`` prints."""
    step, tensors = read_official(Path(config.checkpoint))
    settings = _settings(config).describe()
    points = len(tensors["points"])
    return f"{config.checkpoint}: step {step}, {points} points, {len(tensors)} tensors\n{settings}"


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(
        ImportConfig,
        run=run,
        plan=plan,
        description="Convert an official PAPR checkpoint into a run folder of ours.",
        argv=argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())

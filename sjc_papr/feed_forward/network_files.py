"""Writing and reading a trained depth network."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sjc_papr.feed_forward.network import DepthNetwork, DepthNetworkConfig
from training_core.config import ConfigError, InputError, load_config, to_plain
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.files.weight_file import refuse_not_finite

WEIGHTS_FILE = "depth.safetensors"
FACTS_FILE = "depth.json"
SHIPPED = Path(__file__).parent / "weights"


def save_network(
    folder: Path, network: DepthNetwork, weights: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write averaged ``weights`` in float16 and what is worth knowing about them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.detach().cpu().half().contiguous() for name, tensor in weights.items()}
    atomic.write_tensors(folder / WEIGHTS_FILE, half)
    atomic.write_json(folder / FACTS_FILE, {"network": to_plain(network.config), "training": facts})


def read_network(folder: str | Path = "") -> DepthNetwork:
    """The network with its weights, in float32, ready to be asked; "" = the one that comes along.

    Raises:
        ConfigError: the folder holds none. InputError: its files are damaged or do not belong
            together.
    """
    place = Path(folder) if folder else SHIPPED
    network = DepthNetwork(_read_config(place))
    weights = place / WEIGHTS_FILE
    try:
        network.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights}: does not fit {FACTS_FILE} beside it: {reason}") from None
    refuse_not_finite(network.state_dict(), weights)
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _read_config(folder: Path) -> DepthNetworkConfig:
    path = folder / FACTS_FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: no depth network there ({FACTS_FILE} is missing); see sjc_papr.train_depth"
        )
    sizes = read_json(path).get("network")
    if not isinstance(sizes, dict):
        raise InputError(f"{path}: key 'network' is missing")
    try:
        return load_config(DepthNetworkConfig, None, [f"{k}={v}" for k, v in sizes.items()])
    except ConfigError as error:
        raise InputError(f"{path}: {error}") from None

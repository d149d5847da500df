"""Trained networks as files: weights, and beside them the network's sizes and its training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training_core.config import ConfigError, InputError, config_from_mapping, to_plain
from training_core.files import atomic
from training_core.files.json_files import read_json
from training_core.files.weight_file import refuse_not_finite

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class NetworkFiles(Generic[NetworkT]):
    """How one kind of network lies in a folder: ``STEM.safetensors`` and ``STEM.json``.

    Attributes:
        stem: of both files. what: how messages call the network. command: which makes one.
        network: its class, whose instances keep their ``config``. config: the class of that.
        shipped: folder of the one that comes along; None = none does.
        dtype: of the weights in the file. channels_last: of the weights in memory.
    """

    stem: str
    what: str
    command: str
    network: type[NetworkT]
    config: type
    shipped: Path | None = None
    dtype: torch.dtype = torch.float16
    channels_last: bool = True

    def place(self, folder: str | Path = "") -> Path:
        """Where the network of that name lies; "" = the one that comes along."""
        if folder or self.shipped is None:
            return Path(folder)
        return self.shipped

    @property
    def weights_file(self) -> str:
        return f"{self.stem}.safetensors"

    @property
    def facts_file(self) -> str:
        return f"{self.stem}.json"

    def save(
        self, folder: Path, network: NetworkT, weights: dict[str, Tensor], facts: dict[str, Any]
    ) -> None:
        """Write averaged ``weights`` and what is worth knowing about them."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: tensor.detach().to("cpu", self.dtype) for name, tensor in weights.items()}
        atomic.write_tensors(folder / self.weights_file, kept)
        sizes = to_plain(network.config)
        atomic.write_json(folder / self.facts_file, {"network": sizes, "training": facts})

    def read(self, folder: str | Path = "") -> NetworkT:
        """The network with its weights, in float32, ready to be asked; "" = the one that comes
        along.

        Raises:
            ConfigError: the folder holds none. InputError: its files are damaged or do not belong
                together.
        """
        place = self.place(folder)
        config = self._read_config(place)
        # Its first weights are drawn, but nobody is to draw otherwise after them.
        with torch.random.fork_rng(devices=[]):
            network = self.network(config)
        weights = place / self.weights_file
        try:
            network.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{weights}: does not fit {self.facts_file} beside it: {reason}"
            ) from None
        refuse_not_finite(network.state_dict(), weights)
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.eval()

    def _read_config(self, folder: Path) -> Any:
        path = folder / self.facts_file
        if not path.is_file():
            raise ConfigError(
                f"{folder}: no {self.what} there ({self.facts_file} is missing); see {self.command}"
            )
        sizes = read_json(path).get("network")
        if not isinstance(sizes, dict):
            raise InputError(f"{path}: key 'network' is missing")
        try:
            return config_from_mapping(self.config, sizes)
        except ConfigError as error:
            raise InputError(f"{path}: {error}") from None

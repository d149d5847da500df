"""Weights and settings of networks on disk: finding, reading and comparing them by name.

Folders are diffusers': `config.json` beside `diffusion_pytorch_model[.VARIANT].safetensors`.
Nothing is downloaded and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training_core.config import InputError
from training_core.files.json_files import read_json

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model"
_SHOWN = 6  # most names in one message


def find_folder(source: str | Path) -> Path:
    """The folder of one network: `source`, its subfolder `unet`, or a model in the hub's cache.

    Args:
        source: a folder, or `OWNER/NAME` with `@REVISION` if wanted, which must have been
            downloaded before.

    Raises:
        InputError: there is no such folder or model, or it has no config.json.
    """
    folder = checkpoint_folder(source)
    for candidate in (folder / "unet", folder):
        if (candidate / CONFIG).is_file():
            return candidate
    raise InputError(f"{folder}: no {CONFIG} here nor in unet/")


def read_config(folder: Path) -> dict[str, Any]:
    """The settings in `config.json`.

    Raises:
        InputError: unreadable, or not a JSON object.
    """
    return read_json(folder / CONFIG)


def variant_in(folder: Path, variant: str | None, stem: str = WEIGHTS) -> str | None:
    """`variant` if the folder has weights of it, else None for the plain ones, which are the same
    in higher precision. Published checkpoints mix both kinds.
    """
    there = variant and (folder / f"{stem}.{variant}.safetensors").is_file()
    return variant if there else None


class WeightFile:
    """The safetensors file of one network: names and shapes at once, tensors on demand.

    With a variant, such as "fp16", see `variant_in`.

    Attributes:
        shapes: shape of every tensor in the file, by name.

    Raises:
        InputError: there is no such file (or only a pickled one), or it is damaged.
    """

    def __init__(self, folder: Path, variant: str | None = None) -> None:
        found = variant_in(folder, variant)
        self.path = folder / (
            f"{WEIGHTS}.{found}.safetensors" if found else f"{WEIGHTS}.safetensors"
        )
        if not self.path.is_file():
            raise InputError(f"{self.path}: missing{_what_is_there(folder)}")
        try:
            self._file = safe_open(self.path, framework="pt")
            names = list(self._file.keys())
            self.shapes = {n: tuple(self._file.get_slice(n).get_shape()) for n in names}
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: not a readable safetensors file: {error}") from error

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def require(self, wanted: Mapping[str, torch.Size], tolerated: Iterable[str] = ()) -> None:
        """Refuse the file unless it holds exactly `wanted`, and at most `tolerated` besides.

        Args:
            wanted: shape by name.
            tolerated: names of tensors that may also be there, of any shape.

        Raises:
            InputError: tensors are missing, unknown, or of another shape; the message names them.
        """
        if missing := [name for name in wanted if name not in self.shapes]:
            raise InputError(f"{self.path}: {len(missing)} tensors missing: {_list(missing)}")
        wrong = [
            f"{name} is {list(self.shapes[name])}, expected {list(shape)}"
            for name, shape in wanted.items()
            if self.shapes[name] != tuple(shape)
        ]
        if wrong:
            raise InputError(f"{self.path}: {len(wrong)} wrong shapes: {_list(wrong, '; ')}")
        known = {*wanted, *tolerated}
        if unknown := [name for name in self.shapes if name not in known]:
            raise InputError(f"{self.path}: {len(unknown)} unknown tensors: {_list(unknown)}")


def checkpoint_folder(source: str | Path) -> Path:
    """`source` if it is a folder, else that of a model OWNER/NAME[@REVISION] in the hub's cache.

    Raises:
        InputError: neither is there.
    """
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_name(source):
        raise InputError(f"{source}: no such folder")
    repository, _, revision = str(source).partition("@")
    try:
        # Never downloads: compute nodes have no internet, and the files are large.
        return Path(snapshot_download(repository, revision=revision or None, local_files_only=True))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source}: neither a folder nor a model in the hub's cache; "
            f"fetch it first: hf download {repository}"
        ) from error


def is_hub_name(source: str | Path) -> bool:
    """Whether ``source`` has the form OWNER/NAME[@REVISION] and is no folder."""
    owner, _, name = str(source).partition("@")[0].partition("/")
    named = bool(owner and name) and "/" not in name and not owner.startswith((".", "~"))
    return named and not Path(source).is_dir()


def _what_is_there(folder: Path) -> str:
    others = sorted(path.name for path in folder.glob(f"{WEIGHTS}*.safetensors"))
    if others:
        return f"; there is {', '.join(others)} (see the setting for the variant)"
    if list(folder.glob("*.bin")):
        return "; there are only pickled weights (.bin), which are not read: convert them first"
    return ""


def _list(names: list[str], separator: str = ", ") -> str:
    rest = f"{separator}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + rest

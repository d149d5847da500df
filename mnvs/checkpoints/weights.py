"""Weights and settings of networks on disk: where they are, and which variant.

Folders are diffusers': `config.json` beside `diffusion_pytorch_model[.VARIANT].safetensors`.
Nothing is downloaded and nothing is unpickled.
"""

from pathlib import Path
from typing import Any

from training_core.config import InputError
from training_core.files.json_files import read_json
from training_core.files.weight_file import WeightFile, hub_snapshot, is_hub_name

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model"


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
    """`variant` if the folder has weights of it, else None: the plain ones say the same, more
    precisely. Published checkpoints mix both kinds.
    """
    there = variant and (folder / f"{stem}.{variant}.safetensors").is_file()
    return variant if there else None


def open_weights(folder: Path, variant: str | None = None, stem: str = WEIGHTS) -> WeightFile:
    """The safetensors file of one network; with a variant, such as "fp16", see `variant_in`.

    Args:
        stem: name of the file without its ending; transformers has "model".

    Raises:
        InputError: there is no such file (or only a pickled one), or it is damaged.
    """
    found = variant_in(folder, variant, stem)
    path = folder / (f"{stem}.{found}.safetensors" if found else f"{stem}.safetensors")
    if not path.is_file():
        raise InputError(f"{path}: missing{_what_is_there(folder, stem)}")
    return WeightFile(path)


def checkpoint_folder(source: str | Path) -> Path:
    """`source` if it is a folder, else that of a model OWNER/NAME[@REVISION] in the hub's cache.

    Raises:
        InputError: neither is there.
    """
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_name(source):
        raise InputError(f"{source}: no such folder")
    return hub_snapshot(source)


def _what_is_there(folder: Path, stem: str) -> str:
    others = sorted(path.name for path in folder.glob(f"{stem}*.safetensors"))
    if others:
        return f"; there is {', '.join(others)} (see the setting for the variant)"
    if list(folder.glob("*.bin")):
        return "; there are only pickled weights (.bin), which are not read: convert them first"
    return ""

"""Names of a file's animations, read without Blender, and which of them are to be rendered."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

from blender_render.rendering.asset_failures import AssetFailure
from training_core.config import ConfigError
from training_core.files.json_files import parse_json

ALL = "all"
_GLB_MAGIC = b"glTF"
_JSON_CHUNK = 0x4E4F534A
# The longest name that Blender keeps, in bytes of UTF-8.
_LONGEST_NAME = 63


def action_names(path: str | Path) -> list[str]:
    """Names of the animations of a .glb or .gltf file, in the file's order, as Blender's importer
    gives them: shortened, ``Anim_N`` for one without a name, ``.001`` after that of a twin.

    Raises:
        ConfigError: another kind of file. AssetFailure: one that cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in (".glb", ".gltf"):
        raise ConfigError(f"actions: {path}: 'all' reads .glb and .gltf; name the actions instead")
    try:
        content = parse_json(_json_text(path))
        names: list[str] = []
        for number, animation in enumerate(content.get("animations", ())):
            names.append(_unused(animation.get("name") or f"Anim_{number}", names))
    except (OSError, ValueError, struct.error, AttributeError, TypeError) as error:
        raise AssetFailure("import_error", f"{path}: cannot be read ({error})") from None
    return names


def chosen_actions(path: str, wanted: Sequence[str], at_most: int) -> list[str]:
    """The actions to be rendered of one asset. Raises as ``action_names``.

    Args:
        wanted: names or indices; [all] = every one the file holds.
        at_most: if there are more, this many of them, evenly spread; 0 = no limit.
    """
    names = action_names(path) if list(wanted) == [ALL] else list(wanted)
    if not at_most or len(names) <= at_most:
        return names
    return [names[(2 * i + 1) * len(names) // (2 * at_most)] for i in range(at_most)]


def dataset_names(asset: str, actions: Sequence[str]) -> list[str]:
    """``ASSET-ACTION`` for each, different ones, of letters and digits of any script."""
    names: list[str] = []
    for action in actions:
        name = plain = asset + "-" + re.sub(r"[\W_]+", "_", action)
        number = 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


def _unused(wanted: str, taken: Sequence[str]) -> str:
    """The name that Blender gives: short enough, and with a number where it is taken."""
    number, suffix = 0, ""
    while True:
        room = _LONGEST_NAME - len(suffix)
        name = wanted.encode()[:room].decode(errors="ignore") + suffix
        if name not in taken:
            return name
        number += 1
        suffix = f".{number:03d}"


def _json_text(path: Path) -> bytes:
    """The JSON of a file, without the meshes and pictures that follow it in a .glb."""
    with path.open("rb") as file:
        head = file.read(20)
        if not head.startswith(_GLB_MAGIC):
            return head + file.read()
        length, kind = struct.unpack_from("<II", head, 12)
        if kind != _JSON_CHUNK:
            raise ValueError("the first chunk is not JSON")
        return file.read(length)

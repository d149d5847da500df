"""Names of a file's animations, read without Blender, and which of them are to be rendered."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from training_core.config import ConfigError
from training_core.files.json_files import parse_json

ALL = "all"
_GLB_MAGIC = b"glTF"
_JSON_CHUNK = 0x4E4F534A


def action_names(path: str | Path) -> list[str]:
    """Different names of the animations of a .glb or .gltf file, in the file's order.

    Raises:
        ConfigError: another kind of file, or one that cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in (".glb", ".gltf"):
        raise ConfigError(f"actions: {path}: 'all' reads .glb and .gltf; name the actions instead")
    try:
        content = parse_json(_json_text(path.read_bytes()))
        names = [a.get("name") or "" for a in content.get("animations", ())]
    except (OSError, ValueError, struct.error, AttributeError, TypeError) as error:
        raise ConfigError(f"actions: {path}: cannot be read ({error})") from None
    return list(dict.fromkeys(name for name in names if name))


def chosen_actions(path: str, wanted: Sequence[str], at_most: int) -> list[str]:
    """The actions to be rendered of one asset.

    Args:
        wanted: names or indices; [all] = every one the file holds.
        at_most: if there are more, this many of them, evenly spread; 0 = no limit.
    """
    names = action_names(path) if list(wanted) == [ALL] else list(wanted)
    if not at_most or len(names) <= at_most:
        return names
    return [names[(2 * i + 1) * len(names) // (2 * at_most)] for i in range(at_most)]


def _json_text(data: bytes) -> bytes:
    if not data.startswith(_GLB_MAGIC):
        return data
    length, kind = struct.unpack_from("<II", data, 12)
    if kind != _JSON_CHUNK:
        raise ValueError("the first chunk is not JSON")
    return data[20 : 20 + length]

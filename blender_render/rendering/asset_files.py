"""An asset's file and those that it names beside itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from training_core.files.json_files import parse_json

# What names a picture in a material of an .obj, before options and the picture's name.
_MAPS = ("map_", "bump", "disp", "decal", "refl", "norm")


def files_of(path: Path) -> list[Path]:
    """The file, then buffers and pictures of a .gltf, materials and their pictures of an .obj, as
    far as they are there. A damaged file names nothing; its importer says what is wrong.
    """
    kinds = {".gltf": _of_gltf, ".obj": _of_obj}
    suffix = path.suffix.lower()
    try:
        named = list(kinds[suffix](path)) if suffix in kinds else []
    except (OSError, ValueError, AttributeError, TypeError):
        named = []
    return [path, *(file for file in dict.fromkeys(named) if file.is_file())]


def _of_gltf(path: Path) -> Iterator[Path]:
    document = parse_json(path.read_bytes())
    for kind in ("buffers", "images"):
        for entry in document.get(kind) or ():
            uri = entry.get("uri") or "data:"
            if not uri.startswith("data:"):
                yield path.parent / unquote(uri)


def _of_obj(path: Path) -> Iterator[Path]:
    for line in _lines(path):
        key, _, name = line.partition(" ")
        if key == "mtllib":
            yield from _of_materials(path.parent / name.strip())


def _of_materials(path: Path) -> Iterator[Path]:
    yield path
    for line in _lines(path) if path.is_file() else ():
        key, _, rest = line.partition(" ")
        if key.lower().startswith(_MAPS) and rest.strip():
            whole, last = path.parent / rest.strip(), path.parent / rest.split()[-1]
            yield whole if whole.is_file() else last


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line.strip() for line in file)

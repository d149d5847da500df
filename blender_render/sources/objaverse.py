"""The published index of Objaverse 1.0: which objects there are, and what is known of each.

``object-paths.json.gz`` maps each id to its file, ``glbs/000-012/ID.glb``; the annotations of the
objects of a folder are ``metadata/000-012.json.gz``. Source of layout and fields: the package
``objaverse`` (allenai/objaverse-xl, objaverse/__init__.py) and the annotations that it prints.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_render.sources.download import DownloadError, Patience, fetch
from training_core.config import InputError

PATHS = "object-paths.json.gz"
UID = re.compile(r"[0-9a-f]{32}")
OBJECT_PATH = re.compile(r"glbs/(\d{3}-\d{3})/([0-9a-f]{32})\.glb")


@dataclass(frozen=True)
class Wanted:
    """Which objects: faces is the annotation's count; empty licences are all."""

    animated: bool = True
    licences: tuple[str, ...] = ()
    min_faces: int = 0
    max_faces: int = 0  # 0 = any

    def takes(self, annotation: dict[str, Any]) -> bool:
        """Whether an object with this annotation is one of them."""
        faces = _count(annotation, "faceCount")
        return (
            (not self.animated or _count(annotation, "animationCount") > 0)
            and (not self.licences or licence_of(annotation) in self.licences)
            and faces >= self.min_faces
            and (not self.max_faces or faces <= self.max_faces)
        )


def _count(annotation: dict[str, Any], name: str) -> int:
    value = annotation.get(name)
    return value if isinstance(value, int) else 0


def licence_of(annotation: dict[str, Any]) -> str:
    """Its Creative Commons short form, as published: by, by-nc, cc0; "" where it names none."""
    value = annotation.get("license")
    return value if isinstance(value, str) else ""


def facts_of(annotation: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an object: licence, author and page, which attribution needs, and counts."""
    user = annotation.get("user")
    return {
        "licence": licence_of(annotation),
        "name": annotation.get("name") or "",
        "author": (user.get("username") or "") if isinstance(user, dict) else "",
        "page": annotation.get("viewerUrl") or "",
        "faces": _count(annotation, "faceCount"),
        "animations": _count(annotation, "animationCount"),
    }


class Index:
    """The index below ``url``, kept in ``cache``; files are fetched when they are first needed."""

    def __init__(self, url: str, cache: Path, patience: Patience) -> None:
        self._url, self._cache, self._patience = url.rstrip("/"), cache, patience
        paths = self._read(PATHS)
        self.paths: dict[str, str] = {
            uid: path
            for uid, path in paths.items()
            if isinstance(path, str) and (m := OBJECT_PATH.fullmatch(path)) and m[2] == uid
        }

    def url_of(self, uid: str) -> str:
        """Where an object's file is. Raises KeyError on an unknown id."""
        return f"{self._url}/{self.paths[uid]}"

    def annotations(self, uids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Annotations of known objects; those without one are left out."""
        found: dict[str, dict[str, Any]] = {}
        for folder in sorted({self.paths[uid].split("/")[1] for uid in uids}):
            table = self._read(f"metadata/{folder}.json.gz")
            found |= {uid: table[uid] for uid in uids if isinstance(table.get(uid), dict)}
        return found

    def select(self, wanted: Wanted) -> Iterator[str]:
        """Ids of the objects that are wanted, folder by folder, in the order of their ids."""
        folders: dict[str, list[str]] = {}
        for uid, path in self.paths.items():
            folders.setdefault(path.split("/")[1], []).append(uid)
        for folder in sorted(folders):
            table = self._read(f"metadata/{folder}.json.gz")
            for uid in sorted(folders[folder]):
                annotation = table.get(uid)
                if isinstance(annotation, dict) and wanted.takes(annotation):
                    yield uid

    def _read(self, name: str) -> dict[str, Any]:
        """A file of the index, which a damaged copy in the cache does not keep from being read."""
        path = self._cache / name
        for fresh in (False, True):
            if fresh or not path.is_file():
                try:
                    fetch(f"{self._url}/{name}", path, self._patience)
                except DownloadError as error:
                    raise InputError(f"the index of Objaverse cannot be read: {error}") from None
            try:
                table = json.loads(gzip.decompress(path.read_bytes()))
            except (OSError, EOFError, ValueError):
                continue
            if isinstance(table, dict):
                return table
        raise InputError(f"{self._url}/{name}: not a table in JSON, gzipped")


def read_uids(path: Path) -> list[str]:
    """Ids of a list, one a line, ``#`` begins a comment; each once.

    Raises:
        InputError: no such file, or a line that is no id.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    found: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip().removesuffix(".glb")
        if word and not UID.fullmatch(word):
            raise InputError(f"{path}, line {number}: {word!r} is no id of Objaverse 1.0")
        if word:
            found[word] = None
    return list(found)


def fault_of_glb(path: Path) -> str:
    """Why a file is no whole .glb, "" where it is one (glTF 2.0 specification, 4.4.2)."""
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) < 12 or head[:4] != b"glTF":
        return "not a binary glTF"
    (length,) = struct.unpack("<I", head[8:12])
    size = path.stat().st_size
    return "" if length == size else f"{size} bytes of {length}"

"""One way to read a dataset that is a folder or lies inside a .zip (clusters count files).

A path may point at a folder, at a .zip, or at a folder inside a .zip
(``fox.zip/frame_000``). Archives should be stored, not deflated: images are compressed already.
Compressed ones are read all the same; ``validate`` reports them.
"""

from __future__ import annotations

import json
import posixpath
import zipfile
import zlib
from pathlib import Path
from typing import Any

from training_core.config import InputError


class Tree:
    """Read-only view of a folder; ``rel`` is always a "/"-separated path below it.

    Args:
        root: the folder, on disk or inside an archive.
        path: its name in messages.
        archive: what ``close`` closes; None for a folder on disk and for a part of another tree.
    """

    def __init__(
        self, root: Path | zipfile.Path, path: Path, archive: zipfile.ZipFile | None = None
    ) -> None:
        self.path = path
        self._root = root
        self._archive = archive

    def label(self, rel: str = "") -> str:
        """The name to print for ``rel`` in a message."""
        return str(self.path / _clean(rel))

    def read_bytes(self, rel: str) -> bytes:
        """Content of a file. Raises InputError when it is missing or cannot be read."""
        try:
            return (self._root / _clean(rel)).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{self.label(rel)}: file is missing") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.label(rel)}: cannot be read ({reason})") from None

    def read_json(self, rel: str) -> dict[str, Any]:
        """A JSON object. Raises InputError naming the file and, for broken syntax, the line."""
        try:
            content = json.loads(self.read_bytes(rel).decode("utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self.label(rel)}: not valid JSON (line {error.lineno}: {error.msg})"
            ) from None
        except UnicodeDecodeError:
            raise InputError(f"{self.label(rel)}: not UTF-8 text") from None
        if not isinstance(content, dict):
            raise InputError(f"{self.label(rel)}: a JSON object was expected")
        return content

    def exists(self, rel: str) -> bool:
        """Whether a file or folder of that name is there."""
        place = self._root / _clean(rel)
        return place.is_dir() or place.exists()

    def list(self, rel: str = "") -> list[str]:
        """Sorted names directly inside a folder; empty when there is no such folder."""
        folder = self._root / _clean(rel)
        return sorted({p.name for p in folder.iterdir()}) if folder.is_dir() else []

    def sub(self, rel: str) -> Tree:
        """A folder of this tree as a tree of its own; an archive is not opened a second time."""
        return Tree(self._root / _clean(rel), self.path / _clean(rel))

    @property
    def compressed(self) -> bool:
        """Whether any file in the archive is compressed instead of stored."""
        files = self._archive.infolist() if self._archive else []
        return any(f.compress_type != zipfile.ZIP_STORED and not f.is_dir() for f in files)

    def close(self) -> None:
        """Close the archive, if there is one."""
        if self._archive:
            self._archive.close()

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_tree(path: str | Path) -> Tree:
    """Open a folder, a .zip, or a folder inside a .zip.

    Raises:
        InputError: nothing is there, or it is neither a folder nor a readable archive.
    """
    path = Path(path)
    if path.is_dir():
        return Tree(path, path)
    for candidate in (path, *path.parents):
        if candidate.suffix.lower() == ".zip" and candidate.is_file():
            return _open_zip(candidate, path)
    if path.exists():
        raise InputError(f"{path}: neither a folder nor a .zip archive")
    raise InputError(f"{path}: does not exist")


def _open_zip(file: Path, path: Path) -> Tree:
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: not a readable zip archive ({error})") from None
    top = zipfile.Path(archive)
    entries = list(top.iterdir())
    roots = [top]
    # An archive made of one folder NAME/ is read as if that folder were its root; a lone
    # frame_000/ is a dataset's content, not a folder around it.
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].name.startswith("frame_"):
        roots.append(entries[0])
    if path == file:
        return Tree(roots[-1], path, archive)
    for root in roots:
        folder = root / path.relative_to(file).as_posix()
        if folder.is_dir():
            return Tree(folder, path, archive)
    archive.close()
    raise InputError(f"{path}: no such folder in the archive")


def _clean(rel: str) -> str:
    """Normal form without "./"; paths that climb out of the dataset are refused."""
    clean = posixpath.normpath(rel.replace("\\", "/")) if rel else ""
    if clean == ".":
        return ""
    if clean.startswith(("../", "/")) or clean == "..":
        raise InputError(f"{rel}: path leads out of the dataset")
    return clean

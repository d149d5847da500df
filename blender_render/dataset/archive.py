"""One way to read a dataset that is a folder or lies inside a .zip (clusters count files).

A path may point at a folder, at a .zip, or at a folder inside a .zip
(``fox.zip/frame_000``). Archives should be stored, not deflated: images are compressed already.
Compressed ones are read all the same; ``validate`` reports them.
"""

from __future__ import annotations

import json
import lzma
import os
import posixpath
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

from training_core.config import InputError
from training_core.files.json_files import parse_json
from training_core.files.zip_members import refuse_oversized, tidy_names

_FRAME = re.compile(r"frame_\d+")


# Of zips, too, whatever their members are packed with.
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


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
        return os.path.normpath(self.path / self.inside(rel))

    def inside(self, rel: str) -> str:
        """Normal form of a path that a file of the dataset names: "/"-separated, below this folder.

        Absolute paths and those that begin with "../" are taken where they lead back inside; of a
        frame folder, also to its dataset (then the result begins with "../").

        Raises:
            InputError: it leads out of the dataset.
        """
        if any(ord(character) < 32 for character in rel):
            raise InputError(f"{self.path}: {rel!r} is no name of a file")
        clean = posixpath.normpath(rel.replace("\\", "/")) if rel else ""
        if clean == ".":
            return ""
        if not clean.startswith(("../", "/")) and clean != "..":
            return clean
        is_frame = self._is_one_of_several_frames()
        for base in (Path(os.path.abspath(self.path)), Path(os.path.realpath(self.path))):
            target = Path(os.path.normpath(base / clean))
            if target.is_relative_to(base):
                return "" if target == base else target.relative_to(base).as_posix()
            if is_frame and target != base.parent and target.is_relative_to(base.parent):
                return f"../{target.relative_to(base.parent).as_posix()}"
        raise InputError(f"{self.path}: {rel}: the path leads out of the dataset")

    def _is_one_of_several_frames(self) -> bool:
        if not _FRAME.fullmatch(self.path.name):
            return False
        above = self._above()
        beside = [p.name for p in above.iterdir() if _FRAME.fullmatch(p.name)]
        return len(beside) > 1 or (above / "dataset.json").is_file()

    def roots(self) -> list[Path | zipfile.Path]:
        """This folder and the one above it, of the same archive where it is in one."""
        above = self._above()
        return [self._root, above] if isinstance(above, type(self._root)) else [self._root]

    def _above(self) -> Path | zipfile.Path:
        return cast(Path | zipfile.Path, self._root.parent)

    def _place(self, rel: str) -> Path | zipfile.Path:
        clean = self.inside(rel)
        if clean.startswith("../"):
            return self._above() / clean.removeprefix("../")
        return self._root / clean

    def read_bytes(self, rel: str) -> bytes:
        """Content of a file. Raises InputError when it is missing or cannot be read."""
        try:
            return self._place(rel).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{self.label(rel)}: file is missing") from None
        except _UNREADABLE as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.label(rel)}: cannot be read ({reason})") from None

    def read_json(self, rel: str) -> dict[str, Any]:
        """A JSON object. Raises InputError naming the file and, for broken syntax, the line."""
        raw = self.read_bytes(rel)
        try:
            # Some editors of Windows begin a file with a mark, which JSON does not know.
            content = parse_json(raw.decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{self.label(rel)}: not valid JSON (line {error.lineno}: {error.msg})"
            ) from None
        except UnicodeDecodeError:
            raise InputError(f"{self.label(rel)}: not UTF-8 text") from None
        except ValueError as error:
            raise InputError(f"{self.label(rel)}: not valid JSON ({error})") from None
        if not isinstance(content, dict):
            raise InputError(f"{self.label(rel)}: a JSON object was expected")
        return content

    def exists(self, rel: str) -> bool:
        """Whether a file or folder of that name is there."""
        place = self._place(rel)
        return place.is_dir() or place.exists()

    def size(self, rel: str) -> int:
        """Bytes of a file; -1 where it is missing."""
        place = self._place(rel)
        if not place.is_file():
            return -1
        if isinstance(place, zipfile.Path):
            return place.root.getinfo(place.at).file_size
        return place.stat().st_size

    def list(self, rel: str = "") -> list[str]:
        """Sorted names directly inside a folder; empty when there is no such folder."""
        folder = self._place(rel)
        return sorted({p.name for p in folder.iterdir()}) if folder.is_dir() else []

    def sub(self, rel: str) -> Tree:
        """A folder of this tree as a tree of its own; an archive is not opened a second time."""
        return Tree(self._place(rel), Path(self.label(rel)))

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
    try:
        tidy_names(archive, file)
        refuse_oversized(archive, file)
    except InputError:
        archive.close()
        raise
    roots = _roots(zipfile.Path(archive))
    if path == file:
        return Tree(roots[-1], path, archive)
    for root in roots:
        folder = root / path.relative_to(file).as_posix()
        if folder.is_dir():
            return Tree(folder, path, archive)
    archive.close()
    raise InputError(f"{path}: no such folder in the archive")


def _roots(top: zipfile.Path) -> list[zipfile.Path]:
    """The archive's root, and the folders that lie around its content alone, from the outside in.

    An archive made of one folder NAME/ is read as if that folder were its root, and so on inside;
    a lone frame_000/ is a dataset's content, not a folder around it.
    """
    roots = [top]
    while True:
        # Archives made on a Mac hold a second tree of side files.
        inside = [
            e for e in roots[-1].iterdir() if e.name != "__MACOSX" and not e.name.startswith(".")
        ]
        if len(inside) != 1 or not inside[0].is_dir() or _FRAME.fullmatch(inside[0].name):
            return roots
        roots.append(inside[0])


def pack(folder: Path, archive: Path) -> None:
    """Store (not deflate) a folder's files in a .zip, sorted, with equal bytes for equal files."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.external_attr = 0o644 << 16
            writer.writestr(entry, path.read_bytes())

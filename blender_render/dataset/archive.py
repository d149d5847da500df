"""One way to read a dataset that is a folder or lies inside a .zip (clusters count files).

A path may point at a folder, at a .zip, or at a folder inside a .zip
(``fox.zip/frame_000``). Archives should be stored, not deflated: pictures are compressed already.
Compressed ones are read all the same; ``validate`` reports them.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

from training_core.config import InputError


class Tree:
    """Read-only view of a folder; ``rel`` is always a "/"-separated path below it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def label(self, rel: str = "") -> str:
        """The name to print for ``rel`` in a message."""
        return str(self.path / _clean(rel)) if rel else str(self.path)

    def read_bytes(self, rel: str) -> bytes:
        """Content of a file. Raises InputError when it is missing or cannot be read."""
        try:
            return (self.path / _clean(rel)).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{self.label(rel)}: file is missing") from None
        except OSError as error:
            raise InputError(f"{self.label(rel)}: cannot be read ({error.strerror})") from None

    def exists(self, rel: str) -> bool:
        """Whether a file or folder of that name is there."""
        return (self.path / _clean(rel)).exists()

    def list(self, rel: str = "") -> list[str]:
        """Sorted names directly inside a folder; empty when there is no such folder."""
        folder = self.path / _clean(rel)
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def sub(self, rel: str) -> Tree:
        """A folder of this tree as a tree of its own; an archive is not opened a second time."""
        return _Subtree(self, rel) if rel else self

    def close(self) -> None:
        """Give back what the tree holds open."""

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ZipTree(Tree):
    """The same over a .zip; ``prefix`` is the folder inside it that counts as the root."""

    def __init__(self, archive: Path, prefix: str) -> None:
        super().__init__(archive / prefix if prefix else archive)
        try:
            self._zip = zipfile.ZipFile(archive)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{archive}: not a readable zip archive ({error})") from None
        self._files = {i.filename: i for i in self._zip.infolist() if not i.is_dir()}
        self._prefix = prefix or self._single_root()
        self._children: dict[str, set[str]] = {}
        for name in self._files:
            while name:
                parent, _, base = name.rpartition("/")
                self._children.setdefault(parent, set()).add(base)
                name = parent

    @property
    def compressed(self) -> bool:
        """Whether any file in the archive is compressed instead of stored."""
        return any(i.compress_type != zipfile.ZIP_STORED for i in self._files.values())

    def _single_root(self) -> str:
        """An archive made of one folder NAME/ is read as if that folder were its root."""
        heads = {name.partition("/")[0] for name in self._files}
        only_folders = all("/" in name for name in self._files)
        # A lone frame_000/ is a dataset's content, not a folder around it.
        if len(heads) == 1 and only_folders and not next(iter(heads)).startswith("frame_"):
            return heads.pop()
        return ""

    def _inner(self, rel: str) -> str:
        return _clean(posixpath.join(self._prefix, rel))

    def read_bytes(self, rel: str) -> bytes:
        try:
            return self._zip.read(self._inner(rel))
        except KeyError:
            raise InputError(f"{self.label(rel)}: file is missing") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise InputError(f"{self.label(rel)}: cannot be read ({error})") from None

    def exists(self, rel: str) -> bool:
        inner = self._inner(rel)
        return inner in self._files or inner in self._children

    def list(self, rel: str = "") -> list[str]:
        return sorted(self._children.get(self._inner(rel), ()))

    def close(self) -> None:
        self._zip.close()


class _Subtree(Tree):
    def __init__(self, whole: Tree, prefix: str) -> None:
        super().__init__(whole.path / prefix)
        self._whole, self._prefix = whole, prefix

    def read_bytes(self, rel: str) -> bytes:
        return self._whole.read_bytes(f"{self._prefix}/{_clean(rel)}")

    def exists(self, rel: str) -> bool:
        return self._whole.exists(f"{self._prefix}/{_clean(rel)}")

    def list(self, rel: str = "") -> list[str]:
        return self._whole.list(f"{self._prefix}/{_clean(rel)}")


def open_tree(path: str | Path) -> Tree:
    """Open a folder, a .zip, or a folder inside a .zip.

    Raises:
        InputError: nothing is there, or it is neither a folder nor a readable archive.
    """
    path = Path(path)
    if path.is_dir():
        return Tree(path)
    for candidate in (path, *path.parents):
        if candidate.suffix.lower() == ".zip" and candidate.is_file():
            prefix = "" if candidate == path else path.relative_to(candidate).as_posix()
            tree = ZipTree(candidate, prefix)
            if prefix and not tree.exists(""):
                # The archive may hold everything below one folder of its own.
                inner = ZipTree(candidate, "")._prefix
                tree.close()
                tree = ZipTree(candidate, posixpath.join(inner, prefix))
                if not tree.exists(""):
                    raise InputError(f"{path}: no such folder in the archive")
            return tree
    if path.exists():
        raise InputError(f"{path}: neither a folder nor a .zip archive")
    raise InputError(f"{path}: does not exist")


def _clean(rel: str) -> str:
    """Normal form without "./"; paths that climb out of the dataset are refused."""
    clean = posixpath.normpath(rel.replace("\\", "/")) if rel else ""
    if clean == ".":
        return ""
    if clean.startswith(("../", "/")) or clean == "..":
        raise InputError(f"{rel}: path leads out of the dataset")
    return clean

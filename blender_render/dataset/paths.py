"""Datasets as a person names them: paths, folders of datasets, globs, lists in files."""

import glob
from collections.abc import Sequence
from pathlib import Path

from blender_render.dataset import format as fmt
from training_core.config import ConfigError


def dataset_paths(entries: Sequence[str | Path], key: str = "data.paths") -> list[Path]:
    """The datasets that ``entries`` name, in the order given; what is named twice is there twice.

    Args:
        entries: datasets (folders or .zip), folders of datasets, glob patterns, or @FILE with one
            of these on each line. A path that is none of them stays as it is, for its reader to
            refuse.
        key: of the option, for messages.

    Raises:
        ConfigError: a pattern that matches nothing, or a list that cannot be read.
    """
    return [path for entry in entries for path in _expand(str(entry), key)]


def listed(file: Path, key: str) -> list[str]:
    """The lines of a list in a file, as a person writes it; empty ones are left out.

    Args:
        key: of the option, for messages.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise ConfigError(f"{key}: {file}: {reason}") from None
    return [line.strip() for line in lines if line.strip()]


def _expand(entry: str, key: str, lists: tuple[str, ...] = ()) -> list[Path]:
    """What an entry names; ``lists`` are the files of entries in which it stands."""
    if entry.startswith("@"):
        if entry in lists:
            raise ConfigError(f"{key}: {entry[1:]} names itself")
        lines = listed(Path(entry[1:]), key)
        return [path for line in lines for path in _expand(line, key, (*lists, entry))]
    path = Path(entry)
    if not path.exists() and glob.has_magic(entry):
        matching = sorted(glob.glob(entry, recursive=True))
        if not matching:
            raise ConfigError(f"{key}: nothing matches {entry}")
        return [inside for match in matching for inside in _inside(Path(match))]
    return _inside(path)


def _inside(path: Path) -> list[Path]:
    """The datasets of a folder of datasets, else the path itself."""
    if not path.is_dir() or _is_dataset(path):
        return [path]
    return [p for p in sorted(path.iterdir()) if _is_dataset(p)] or [path]


def _is_dataset(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in (fmt.SAMPLE_FILE, fmt.DATASET_FILE))
    return path.suffix.lower() == ".zip"

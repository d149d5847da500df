"""Datasets into one .zip each, which every reader opens in place: clusters count files.

``python -m blender_render.pack PATH ... [--into FOLDER] [--remove]``: PATH is a dataset folder, a
folder of datasets, a glob pattern or @LIST. NAME becomes NAME.zip beside it, complete or not at
all; an archive that already holds the same files is left alone, so an interrupted call can be
repeated as it was. ``blender_render.unpack`` is the way back. Exit codes: 0 all packed, 2 something
cannot be.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from blender_render.dataset import format as fmt
from blender_render.dataset.archive import pack as write_archive
from blender_render.dataset.paths import dataset_paths
from training_core.cli import exit_code_of
from training_core.config import InputError
from training_core.files.atomic import replacing
from training_core.files.zip_members import tidy_names

logger = logging.getLogger(__name__)


def pack_dataset(folder: Path, archive: Path) -> bool:
    """Pack a folder into a stored .zip and compare both; whether anything had to be written.

    Raises:
        InputError: no folder, an empty one, links in it, an unfinished dataset, an archive of
            something else in the way, or files that changed meanwhile.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no folder; only datasets in folders can be packed")
    if folder.name.startswith("."):
        raise InputError(f"{folder}: unfinished rendering; the same render command finishes it")
    described = any((folder / name).is_file() for name in (fmt.DATASET_FILE, fmt.SAMPLE_FILE))
    if described and not (folder / fmt.COMPLETE_FILE).is_file():
        raise InputError(f"{folder}: incomplete dataset ({fmt.COMPLETE_FILE} is missing)")
    if links := [path for path in folder.rglob("*") if path.is_symlink()]:
        raise InputError(f"{links[0]}: a link, which an archive would not keep")
    if not any(path.is_file() for path in folder.rglob("*")):
        raise InputError(f"{folder}: nothing in it")
    if archive.exists():
        if difference := differs(folder, archive):
            raise InputError(f"{archive}: is in the way: {difference}")
        return False
    archive.parent.mkdir(parents=True, exist_ok=True)
    with replacing(archive) as draft:
        write_archive(folder, draft)
        if difference := differs(folder, draft):
            raise InputError(f"{folder}: changed while it was packed: {difference}")
    return True


def differs(folder: Path, archive: Path) -> str:
    """The first difference between a folder's files and an archive's; "" where they are equal."""
    try:
        with zipfile.ZipFile(archive) as opened:
            tidy_names(opened, archive)
            kept = {m.filename: m.CRC for m in opened.infolist() if not m.is_dir()}
            damaged = opened.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        return f"cannot be read ({error})"
    if damaged:
        return f"{damaged} is damaged in it"
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    if odd := sorted(files.keys() ^ kept.keys()):
        return f"{odd[0]} is only in {'the folder' if odd[0] in files else 'the archive'}"
    for name, path in files.items():
        if zlib.crc32(path.read_bytes()) != kept[name]:
            return f"{name} differs"
    return ""


def pack_all(entries: Sequence[str], into: Path | None, remove: bool) -> None:
    """Pack what ``entries`` name, one after the other. Raises InputError as ``pack_dataset``."""
    folders = [p for p in dataset_paths(entries, "PATH") if p.suffix.lower() != ".zip"]
    if not folders:
        raise InputError("nothing to pack: no dataset folder among the paths given")
    for folder in folders:
        archive = (into or folder.parent) / f"{folder.name}.zip"
        files = sum(path.is_file() for path in folder.rglob("*"))
        new = pack_dataset(folder, archive)
        done = "packed" if new else "was packed"
        size = archive.stat().st_size / 1e6
        logger.info("%s: %d files %s into %s, %.1f MB", folder, files, done, archive, size)
        if remove:
            shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring for the exit codes."""
    parser = argparse.ArgumentParser(
        prog="python -m blender_render.pack", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="datasets, or folders of them")
    parser.add_argument("--into", type=Path, help="folder for the archives; default: beside each")
    parser.add_argument("--remove", action="store_true", help="delete each folder that is packed")
    options = parser.parse_args(argv)
    return exit_code_of(lambda: pack_all(options.paths, options.into, options.remove))


if __name__ == "__main__":
    raise SystemExit(main())

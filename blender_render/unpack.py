"""Packed datasets back into folders, for programs that read folders only.

``python -m blender_render.unpack PATH ... [--into FOLDER]``: PATH is a .zip, a folder of them, a
glob pattern or @LIST. NAME.zip becomes the folder NAME beside it, complete or not at all; the
archive stays. Our own commands read archives in place and need none of this. Exit codes: 0 all
unpacked, 2 something cannot be.
"""

from __future__ import annotations

import argparse
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from blender_render.dataset.paths import dataset_paths
from blender_render.pack import differs
from training_core.cli import exit_code_of
from training_core.config import InputError
from training_core.files.atomic import new_directory
from training_core.files.zip_members import refuse_oversized, tidy_names

logger = logging.getLogger(__name__)


def unpack_dataset(archive: Path, folder: Path) -> bool:
    """Unpack a .zip into a folder of its own; whether anything had to be written.

    Raises:
        InputError: no readable archive, a member that leads out of it or is too large, or a folder
            of something else in the way.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            refuse_oversized(opened, archive)
            for member in opened.infolist():
                _refuse_outside(member.filename, archive)
            tidy_names(opened, archive)
            members = [m for m in opened.infolist() if not m.is_dir()]
            if folder.is_dir() and any(folder.iterdir()):
                if difference := differs(folder, archive):
                    raise InputError(f"{folder}: is in the way: {difference}")
                return False
            try:
                with new_directory(folder) as draft:
                    for member in members:
                        target = draft / member.filename
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(opened.read(member))
            except InputError:
                # Another process may have unpacked it meanwhile.
                if folder.is_dir() and not differs(folder, archive):
                    return False
                raise
    except FileNotFoundError:
        raise InputError(f"{archive}: does not exist") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive}: cannot be read ({error})") from None
    return True


def _refuse_outside(name: str, archive: Path) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ":" in parts[0] or ".." in parts:
        raise InputError(f"{archive}: {name[:60]!r} leads out of the archive")


def unpack_all(entries: Sequence[str], into: Path | None) -> None:
    """Unpack what ``entries`` name. Raises InputError as ``unpack_dataset``."""
    archives = [p for p in dataset_paths(entries, "PATH") if p.suffix.lower() == ".zip"]
    if not archives:
        raise InputError("nothing to unpack: no .zip among the paths given")
    for archive in archives:
        folder = (into or archive.parent) / archive.stem
        new = unpack_dataset(archive, folder)
        logger.info("%s: %s into %s", archive, "unpacked" if new else "was unpacked", folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring for the exit codes."""
    parser = argparse.ArgumentParser(
        prog="python -m blender_render.unpack", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="archives, or folders of them")
    parser.add_argument("--into", type=Path, help="folder for the datasets; default: beside each")
    options = parser.parse_args(argv)
    return exit_code_of(lambda: unpack_all(options.paths, options.into))


if __name__ == "__main__":
    raise SystemExit(main())

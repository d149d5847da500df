"""What a .zip may hold before anything in it is inflated."""

import re
import zipfile
from pathlib import Path

from training_core.config import InputError

# Larger than any image or table of ours: 8,192 pixels squared of RGBA, not compressed at all.
LARGEST_MEMBER = 300_000_000
# As on usual file systems; deeper or longer names make looking them up take forever.
LONGEST_NAME, DEEPEST = 1024, 32
_ROOT = re.compile(r"(?:[A-Za-z]:)?/*(?:\./+)*")


def refuse_oversized(archive: zipfile.ZipFile, where: Path) -> None:
    """Refuse an archive whose members would inflate beyond what is read, or with absurd names.

    Sizes are those of the archive's directory, beyond which zipfile inflates nothing.

    Raises:
        InputError: naming the archive and the member.
    """
    for member in archive.infolist():
        name = member.filename
        if len(name) > LONGEST_NAME or name.count("/") > DEEPEST:
            raise InputError(f"{where}: the name of a member is too long: {name[:60]}…")
        if member.file_size > LARGEST_MEMBER:
            millions = member.file_size / 1e6
            raise InputError(
                f"{where}: {name} would inflate to {millions:,.0f} MB; files of at most "
                f"{LARGEST_MEMBER / 1e6:.0f} MB are read"
            )


def tidy_names(archive: zipfile.ZipFile, where: Path) -> None:
    """Name the members as the form of archives asks: "/" between folders where some programs of
    Windows write a backslash, and all below the archive's root, whatever drive or "/" they begin
    with. Only the names in memory change.

    Raises:
        InputError: a name leads out of the archive, or two members come to have one name.
    """
    original: dict[str, str] = {}
    for member in archive.infolist():
        name = _ROOT.sub("", member.filename.replace("\\", "/"), count=1)
        if ".." in name.split("/"):
            raise InputError(f"{where}: {member.filename[:60]!r} leads out of the archive")
        other = original.setdefault(name, member.filename)
        if other != member.filename and not name.endswith("/") and name:
            raise InputError(f"{where}: {other[:60]!r} and {member.filename[:60]!r} are one file")
        member.filename = name
    archive.filelist = [member for member in archive.infolist() if member.filename]
    archive.NameToInfo = {member.filename: member for member in archive.infolist()}

"""What a .zip may hold before anything in it is inflated."""

import zipfile
from pathlib import Path

from training_core.config import InputError

# Larger than any image or table of ours: 8,192 pixels squared of RGBA, not compressed at all.
LARGEST_MEMBER = 300_000_000
# As on usual file systems; deeper or longer names make looking them up take forever.
LONGEST_NAME, DEEPEST = 1024, 32


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

"""What a file or a folder holds, in one string."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hex digest of a file, or of the names and contents of all files in a folder; "" of neither.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        digest.update(file.relative_to(path).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest() if files else ""

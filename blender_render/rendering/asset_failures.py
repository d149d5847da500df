"""Why an asset could not become a dataset: the reason codes, and the file that records them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from training_core.files.atomic import write_text
from training_core.files.json_files import parse_json
from training_core.files.locks import locked

FAILURES_FILE = "failures.jsonl"
REASONS = {
    "no_mesh": "nothing visible with faces in it",
    "no_motion": "the animation does not move the visible meshes (require_motion=true)",
    "no_action": "the action asked for does not exist",
    "zero_extent": "the visible meshes have no size, or positions that are not finite",
    "unsupported_extension": "a file type or a required glTF extension that cannot be imported",
    "missing_texture": "a picture the materials use is not there or cannot be read",
    "import_error": "the file is absent, damaged, or the importer failed on it",
    "not_normalisable": "the asset does not follow the empty it is parented to",
    "timeout": "not finished within timeout_s",
    "blank_picture": "a picture shows nothing, or a whole frame is black",
    "crashed": "the Blender process ended without saying why",
    "busy": "another process is rendering it",
    "in_the_way": "where its dataset would go lies something else",
}


class AssetFailure(Exception):  # noqa: N818 (read as a noun in messages)
    """This asset cannot be rendered; the others can. ``reason`` is a key of ``REASONS``."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}")
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def record_outcome(output: Path, asset: str, failure: dict[str, Any] | None) -> None:
    """Bring ``failures.jsonl`` up to date for one asset: one line if it failed, none if not.

    Several processes may share the folder (Slurm array tasks), hence the lock.
    """
    with locked(output / f".{FAILURES_FILE}.lock"):
        path = output / FAILURES_FILE
        lines = read_failures(output)
        kept = [line for line in lines if line.get("asset") != asset]
        if failure is not None:
            kept.append({"asset": asset, **failure})
        if kept != lines:
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def read_failures(output: Path) -> list[dict[str, Any]]:
    """The recorded failures, oldest first; [] when there is no file. Damaged lines are left out."""
    path = output / FAILURES_FILE
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            record = parse_json(line)
            found += [record] if isinstance(record, dict) else []
    return found

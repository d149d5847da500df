"""Fetch animated objects of Objaverse 1.0, by a list of ids or by what is published of them.

    python -m blender_render.fetch_objaverse uids=LIST.txt output=assets
    python -m blender_render.fetch_objaverse limit=100 'licences=[by,cc0]' output=assets

For a machine with internet, such as a cluster's login node. Each object becomes
OUTPUT/ID.glb; OUTPUT/objects.jsonl holds its licence, author, page and SHA-256, OUTPUT/assets.txt
is the list that ``blender_render.render 'assets=["@OUTPUT/assets.txt"]'`` takes. The same command
goes on where it was stopped, and tries again what failed. Exit code 4: some could not be had, the
others are there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from blender_render.sources.download import DownloadError, Patience, fetch
from blender_render.sources.objaverse import Index, Wanted, facts_of, fault_of_glb, read_uids
from training_core.checks import at_least
from training_core.cli import run_command
from training_core.config import MISSING, InputError, option
from training_core.files import atomic

logger = logging.getLogger(__name__)

EXIT_SOME_FAILED = 4
MANIFEST, LIST = "objects.jsonl", "assets.txt"


@dataclass
class FetchConfig:
    output: str = option(MISSING, "folder for objects, manifest, list and the cached index")
    uids: str = option("", "file of ids, one a line; empty = choose by the published annotations")
    animated: bool = option(True, "choose: only objects with an animation")
    licences: list[str] = option(
        [], "choose: only these, in the published short form, such as by, by-sa, by-nc, cc0"
    )
    min_faces: int = option(0, "choose: at least so many faces")
    max_faces: int = option(0, "choose: at most so many faces, 0 = any")
    limit: int = option(0, "choose: the first so many, 0 = all")
    index: str = option(
        "", "address of the collection; empty = Objaverse 1.0 below HF_ENDPOINT, or the public hub"
    )
    connections: int = option(4, "files fetched beside each other")
    tries: int = option(5, "how often a file is asked for, with longer and longer pauses")
    timeout_s: float = option(60.0, "how long an answer is waited for, seconds")

    def validate(self) -> None:
        """Raises ValueError on numbers that are too small."""
        at_least(1, connections=self.connections, tries=self.tries)
        at_least(0, min_faces=self.min_faces, max_faces=self.max_faces, limit=self.limit)
        if self.timeout_s <= 0:
            raise ValueError("timeout_s must be positive")
        if not self.uids and not self.limit:
            raise ValueError("uids or limit: give a list of ids, or say how many are wanted")

    def address(self) -> str:
        """Of the collection."""
        hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return self.index or f"{hub.rstrip('/')}/datasets/allenai/objaverse/resolve/main"


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Objects that were fetched, by id; a line that a kill has cut is left out."""
    path = folder / MANIFEST
    found = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            found[str(entry["uid"])] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return found


def is_there(folder: Path, entry: dict[str, Any] | None) -> bool:
    """Whether an object of the manifest has its file, of the size that was fetched."""
    if entry is None:
        return False
    path = folder / f"{entry['uid']}.glb"
    return path.is_file() and path.stat().st_size == entry.get("bytes")


def chosen(config: FetchConfig, index: Index) -> tuple[list[str], list[str]]:
    """Ids that are to be had, and those of the list that the index does not know.

    Raises:
        InputError: none at all.
    """
    if config.uids:
        asked = read_uids(Path(config.uids))
        known = [uid for uid in asked if uid in index.paths]
        unknown = [uid for uid in asked if uid not in index.paths]
    else:
        wanted = Wanted(config.animated, tuple(config.licences), config.min_faces, config.max_faces)
        known, unknown = list(islice(index.select(wanted), config.limit)), []
    if not known:
        raise InputError("no such object: " + (config.uids or "loosen the filters"))
    return known, unknown


def fetch_one(
    index: Index, uid: str, facts: dict[str, Any], folder: Path, patience: Patience
) -> dict[str, Any]:
    """The manifest's entry of a new file. Raises DownloadError; nothing is left then."""
    path = folder / f"{uid}.glb"
    digest = fetch(index.url_of(uid), path, patience)
    if fault := fault_of_glb(path):
        path.unlink()
        raise DownloadError(f"{index.url_of(uid)}: {fault}")
    return {"uid": uid, "sha256": digest, "bytes": path.stat().st_size, **facts}


def _entries(
    config: FetchConfig, index: Index, missing: list[str], folder: Path, failed: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Entries of what is fetched now, in the order in which files arrive; reasons go to failed."""
    patience = Patience(config.timeout_s, config.tries)
    facts = {uid: facts_of(known) for uid, known in index.annotations(missing).items()}
    with ThreadPoolExecutor(config.connections) as pool:
        running = {
            pool.submit(fetch_one, index, uid, facts.get(uid, facts_of({})), folder, patience): uid
            for uid in missing
        }
        try:
            for done in as_completed(running):
                try:
                    yield done.result()
                except DownloadError as error:
                    failed[running[done]] = str(error)
                    logger.warning("%s", error)
        finally:
            pool.shutdown(cancel_futures=True)


def run(config: FetchConfig) -> int:
    """Fetch what is not there yet; the exit code."""
    folder = Path(config.output).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    patience = Patience(config.timeout_s, config.tries)
    index = Index(config.address(), folder / ".index", patience)
    known, unknown = chosen(config, index)
    manifest = read_manifest(folder)
    missing = [uid for uid in known if not is_there(folder, manifest.get(uid))]
    logger.info("%d objects, %d of them are here", len(known), len(known) - len(missing))
    failed = dict.fromkeys(unknown, "not in the index")
    # Line by line, so that a kill loses no more than the files under way; whole at the end.
    with (folder / MANIFEST).open("a", encoding="utf-8") as file:
        file.write("\n")
        for entry in _entries(config, index, missing, folder, failed) if missing else ():
            manifest[entry["uid"]] = entry
            file.write(json.dumps(entry) + "\n")
            file.flush()
            logger.info("%s: %d bytes, licence %s", entry["uid"], entry["bytes"], entry["licence"])
    kept = {uid: entry for uid, entry in sorted(manifest.items()) if is_there(folder, entry)}
    lines = (json.dumps(entry) + "\n" for entry in kept.values())
    atomic.write_text(folder / MANIFEST, "".join(lines))
    atomic.write_text(
        folder / LIST, "".join(f"{folder / uid}.glb\n" for uid in known if uid in kept)
    )
    for uid, why in failed.items():
        logger.error("%s: %s", uid, why)
    logger.info(
        "%d of %d objects in %s",
        len(known) + len(unknown) - len(failed),
        len(known) + len(unknown),
        folder,
    )
    return EXIT_SOME_FAILED if failed else 0


def plan(config: FetchConfig) -> str:
    """Checks the list, asks no server."""
    if config.uids:
        what = f"{len(read_uids(Path(config.uids)))} objects of {config.uids}"
    else:
        faces = f"{config.min_faces} to {config.max_faces or 'any number of'} faces"
        licences = ", ".join(config.licences) or "any"
        kind = "animated objects" if config.animated else "objects"
        what = f"the first {config.limit} {kind} with {faces}, licence: {licences}"
    return f"{what}, from {config.address()} into {config.output}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(FetchConfig, run=run, plan=plan, description=__doc__ or "", argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
